/**
 * One `up` per data directory (DESIGN 8). The lock is a file that names its holder; it appears by `link`, so it is never seen half-written.
 * A lock whose holder is dead is taken over at once. A holder of another scope (another container on the same volume) cannot be looked up
 * by pid, so a holder also touches the file every second: a lock that is touched is held.
 */
import { linkSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readIfPresent } from '../../durable-file.ts';
import { PlainError } from '../../usage-error.ts';
import { identify, isRunning, type ProcessIdentity, parseIdentity, processScope } from '../processes/process-identity.ts';

const TOUCH_MS = 1_000;
/** How long a foreign lock is watched before it counts as abandoned. */
const WATCH_MS = 4_000;
const ATTEMPTS = 20;

export interface DataLock {
  release(): void;
}

/** Throws when another `up` has the directory. `watchMs` is for tests. */
export async function lockDataDirectory(dataDir: string, watchMs = WATCH_MS): Promise<DataLock> {
  const path = join(dataDir, 'run', 'lock');
  const self = identify(process.pid);
  if (!self) throw new PlainError('This process cannot find its own start time; is /proc mounted?');
  const text = JSON.stringify(self);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (tryTake(path, text)) return hold(path, text);
    const held = readIfPresent(path);
    if (held === null) continue;
    if (await isHeld(path, held, watchMs)) {
      throw new PlainError(
        `The data directory ${dataDir} is in use by process ${holderOf(held)?.pid ?? '(unknown)'}, another "manyhands up". ` +
          'Stop that one, or choose another directory with --data DIR.',
      );
    }
    takeAway(path, held);
  }
  throw new PlainError(`The lock ${path} changes hands all the time. Try again.`);
}

function holderOf(text: string): ProcessIdentity | null {
  try {
    return parseIdentity(JSON.parse(text));
  } catch {
    return null;
  }
}

function tryTake(path: string, text: string): boolean {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text, { mode: 0o600 });
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

async function isHeld(path: string, text: string, watchMs: number): Promise<boolean> {
  const holder = holderOf(text);
  if (holder?.scope === processScope()) return isRunning(holder);
  const before = modified(path);
  await sleep(watchMs);
  return modified(path) !== before && readIfPresent(path) === text;
}

/** Removes an abandoned lock, unless another process has taken it over meanwhile. */
function takeAway(path: string, text: string): void {
  const aside = `${path}.abandoned-${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (readIfPresent(aside) !== text) {
    try {
      linkSync(aside, path);
    } catch {
      // A third process has taken it meanwhile; the holder whose lock was moved aside notices when it touches it.
    }
  }
  rmSync(aside, { force: true });
}

function modified(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

function hold(path: string, text: string): DataLock {
  const timer = setInterval(() => {
    const now = new Date();
    try {
      utimesSync(path, now, now);
    } catch {
      // Removed by hand: the pid in it is what matters here, and there is nothing to repair.
    }
  }, TOUCH_MS);
  timer.unref();
  return {
    release() {
      clearInterval(timer);
      if (readIfPresent(path) === text) rmSync(path, { force: true });
    },
  };
}
