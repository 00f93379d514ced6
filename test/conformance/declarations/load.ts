/**
 * The declarations of the installed SDKs. Reading one takes seconds, so the first process that needs it leaves what it read in
 * `node_modules/.cache`, under a name made of everything that it depends on: nothing is checked in, and nothing can go stale.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Declarations } from './shape.ts';

const MODULES = path.resolve(import.meta.dirname, '../../../node_modules');
const SDKS = { current: '@anthropic-ai/sdk', legacy: 'anthropic-sdk-legacy' } as const;
export type Sdk = keyof typeof SDKS;

const loaded = new Map<Sdk, Promise<Declarations>>();

export function loadDeclarations(sdk: Sdk): Promise<Declarations> {
  const found = loaded.get(sdk) ?? load(path.join(MODULES, SDKS[sdk]));
  loaded.set(sdk, found);
  return found;
}

async function load(directory: string): Promise<Declarations> {
  const cache = path.join(MODULES, '.cache/manyhands-declarations');
  const file = path.join(cache, `${fingerprint(directory)}.json`);
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Declarations;
  } catch {
    // Not read yet.
  }
  const { readDeclarations } = await import('./read.ts');
  const declarations = readDeclarations(directory);
  mkdirSync(cache, { recursive: true });
  // Others may be doing the same: each writes a file of its own, and the last one stays.
  const own = `${file}.${process.pid}`;
  writeFileSync(own, JSON.stringify(declarations));
  renameSync(own, file);
  return declarations;
}

/** Of the SDK, the compiler, and the code that reads. */
function fingerprint(directory: string): string {
  const hash = createHash('sha256').update(directory);
  const ours = readdirSync(import.meta.dirname).filter((name) => /^(read.*|shape)\.ts$/.test(name));
  for (const file of [
    path.join(directory, 'package.json'),
    path.join(MODULES, 'typescript-api/package.json'),
    ...ours.map((name) => path.join(import.meta.dirname, name)),
  ])
    hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 32);
}
