/**
 * The image that sandboxes start from, made sure to be on the engine:
 *
 *   the operator's own image     pulled if it is missing, never built
 *   ours, by recipe              there → a registry answers: built by deploy/sandbox/Dockerfile → none answers: from Debian packages
 *
 * Ours gets its name last, after it was tried, so that an image under that name is whole, whenever this was killed.
 */
import { createReadStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { AppError, ensureError, randomText } from '@manyhands/base';
import { type Engine, type EngineFacts, engineFacts, hasStatus, isEngineAway } from '../drivers/docker/engine.ts';
import { withCacheLock } from './cache-lock.ts';
import { debianRootFile, provideDebianRoot, whyNoDebianRoot } from './debian-root.ts';
import { followProgress } from './engine-progress.ts';
import { baseOf, IMAGE_REPOSITORY, type ImageRecipe, readRecipe } from './image-recipe.ts';
import { NEEDED_BY_AGENTS, NEEDED_BY_DAEMON, sweepTrials, tryImage } from './image-trial.ts';

/** A registry that says nothing for so long does not answer. */
const PULL_SILENCE_MS = 60_000;
/** Unpacking a large package says nothing for a while. */
const BUILD_SILENCE_MS = 10 * 60_000;
const IMPORT_SILENCE_MS = 10 * 60_000;
const STILL_AT_IT_MS = 10_000;
/** What an imported image is told that a tar cannot hold. */
const IMPORT_CHANGES = [
  'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'ENV LANG=C.UTF-8',
  'WORKDIR /workspace',
  'USER agent',
  'CMD ["bash"]',
];

export interface BaseImageOptions {
  engine: Engine;
  /** The operator's own image. */
  image: string | null;
  /** Path of mmdebstrap, if there is one. */
  mmdebstrap: string | null;
  /** Directory of root file systems and of the lock; made if needed. */
  cache: string;
  /** What mmdebstrap runs with. */
  hostEnvironment: Record<string, string | undefined>;
  say: (line: string) => void;
  recipe?: ImageRecipe;
}

/** Returns the name of an image that is on the engine. Throws `configuration` that says what to do. */
export async function ensureBaseImage(options: BaseImageOptions): Promise<string> {
  const { engine } = options;
  const say = sayAtLeast(options.say);
  try {
    const facts = await engineFacts(engine);
    if (options.image !== null) return await ensureOwnImage(engine, options.image, say.line);
    const recipe = options.recipe ?? readRecipe();
    if (await hasImage(engine, recipe.image)) return recipe.image;
    await mkdir(options.cache, { recursive: true });
    const waiting = () => say.line('another process is making the sandbox image; waiting for it');
    return await withCacheLock(options.cache, () => makeImage(options, recipe, facts, say.line), waiting);
  } finally {
    say.stop();
  }
}

export async function hasImage(engine: Engine, image: string): Promise<boolean> {
  try {
    await engine.call(`inspect image ${image}`, (docker) => docker.getImage(image).inspect());
    return true;
  } catch (error) {
    if (hasStatus(error, 404)) return false;
    throw error;
  }
}

/** Pulls the operator's image if it is missing. */
export async function ensureOwnImage(engine: Engine, image: string, say: (line: string) => void): Promise<string> {
  if (await hasImage(engine, image)) return image;
  try {
    await pull(engine, image, say);
  } catch (error) {
    throw new AppError(
      'configuration',
      `MANYHANDS_SANDBOX_IMAGE: ${image} is not on the engine and could not be pulled: ${ensureError(error).message}\n` +
        'Check the name, pull or load it by hand (`docker pull`, `docker load`), or unset the variable to use the image that Manyhands makes.',
      { cause: error },
    );
  }
  await tryImage(engine, image, NEEDED_BY_DAEMON);
  return image;
}

async function makeImage(options: BaseImageOptions, recipe: ImageRecipe, facts: EngineFacts, say: (line: string) => void): Promise<string> {
  const { engine } = options;
  // Another process may have made it while this one waited for the lock.
  if (await hasImage(engine, recipe.image)) return recipe.image;
  const drafts = `${IMAGE_REPOSITORY}-draft`;
  await sweepTrials(engine);
  await sweepDrafts(engine, drafts);
  const draft = { repository: drafts, tag: `${recipe.digest}-${randomText(8).toLowerCase()}` };
  const name = `${draft.repository}:${draft.tag}`;
  say(`making the sandbox image ${recipe.image}; this happens once`);
  try {
    const noDockerfile = await buildByDockerfile(engine, recipe, facts, name, say);
    if (noDockerfile !== null) await importDebianRoot(options, recipe, noDockerfile, draft, say);
    say('trying the image');
    await tryImage(engine, name, [...NEEDED_BY_DAEMON, ...NEEDED_BY_AGENTS]).catch(async (error: unknown) => {
      // Whatever it was made from is not used again.
      await rm(debianRootFile(recipe, options.cache), { force: true });
      throw error;
    });
    await engine.call('name the image', (docker, abortSignal) =>
      docker.getImage(name).tag({ repo: IMAGE_REPOSITORY, tag: recipe.digest, abortSignal }),
    );
    say(`the sandbox image is ready: ${recipe.image}`);
    return recipe.image;
  } finally {
    await removeImage(engine, name).catch(() => {
      // The next build removes it.
    });
  }
}

/** Builds by Dockerfile; returns why that cannot be done here, or null if it is done. */
async function buildByDockerfile(
  engine: Engine,
  recipe: ImageRecipe,
  facts: EngineFacts,
  name: string,
  say: (line: string) => void,
): Promise<string | null> {
  const base = baseOf(recipe);
  try {
    if (!(await hasImage(engine, base))) {
      say(`pulling ${base}`);
      await pull(engine, base, say);
    }
  } catch (error) {
    const why = `No registry gives ${base}: ${ensureError(error).message}`;
    say(why);
    return why;
  }
  // An engine of our own has no bridge: what a build downloads comes through the network of its host.
  const network = facts.networks.includes('bridge') ? {} : { networkmode: 'host' };
  try {
    const stream = await engine.call('build the sandbox image', (docker, abortSignal) =>
      docker.buildImage(
        { context: recipe.directory, src: ['Dockerfile', 'packages.txt'] },
        { t: name, buildargs: { NODE_MAJOR: recipe.nodeMajor }, rm: true, forcerm: true, ...network, abortSignal },
      ),
    );
    await followProgress(stream, { say, silenceMs: BUILD_SILENCE_MS });
    return null;
  } catch (error) {
    if (isEngineAway(error)) throw error;
    return `deploy/sandbox/Dockerfile could not be built; the build said last:\n${ensureError(error).message}`;
  }
}

async function pull(engine: Engine, image: string, say: (line: string) => void): Promise<void> {
  const reference = /[:@][^/]*$/.test(image) ? image : `${image}:latest`;
  const stream = await engine.call(`pull ${image}`, (docker, abortSignal) => docker.createImage({ fromImage: reference, abortSignal }), {
    deadlineMs: PULL_SILENCE_MS,
  });
  await followProgress(stream, { say, silenceMs: PULL_SILENCE_MS });
}

async function importDebianRoot(
  { engine, mmdebstrap, cache, hostEnvironment }: BaseImageOptions,
  recipe: ImageRecipe,
  noDockerfile: string,
  draft: { repository: string; tag: string },
  say: (line: string) => void,
): Promise<void> {
  const cannot = whyNoDebianRoot(mmdebstrap);
  const remedy =
    "Let the engine reach a registry and Debian's mirrors (`docker build deploy/sandbox` by hand shows the same), or load an image by hand " +
    '(`docker load`) and name it in MANYHANDS_SANDBOX_IMAGE.';
  if (mmdebstrap === null || cannot !== null)
    throw new AppError('configuration', `no sandbox image can be made here. ${noDockerfile}\nFrom Debian packages: ${cannot}.\n${remedy}`);
  let root: string;
  try {
    say('building a root file system from Debian packages');
    root = await provideDebianRoot({ recipe, mmdebstrap, cache, hostEnvironment, say });
  } catch (error) {
    throw new AppError(
      'configuration',
      `no sandbox image can be made here. ${noDockerfile}\nFrom Debian packages: ${ensureError(error).message}\n${remedy}`,
      { cause: error },
    );
  }
  say(`importing ${path.basename(root)}`);
  const stream = await engine.call(
    'import the root file system',
    (docker, abortSignal) =>
      docker.importImage(createReadStream(root), { repo: draft.repository, tag: draft.tag, changes: IMPORT_CHANGES, abortSignal }),
    { deadlineMs: IMPORT_SILENCE_MS },
  );
  await followProgress(stream, { say, silenceMs: IMPORT_SILENCE_MS });
}

/** Names of drafts that a killed build left; only the holder of the lock makes any. */
async function sweepDrafts(engine: Engine, repository: string): Promise<void> {
  const left = await engine.call('list drafts', (docker, abortSignal) =>
    docker.listImages({ filters: { reference: [repository] }, abortSignal }),
  );
  for (const tag of left.flatMap(({ RepoTags }) => RepoTags ?? [])) if (tag.startsWith(`${repository}:`)) await removeImage(engine, tag);
}

/** Takes the name away, and the image with its last name. */
async function removeImage(engine: Engine, name: string): Promise<void> {
  await engine
    .call(`remove image ${name}`, (docker, abortSignal) => docker.getImage(name).remove({ abortSignal }))
    .catch((error: unknown) => {
      if (!hasStatus(error, 404)) throw error;
    });
}

/** Says a line at least each 10 s, so that nobody takes a long step for a hang. */
function sayAtLeast(say: (line: string) => void) {
  const startedMs = performance.now();
  let last = 'asking the Docker engine';
  let timer: NodeJS.Timeout;
  const arm = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      say(`still at it after ${Math.round((performance.now() - startedMs) / 1000)} s: ${last}`);
      arm();
    }, STILL_AT_IT_MS);
    timer.unref();
  };
  arm();
  return {
    line(text: string) {
      last = text;
      say(text);
      arm();
    },
    stop: () => clearTimeout(timer),
  };
}
