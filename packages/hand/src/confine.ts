/**
 * File tools reach the workspace, the session's outputs and uploads, and /tmp; nothing else, whatever links say. Uploads are read-only.
 *
 * A path is resolved completely, also where it does not exist yet. What is then opened is checked once more by asking the kernel where
 * the descriptor is, and files are made and replaced relative to a checked directory descriptor; so a link that is swapped in
 * between is not followed.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { quoted, ToolFailure } from './outcome.ts';
import type { HandPaths } from './settings.ts';

const MAX_LINKS = 40;

export interface Confinement {
  readonly workspace: string;
  /** The path without any link in it. Throws a ToolFailure for one that is outside; `writing` refuses read-only directories too. */
  resolve(tool: string, path: string, options?: { writing?: boolean }): Promise<string>;
  /** Opens a regular file to read. `path` comes from `resolve`, `shown` is what the model calls it. */
  openFile(tool: string, path: string, shown: string): Promise<{ file: FileHandle; bytes: number; mode: number }>;
  /** Opens the directory of a file to be written: a path through it names the directory itself, wherever it is moved. */
  openDirectory(tool: string, path: string, shown: string): Promise<{ handle: FileHandle; path: string }>;
}

function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? 'unknown';
}

const EXPLAINED: Record<string, string> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'not a directory',
  // mkdir of a path below a file.
  EEXIST: 'not a directory',
  EISDIR: 'is a directory',
  ELOOP: 'too many levels of symbolic links',
  ENAMETOOLONG: 'file name too long',
  ENOSPC: 'no space left on device',
  EDQUOT: 'no space left on device',
  EFBIG: 'file too large',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files',
  EINVAL: 'not a usable path',
  ERR_INVALID_ARG_VALUE: 'not a usable path',
};

/** An error of the file system as one for the model. Names the path as the model wrote it. */
export function fileFailure(tool: string, shown: string, error: unknown): ToolFailure {
  if (error instanceof ToolFailure) return error;
  const code = errno(error);
  return new ToolFailure(`${tool}: ${quoted(shown)}: ${EXPLAINED[code] ?? `i/o error (${code})`}`);
}

export function isWithin(root: string, path: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}

/** Resolves every link of an absolute path; components that do not exist are kept as they are. Rejects with a system error. */
export async function canonicalPath(path: string): Promise<string> {
  const missing: string[] = [];
  let known = path;
  for (let links = 0; ; ) {
    try {
      return join(await realpath(known), ...missing);
    } catch (error) {
      let isLink = false;
      try {
        isLink = (await lstat(known)).isSymbolicLink();
      } catch (missingError) {
        if (errno(missingError) !== 'ENOENT' && errno(missingError) !== 'ENOTDIR') throw missingError;
        if (known === dirname(known)) throw missingError;
        missing.unshift(basename(known));
        known = dirname(known);
        continue;
      }
      // A dangling link: go on from where it points.
      if (!isLink) throw error;
      if (++links > MAX_LINKS) throw Object.assign(new Error('too many links'), { code: 'ELOOP' });
      known = resolve(await realpath(dirname(known)), await readlink(known), ...missing.splice(0));
    }
  }
}

export function createConfinement(paths: HandPaths): Confinement {
  const writable = [paths.workspace, paths.outputs, paths.tmp];
  const readable = [...writable, paths.uploads];
  const reachable = readable.join(', ');

  async function isInside(roots: string[], path: string): Promise<boolean> {
    for (const root of roots) if (isWithin(await canonicalPath(root), path)) return true;
    return false;
  }

  /** Where the kernel says that an open descriptor is. */
  async function checkOpened(tool: string, handle: FileHandle, shown: string, roots: string[]): Promise<void> {
    if (!(await isInside(roots, await readlink(`/proc/self/fd/${handle.fd}`))))
      throw new ToolFailure(`${tool}: ${quoted(shown)} changed while it was opened`);
  }

  return {
    workspace: paths.workspace,
    async resolve(tool, path, options = {}) {
      if (path.includes('\0')) throw new ToolFailure(`${tool}: the path holds a NUL character`);
      let real: string;
      try {
        real = await canonicalPath(resolve(paths.workspace, path));
      } catch (error) {
        throw fileFailure(tool, path, error);
      }
      if (!(await isInside(readable, real)))
        throw new ToolFailure(`${tool}: ${quoted(path)} is outside of what file tools reach: ${reachable}`);
      if (options.writing && !(await isInside(writable, real)))
        throw new ToolFailure(`${tool}: ${quoted(path)} is in ${paths.uploads}, which is read-only`);
      return real;
    },
    async openFile(tool, path, shown) {
      let file: FileHandle;
      try {
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      } catch (error) {
        // A socket or a device without a driver.
        if (errno(error) === 'ENXIO') throw new ToolFailure(`${tool}: ${quoted(shown)} is not a regular file`);
        throw fileFailure(tool, shown, error);
      }
      try {
        const stat = await file.stat();
        if (!stat.isFile()) throw new ToolFailure(`${tool}: ${quoted(shown)} is not a regular file`);
        await checkOpened(tool, file, shown, readable);
        return { file, bytes: stat.size, mode: stat.mode & 0o7777 };
      } catch (error) {
        await file.close();
        throw fileFailure(tool, shown, error);
      }
    },
    async openDirectory(tool, path, shown) {
      let handle: FileHandle;
      try {
        handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      } catch (error) {
        throw fileFailure(tool, shown, error);
      }
      try {
        await checkOpened(tool, handle, shown, writable);
        return { handle, path: `/proc/self/fd/${handle.fd}` };
      } catch (error) {
        await handle.close();
        throw fileFailure(tool, shown, error);
      }
    },
  };
}
