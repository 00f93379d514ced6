/** Whether dist is what the sources say, and the build when it is not. Looks at names, sizes and times only, so that "nothing to do" is fast. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runStep } from '../processes/step.js';
import { npmEnv } from './installation.js';

/** Not part of a build, or made by it. */
const IGNORED = new Set(['dist', 'node_modules', 'test', 'coverage', '.turbo', 'README.md']);
const ROOT_INPUTS = ['package.json', 'package-lock.json', 'turbo.json'];

/** @param {string} root */
function stampFile(root) {
  return join(root, '.turbo', 'built');
}

/**
 * @param {string} root
 * @returns {boolean}
 */
export function isBuilt(root) {
  try {
    return (
      readFileSync(stampFile(root), 'utf8') === fingerprint(root) &&
      packagesWithBuild(root).every((directory) => existsSync(join(directory, 'dist')))
    );
  } catch {
    return false;
  }
}

/** @param {string} root */
function packagesWithBuild(root) {
  const packages = join(root, 'packages');
  return readdirSync(packages)
    .map((name) => join(packages, name))
    .filter((directory) => {
      const manifest = join(directory, 'package.json');
      return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).scripts?.build !== undefined;
    });
}

/**
 * Changes whenever something that a build reads may have changed.
 * @param {string} root
 */
function fingerprint(root) {
  const hash = createHash('sha256').update(process.version);
  const add = (/** @type {string} */ path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    hash.update(`${path.slice(root.length)}|${stat?.size}|${stat?.mtimeMs}\n`);
  };
  const walk = (/** @type {string} */ directory) => {
    for (const entry of readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (IGNORED.has(entry.name)) continue;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) walk(path);
      else add(path);
    }
  };
  for (const name of ROOT_INPUTS) add(join(root, name));
  walk(join(root, 'packages'));
  return hash.digest('hex');
}

/**
 * @param {string} root
 * @param {(line: string) => void} log
 */
export async function build(root, log) {
  // Taken before the build: what changes meanwhile is built next time. And no stamp while dist is in between.
  const state = fingerprint(root);
  const stamp = stampFile(root);
  rmSync(stamp, { force: true });
  const env = { ...npmEnv(), TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1', DO_NOT_TRACK: '1' };
  const turbo = join(root, 'node_modules/.bin/turbo');
  const result = await runStep(log, 'building', turbo, ['run', 'build', '--output-logs=errors-only', '--ui=stream'], { cwd: root, env });
  if (result.code !== 0) throw new Error(`The build failed:\n${result.output}`);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, state);
}
