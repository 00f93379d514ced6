/**
 * Output that is too long for an answer, kept in files of the sandbox's /tmp: the model gets the path and reads on from there.
 *
 * - /tmp may be small, full or memory: one file holds SPILL_FILE_MAX_BYTES, all of them SPILL_TOTAL_MAX_BYTES. Of the thread that keeps most the
 *   oldest go first, so that one that floods loses its own. The newest of all stays.
 * - A name is never used twice, not even after the sandbox was let go and made anew: an old answer must not name newer contents.
 * - A file that is there already is never touched, whoever made it.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export const SPILL_FILE_MAX_BYTES = 16 * 1024 * 1024;
export const SPILL_TOTAL_MAX_BYTES = 64 * 1024 * 1024;

export interface Spill {
  /** Never fails: what cannot be kept is told at the end. */
  write(bytes: Buffer): void;
  /** Closes the file; answers where how much of the whole is, in words for the model. */
  finish(): string;
  /** Removes the file. */
  discard(): void;
}

export interface Spills {
  begin(): Spill;
  /** A whole text at once; answers as `finish` does. */
  keep(text: string): string;
}

export interface SpillStore {
  /** The files of one thread. */
  of(thread: string): Spills;
}

export interface SpillLimits {
  fileBytes: number;
  totalBytes: number;
}

export function createSpills(
  directory: string,
  limits: SpillLimits = { fileBytes: SPILL_FILE_MAX_BYTES, totalBytes: SPILL_TOTAL_MAX_BYTES },
): SpillStore {
  /** Oldest first. */
  const kept: { thread: string; path: string; bytes: number }[] = [];
  let made = 0;

  function remove(path: string): void {
    try {
      unlinkSync(path);
    } catch {
      // The session may have removed it already.
    }
  }
  function remember(thread: string, path: string, bytes: number): void {
    kept.push({ thread, path, bytes });
    let total = kept.reduce((sum, file) => sum + file.bytes, 0);
    while (total > limits.totalBytes && kept.length > 1) {
      const [gone] = kept.splice(oldestOfGreediest(), 1);
      if (!gone) return;
      total -= gone.bytes;
      remove(gone.path);
    }
  }
  function oldestOfGreediest(): number {
    const older = kept.slice(0, -1);
    const bytesOf = new Map<string, number>();
    for (const { thread, bytes } of older) bytesOf.set(thread, (bytesOf.get(thread) ?? 0) + bytes);
    const most = Math.max(...bytesOf.values());
    return older.findIndex(({ thread }) => bytesOf.get(thread) === most);
  }

  function begin(thread: string): Spill {
    const path = join(directory, `tool-output-${++made}-${randomBytes(4).toString('hex')}.txt`);
    let fd: number | null = null;
    let problem: string | null = null;
    let seen = 0;
    let written = 0;

    function attempt(work: () => void): void {
      try {
        work();
      } catch (error) {
        problem = (error as NodeJS.ErrnoException).code ?? 'i/o error';
      }
    }
    function close(): void {
      const open = fd;
      fd = null;
      if (open !== null) attempt(() => closeSync(open));
    }
    attempt(() => {
      fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    });

    return {
      write(bytes) {
        seen += bytes.length;
        const piece = bytes.subarray(0, Math.max(0, limits.fileBytes - written));
        if (fd === null || problem !== null) return;
        const open = fd;
        attempt(() => {
          for (let at = 0; at < piece.length; ) {
            const count = writeSync(open, piece, at, piece.length - at);
            at += count;
            written += count;
          }
        });
      },
      finish() {
        close();
        if (written === 0) {
          remove(path);
          return `the rest could not be kept (${problem ?? 'i/o error'})`;
        }
        remember(thread, path, written);
        if (written === seen) return `the whole is in ${path}`;
        return `the first ${written} of its ${seen} bytes are in ${path}${problem === null ? '' : ` (${problem})`}`;
      },
      discard() {
        close();
        remove(path);
      },
    };
  }

  return {
    of: (thread) => ({
      begin: () => begin(thread),
      keep(text) {
        const spill = begin(thread);
        spill.write(Buffer.from(text, 'utf8'));
        return spill.finish();
      },
    }),
  };
}
