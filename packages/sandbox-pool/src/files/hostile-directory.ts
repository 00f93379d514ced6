/**
 * Directories that a sandbox writes to, seen from the host: everything in them is hostile and may change at any moment. A path is walked one
 * name at a time by descriptor and without following links, so that nothing leads out of the directory.
 */
import { constants } from 'node:fs';
import { chown, type FileHandle, lstat, mkdir, open, rename, rmdir, unlink } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { randomText } from '@manyhands/base';

const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const OPEN_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const READ_ONLY = 0o444;
const TEMPORARY = '.manyhands-';

/** A path through the descriptor names the directory itself, wherever it is moved. */
export const within = (directory: FileHandle, name: string | Buffer): string | Buffer =>
  typeof name === 'string' ? `/proc/self/fd/${directory.fd}/${name}` : Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name]);

export function openRoot(root: string): Promise<FileHandle> {
  return open(root, OPEN_DIRECTORY);
}
export function openDirectory(parent: FileHandle, name: string | Buffer): Promise<FileHandle> {
  return open(within(parent, name), OPEN_DIRECTORY);
}
/** A regular file to read, or null for anything else. */
export async function openRegular(parent: FileHandle, name: string | Buffer): Promise<FileHandle | null> {
  const handle = await open(within(parent, name), OPEN_FILE);
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  return null;
}

export function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException | null)?.code ?? '');
}

/** Runs `work` in the directory that `names` lead to. Missing ones are made where `make` says so, and belong to who owns the root. */
async function inDirectory<T>(
  root: string,
  names: readonly string[],
  make: boolean,
  work: (directory: FileHandle) => Promise<T>,
): Promise<T> {
  let current = await openRoot(root);
  try {
    const { uid, gid } = await current.stat();
    for (const name of names) {
      let next = await openDirectory(current, name).catch((error: unknown) => {
        if (make && (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw error;
      });
      if (!next) {
        await mkdir(within(current, name), { mode: 0o755 }).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'EEXIST') throw error;
        });
        next = await openDirectory(current, name);
        await chown(`/proc/self/fd/${next.fd}`, uid, gid);
      }
      await current.close();
      current = next;
    }
    return await work(current);
  } finally {
    await current.close();
  }
}
function split(path: string): { parents: string[]; name: string } {
  const parents = path.split('/');
  return { name: parents.pop() ?? '', parents };
}

/** What tells a file from one that was put in its place, or changed. */
export interface FileFacts {
  ino: string;
  size: number;
  mtimeNs: string;
}
async function factsAt(directory: FileHandle, name: string): Promise<FileFacts | null> {
  try {
    const { ino, size, mtimeNs } = await lstat(within(directory, name), { bigint: true });
    return { ino: String(ino), size: Number(size), mtimeNs: String(mtimeNs) };
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}
export function sameFacts(a: FileFacts | null, b: FileFacts | null): boolean {
  return a !== null && b !== null && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs;
}

/** The facts of whatever is at a path below the root; null if there is nothing. */
export async function lookAt(root: string, path: string): Promise<FileFacts | null> {
  const { parents, name } = split(path);
  try {
    return await inDirectory(root, parents, false, (directory) => factsAt(directory, name));
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Puts a read-only file at a path below the root, in place of whatever file is there. Parents are made. */
export function putReadOnly(root: string, path: string, bytes: Readable): Promise<FileFacts | null> {
  const { parents, name } = split(path);
  return inDirectory(root, parents, true, async (directory) => {
    const temporary = within(directory, TEMPORARY + randomText(12));
    const handle = await open(temporary, OPEN_NEW, 0o600);
    try {
      try {
        for await (const chunk of bytes) await handle.writeFile(chunk as Buffer);
        await handle.chmod(READ_ONLY);
      } finally {
        await handle.close();
      }
      await rename(temporary, within(directory, name));
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw error;
    }
    return factsAt(directory, name);
  });
}

/** Removes a file below the root, and parents that are empty then; nothing if it is not there. */
export async function removeFile(root: string, path: string): Promise<void> {
  const { parents, name } = split(path);
  try {
    await inDirectory(root, parents, false, (directory) => unlink(within(directory, name)));
    for (let depth = parents.length; depth > 0; depth--) {
      const parent = parents[depth - 1] ?? '';
      await inDirectory(root, parents.slice(0, depth - 1), false, (directory) => rmdir(within(directory, parent)));
    }
  } catch (error) {
    const kept = ['ENOTEMPTY', 'EEXIST', 'EBUSY', 'EISDIR', 'EPERM'];
    if (!isMissing(error) && !kept.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
