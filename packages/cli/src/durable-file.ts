/** Durable files: written to a draft, synced, then renamed, so that readers see the whole content or none. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** `mode` is that of the file; readers see the old content or the new, never a part. */
export function writeByRename(path: string, text: string, mode = 0o600): void {
  const draft = `${path}.${process.pid}.draft`;
  try {
    // A draft of a killed process with this pid may lie there with another mode.
    rmSync(draft, { force: true });
    writeFileSync(draft, text, { mode, flush: true, flag: 'wx' });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** The text of a file, or null if there is none. */
export function readIfPresent(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Makes a directory and its parents. Node's own `recursive` never returns where the system refuses a directory with "not found", as /proc
 * does.
 */
export function makeDirectories(path: string, mode?: number): void {
  const missing: string[] = [];
  for (let place = path; !existsSync(place); place = dirname(place)) missing.unshift(place);
  for (const place of missing) {
    try {
      mkdirSync(place, mode);
    } catch (error) {
      // Another process made it meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
