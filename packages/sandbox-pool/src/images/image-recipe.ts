/**
 * The recipe of the base image, and the name that follows from it: a change of the Dockerfile, of the list of packages, of the architecture
 * or of Node's major version is another image. Both ways of making it (Dockerfile, Debian packages) use the same list.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '@manyhands/base';

export const IMAGE_REPOSITORY = 'manyhands/sandbox';
/** User of the image; what runs in a sandbox of a pool with root's powers. */
export const AGENT_UID = 10_001;
export const RECIPE_DIRECTORY = fileURLToPath(new URL('../../../../deploy/sandbox/', import.meta.url));

export interface ImageRecipe {
  directory: string;
  dockerfile: string;
  packages: string[];
  nodeMajor: string;
  /** 12 hex digits. */
  digest: string;
  image: string;
}

export function readRecipe(
  directory = RECIPE_DIRECTORY,
  architecture: string = process.arch,
  nodeVersion = process.versions.node,
): ImageRecipe {
  const read = (name: string) => {
    try {
      return readFileSync(path.join(directory, name), 'utf8');
    } catch (error) {
      throw new AppError('configuration', `the recipe of the sandbox image is not there: ${path.join(directory, name)}`, { cause: error });
    }
  };
  const [dockerfile, list] = [read('Dockerfile'), read('packages.txt')];
  const [nodeMajor = ''] = nodeVersion.split('.');
  const hash = createHash('sha256');
  for (const part of [dockerfile, list, architecture, nodeMajor]) hash.update(`${part.length}:`).update(part);
  const digest = hash.digest('hex').slice(0, 12);
  const packages = list.split('\n').flatMap((line) => line.replace(/#.*/, '').trim() || []);
  return { directory, dockerfile, packages, nodeMajor, digest, image: `${IMAGE_REPOSITORY}:${digest}` };
}

/** The public image that the Dockerfile starts from. */
export function baseOf({ dockerfile, nodeMajor }: Pick<ImageRecipe, 'dockerfile' | 'nodeMajor'>): string {
  const from = /^FROM\s+(\S+)/m.exec(dockerfile)?.[1];
  if (from === undefined) throw new AppError('configuration', 'deploy/sandbox/Dockerfile: there is no FROM line');
  return from.replaceAll(/\$\{NODE_MAJOR\}/g, nodeMajor);
}
