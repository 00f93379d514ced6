/**
 * Snapshots: a gzip'd tar of the workspace and the outputs, made and unpacked by the sandbox's own tar in the exchange directory. A snapshot
 * appears under its name only when it is whole. Files that change or vanish meanwhile do not spoil it; sockets and what cannot be read
 * are left out. The two directories themselves are not in it: they are mount points, whose owner and mode are the pool's business.
 */
import { spawn } from 'node:child_process';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { DaemonPaths } from '../settings.ts';

const STDERR_MAX_CHARS = 2_000;

export interface Archiver {
  /** Answers the size in bytes. One at a time; rejects with an error that says what tar said. */
  snapshot(name: string, exclude?: readonly string[]): Promise<number>;
  restore(name: string): Promise<void>;
}

/** `root` is the directory that the names in the archive start from. */
export function createArchiver(root: string, paths: DaemonPaths, env: Record<string, string>): Archiver {
  let tail: Promise<unknown> = Promise.resolve();
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = tail.then(work);
    tail = turn.catch(() => undefined);
    return turn;
  }

  /** What is directly in the two directories, as paths from the root, each ended by a NUL. Names are bytes, not always UTF-8. */
  async function memberList(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (const path of [paths.workspace, paths.outputs]) {
      const prefix = Buffer.from(`${relative(root, path)}/`);
      for (const name of await readdir(path, { encoding: 'buffer' })) parts.push(prefix, name, Buffer.alloc(1));
    }
    return Buffer.concat(parts);
  }

  /** tar ends with 1 when a file changed while it was read. */
  function tar(args: string[], goodStatus: number, input: Buffer = Buffer.alloc(0)): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = spawn('tar', args, { cwd: '/', env: { PATH: env['PATH'] ?? '', LC_ALL: 'C' }, stdio: ['pipe', 'ignore', 'pipe'] });
      child.stdin.on('error', () => undefined);
      child.stdin.end(input);
      let stderr = '';
      child.stderr.setEncoding('utf8');
      child.stderr.on('data', (text: string) => {
        if (stderr.length < STDERR_MAX_CHARS) stderr = (stderr + text).slice(0, STDERR_MAX_CHARS);
      });
      child.once('error', (error) => reject(new Error(`tar could not be run: ${error.message}`)));
      child.once('close', (status) => {
        if (status !== null && status <= goodStatus) resolve();
        else reject(new Error(`tar ended with ${status ?? 'a signal'}: ${stderr.trim()}`));
      });
    });
  }

  return {
    snapshot: (name, exclude = []) =>
      inTurn(async () => {
        const target = join(paths.exchange, name);
        const partial = `${target}.partial`;
        try {
          await tar(
            [
              '--create',
              '--gzip',
              '--sparse',
              '--one-file-system',
              '--numeric-owner',
              '--ignore-failed-read',
              '--anchored',
              '--no-wildcards',
              ...exclude.map((path) => `--exclude=${relative('/', path)}`),
              '--file',
              partial,
              '--directory',
              root,
              '--null',
              '--verbatim-files-from',
              '--files-from=-',
            ],
            1,
            await memberList(),
          );
          await rename(partial, target);
        } catch (error) {
          await rm(partial, { force: true });
          throw error;
        }
        return (await stat(target)).size;
      }),
    restore: (name) =>
      inTurn(() =>
        tar(
          [
            '--extract',
            '--gzip',
            '--file',
            join(paths.exchange, name),
            '--directory',
            root,
            '--no-same-owner',
            '--preserve-permissions',
            // A read-only directory is closed after it was filled.
            '--delay-directory-restore',
          ],
          0,
        ),
      ),
  };
}
