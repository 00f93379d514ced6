/**
 * Small JSON files that are either old or new, never half: a temporary file and a rename; `writeDurably` syncs both.
 *
 * Each kind has a format, which is written into the file as `format`. A file without one is of format 1, as 0.1.0 wrote it. One of a newer format
 * is refused with AppError `newer_format`: it is not guessed at, and whoever meets one leaves it as it is.
 */
import { open, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { assertFormat } from '@manyhands/base';
import type { z } from 'zod';

/** A kind of file, and what may be done with one. */
export interface StoredFile<T extends object> {
  /** What it holds; null if there is none or if it does not hold what it should. Rejects with `newer_format`. */
  read(file: string): Promise<T | null>;
  /** Rejects with `newer_format`, and for no other reason. */
  assertReadable(file: string): Promise<void>;
  /** Returns when the file outlives a power cut. */
  writeDurably(file: string, value: T): Promise<void>;
  /** Survives the end of any process, not a power cut: enough for what is about processes, and several times as fast. */
  replace(file: string, value: T): Promise<void>;
}

export function storedFile<T extends object>(schema: z.ZodType<T>, format: number): StoredFile<T> {
  const text = (value: T) => JSON.stringify({ format, ...value });
  async function contents(file: string): Promise<unknown> {
    let found: unknown;
    try {
      found = JSON.parse(await readFile(file, 'utf8'));
    } catch {
      return null;
    }
    if (typeof found === 'object' && found !== null && 'format' in found) assertFormat(`the file ${file}`, found.format, format);
    return found;
  }
  return {
    async read(file) {
      const parsed = schema.safeParse(await contents(file));
      return parsed.success ? parsed.data : null;
    },
    async assertReadable(file) {
      await contents(file);
    },
    async writeDurably(file, value) {
      const temporary = `${file}.new`;
      const handle = await open(temporary, 'w', 0o600);
      try {
        await handle.writeFile(text(value));
        await handle.datasync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
      const directory = await open(path.dirname(file), 'r');
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    },
    async replace(file, value) {
      await writeFile(`${file}.new`, text(value), { mode: 0o600 });
      await rename(`${file}.new`, file);
    },
  };
}
