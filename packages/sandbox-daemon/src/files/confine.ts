/**
 * File tools reach the workspace, the session's outputs and uploads, and /tmp; nothing else, whatever links say. Uploads are read-only.
 *
 * A path is resolved completely, also where it does not exist yet. What is then opened is checked once more by asking the kernel where
 * the descriptor is; files and directories are made and replaced relative to a checked directory descriptor, one name at a time and
 * without following links. So a link that is swapped in between leads nowhere.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import type { DaemonPaths } from '../settings.ts';
import { quoted, ToolFailure } from '../tools/tool-result.ts';

const MAX_LINKS = 40;
/** Directories made here belong to the session alone. */
const NEW_DIRECTORY_MODE = 0o700;
const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export interface Confinement {
  readonly workspace: string;
  /** Whether a resolved path is where file tools reach. */
  isReachable(path: string): Promise<boolean>;
  /** The path without any link in it. Throws a ToolFailure for one that is outside; `writing` refuses read-only directories too. */
  resolve(tool: string, path: string, options?: { writing?: boolean }): Promise<string>;
  /** Opens a regular file to read. `path` comes from `resolve`, `shown` is what the model calls it. */
  openFile(tool: string, path: string, shown: string): Promise<{ file: FileHandle; bytes: number; mode: number }>;
  /**
   * Opens the directory of a file to be written, made if it is missing: a path through it names the directory itself, wherever it is moved.
   */
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

export function createConfinement(paths: DaemonPaths): Confinement {
  const writable = [paths.workspace, paths.outputs, paths.tmp];
  const readable = [...writable, paths.uploads];
  const reachable = readable.join(', ');

  /** The root that a resolved path is in, resolved itself; null for a path outside of all. */
  async function rootOf(roots: string[], path: string): Promise<string | null> {
    for (const root of roots) {
      const real = await canonicalPath(root);
      if (isWithin(real, path)) return real;
    }
    return null;
  }

  /** Where the kernel says that an open descriptor is. */
  async function checkOpened(tool: string, handle: FileHandle, shown: string, roots: string[]): Promise<void> {
    if ((await rootOf(roots, await readlink(`/proc/self/fd/${handle.fd}`))) === null)
      throw new ToolFailure(`${tool}: ${quoted(shown)} changed while it was opened`);
  }

  return {
    workspace: paths.workspace,
    isReachable: async (path) => (await rootOf(readable, path)) !== null,
    async resolve(tool, path, options = {}) {
      if (path.includes('\0')) throw new ToolFailure(`${tool}: the path holds a NUL character`);
      let real: string;
      try {
        real = await canonicalPath(resolve(paths.workspace, path));
      } catch (error) {
        throw fileFailure(tool, path, error);
      }
      if ((await rootOf(readable, real)) === null)
        throw new ToolFailure(`${tool}: ${quoted(path)} is outside of what file tools reach: ${reachable}`);
      if (options.writing && (await rootOf(writable, real)) === null)
        throw new ToolFailure(`${tool}: ${quoted(path)} is inside read-only directory ${paths.uploads}`);
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
        handle = await openMade(await rootOf(writable, path), path);
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

/** Opens a directory; names of its path below `root` that are missing are made. */
async function openMade(root: string | null, path: string): Promise<FileHandle> {
  try {
    return await open(path, OPEN_DIRECTORY);
  } catch (error) {
    if (root === null || errno(error) !== 'ENOENT') throw error;
  }
  let handle = await open(root, OPEN_DIRECTORY);
  try {
    for (const name of relative(root, path).split(sep)) {
      const below = `/proc/self/fd/${handle.fd}/${name}`;
      await mkdir(below, { mode: NEW_DIRECTORY_MODE }).catch((error: unknown) => {
        if (errno(error) !== 'EEXIST') throw error;
      });
      const next = await open(below, OPEN_DIRECTORY);
      await handle.close();
      handle = next;
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}
