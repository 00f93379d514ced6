/**
 * Blobs as files below one directory. A put writes a temporary file, syncs it, renames it and syncs the directory.
 *
 * A store that is away (a volume that is not mounted) is not an empty one: once the directory was there, its absence is AppError `unavailable`
 * for every call, and no put makes it anew.
 */
import { createWriteStream } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, randomText } from '@manyhands/base';
import { type BlobStore, isBlobKey } from './blob-store.ts';

const TEMPORARY = '.tmp-';
/** What file systems say that have no hard links, or no more of them. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK', 'EXDEV']);

export function createDirectoryBlobStore(root: string): BlobStore {
  function fileOf(key: string): string {
    if (!isBlobKey(key)) throw new AppError('internal', `not a blob key: ${JSON.stringify(key)}`);
    return path.join(root, ...key.split('/'));
  }
  let seen = false;
  /** Whether the directory is there. Nothing is stored before the first put has made it. */
  async function isThere(): Promise<boolean> {
    const there = await stat(root).then(
      (facts) => facts.isDirectory(),
      () => false,
    );
    seen ||= there;
    if (!there && seen) throw new AppError('unavailable', 'the directory of the blob store is away');
    return there;
  }
  /** For what names no file: there is none, or the store itself is away. */
  async function nullIfMissing(error: unknown): Promise<null> {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await isThere();
    return null;
  }
  async function syncDirectory(directory: string): Promise<void> {
    const handle = await open(directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  /** Makes a directory and syncs every parent that gained an entry. */
  async function makeDirectory(directory: string): Promise<void> {
    const first = await mkdir(directory, { recursive: true, mode: 0o700 });
    seen = true;
    if (!first) return;
    for (let parent = directory; parent.length >= path.dirname(first).length; parent = path.dirname(parent)) await syncDirectory(parent);
  }
  async function* walk(directory: string, prefix: string): AsyncGenerator<string> {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.isDirectory()) yield* walk(path.join(directory, entry.name), `${prefix}${entry.name}/`);
      else if (!entry.name.startsWith(TEMPORARY)) yield prefix + entry.name;
    }
  }

  return {
    async put(key, body) {
      const file = fileOf(key);
      const directory = path.dirname(file);
      await isThere();
      await makeDirectory(directory);
      const temporary = path.join(directory, `${TEMPORARY}${randomText(12)}`);
      try {
        await pipeline(Buffer.isBuffer(body) ? Readable.from([body]) : body, createWriteStream(temporary, { mode: 0o600, flush: true }));
        const { size } = await stat(temporary);
        await rename(temporary, file);
        await syncDirectory(directory);
        return { bytes: size };
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    },
    async get(key) {
      const body = await readFile(fileOf(key)).catch(nullIfMissing);
      if (body) seen = true;
      return body;
    },
    async open(key) {
      const handle = await open(fileOf(key), 'r').catch(nullIfMissing);
      if (!handle) return null;
      return { bytes: (await handle.stat()).size, stream: handle.createReadStream() };
    },
    /** A hard link: the bytes of a blob never change, a put makes a new file. */
    async copy(from, to) {
      const file = fileOf(to);
      const directory = path.dirname(file);
      await isThere();
      await makeDirectory(directory);
      const temporary = path.join(directory, `${TEMPORARY}${randomText(12)}`);
      try {
        await link(fileOf(from), temporary);
        await rename(temporary, file);
        await syncDirectory(directory);
        return true;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code ?? '';
        if (code === 'ENOENT') return (await nullIfMissing(error)) !== null;
        if (!NO_LINKS.has(code)) throw error;
        const original = await this.open(from);
        if (original) await this.put(to, original.stream);
        return original !== null;
      } finally {
        // A rename onto another link of the same file does nothing, and leaves this one.
        await rm(temporary, { force: true });
      }
    },
    async *list(prefix) {
      const base = prefix.endsWith('/') ? prefix.slice(0, -1) : path.posix.dirname(prefix);
      if (base === '.' || base === '') {
        for await (const key of walk(root, '')) if (key.startsWith(prefix)) yield key;
        return;
      }
      for await (const key of walk(fileOf(base), `${base}/`)) if (key.startsWith(prefix)) yield key;
    },
    async delete(key) {
      await unlink(fileOf(key)).catch(nullIfMissing);
    },
    async deletePrefix(prefix) {
      if (prefix.endsWith('/')) await rm(fileOf(prefix.slice(0, -1)), { recursive: true, force: true });
      else for await (const key of this.list(prefix)) await this.delete(key);
    },
  };
}
