/**
 * A lock between processes: a directory, since making one is atomic. It names its owner, so that a lock left by a killed process is
 * taken over at once instead of after a time-out.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processStart } from '../processes/process-start.js';

const POLL_MS = 100;
/** After this, a lock of another machine (shared home directory) counts as abandoned. NAMELESS_MS: the same for a lock without an owner's name. */
const ABANDONED_MS = 10 * 60_000;
const NAMELESS_MS = 5_000;

/**
 * Runs `work` while holding the lock. `onWait` is called once if another process holds it.
 * @template T
 * @param {string} path the lock directory; its parent must exist
 * @param {() => Promise<T>} work
 * @param {(owner: string) => void} [onWait]
 * @returns {Promise<T>}
 */
export async function withDirectoryLock(path, work, onWait) {
  let waited = false;
  while (!tryTake(path)) {
    if (breakIfAbandoned(path)) continue;
    if (!waited) onWait?.(readOwner(path)?.pid.toString() ?? 'another process');
    waited = true;
    await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

/** @param {string} path */
function tryTake(path) {
  try {
    mkdirSync(path);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  }
  const owner = { pid: process.pid, start: processStart(process.pid), host: hostname() };
  writeFileSync(join(path, 'owner.json'), JSON.stringify(owner));
  return true;
}

/**
 * @param {string} path
 * @returns {{ pid: number, start: string | null, host: string } | null}
 */
function readOwner(path) {
  try {
    return JSON.parse(readFileSync(join(path, 'owner.json'), 'utf8'));
  } catch {
    return null;
  }
}

/** @param {string} path */
function breakIfAbandoned(path) {
  /** @type {number} */
  let ageMs;
  try {
    ageMs = Date.now() - statSync(path).mtimeMs;
  } catch {
    return true; // It was given back meanwhile.
  }
  const owner = readOwner(path);
  const dead =
    owner === null
      ? ageMs > NAMELESS_MS
      : owner.host === hostname()
        ? processStart(owner.pid) === null || processStart(owner.pid) !== owner.start
        : ageMs > ABANDONED_MS;
  if (!dead) return false;
  // The rename decides between two processes that both saw it abandoned: only one of them moves it away.
  const aside = `${path}.abandoned-${process.pid}-${Date.now()}`;
  try {
    renameSync(path, aside);
    const moved = readOwner(aside);
    if (moved?.pid !== owner?.pid || moved?.start !== owner?.start) {
      renameSync(aside, path); // Somebody took it between the look and the rename: it is given back.
      return false;
    }
  } catch {
    return true;
  }
  rmSync(aside, { recursive: true, force: true });
  return true;
}
