/**
 * The host directory of one sandbox, the same for every driver (DESIGN 6). Its parents have mode 0700; only what is mounted is seen inside.
 *
 *   workspace/  /workspace             read-write
 *   outputs/    /mnt/session/outputs   read-write
 *   cache/      /var/cache/agent       read-write, on disk, no part of snapshots
 *   uploads/    /mnt/session/uploads   read-only
 *   run/        /run/manyhands         read-write; hand.sock
 *   egress/     /run/egress            read-only; egress.sock is put there by the egress process
 *   exchange/   /run/exchange          read-write; snapshots on their way
 *   driver/     not mounted            the driver's own notes
 *   lease.json, policy.json            not mounted
 *
 * Everything below the read-write directories is hostile: it is opened without following links, and only if it is a regular file or a socket.
 */
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '@manyhands/base';

export interface SandboxDirectory {
  id: string;
  root: string;
  workspace: string;
  outputs: string;
  cache: string;
  uploads: string;
  run: string;
  egress: string;
  exchange: string;
  driver: string;
  leaseFile: string;
  policyFile: string;
}

const WRITABLE_INSIDE = ['workspace', 'outputs', 'cache', 'run', 'exchange'] as const;
const READ_ONLY_INSIDE = ['uploads', 'egress'] as const;
export const SANDBOX_ID = /^sbx_[A-Za-z0-9]{8,40}$/;
export const TRASH_PREFIX = '.trash-';

export function sandboxDirectory(poolRoot: string, id: string): SandboxDirectory {
  if (!SANDBOX_ID.test(id)) throw new AppError('internal', `not a sandbox id: ${JSON.stringify(id)}`);
  const root = path.join(poolRoot, id);
  const under = (name: string) => path.join(root, name);
  return {
    id,
    root,
    workspace: under('workspace'),
    outputs: under('outputs'),
    cache: under('cache'),
    uploads: under('uploads'),
    run: under('run'),
    egress: under('egress'),
    exchange: under('exchange'),
    driver: under('driver'),
    leaseFile: under('lease.json'),
    policyFile: under('policy.json'),
  };
}

/** Makes the directory; `uid` owns what is writable inside, or the pool's own user if null. */
export async function makeSandboxDirectory(directory: SandboxDirectory, uid: number | null): Promise<void> {
  await mkdir(directory.root, { mode: 0o700 });
  await mkdir(directory.driver, { mode: 0o700 });
  for (const name of WRITABLE_INSIDE) {
    await mkdir(directory[name]);
    // Not tighter: bwrap enters them as a root without powers. What keeps others out are the parents.
    await chmod(directory[name], 0o755);
    if (uid !== null) await chown(directory[name], uid, uid);
  }
  for (const name of READ_ONLY_INSIDE) {
    await mkdir(directory[name]);
    await chmod(directory[name], 0o755);
  }
}

/**
 * Takes the directory away: first out of sight by a rename, then bit by bit. `rm` is used because it can walk trees deeper than a path may be
 * long, which a sandbox is free to build. No process may be left in the sandbox.
 */
export async function removeSandboxDirectory(root: string): Promise<void> {
  const trash = path.join(path.dirname(root), `${TRASH_PREFIX}${path.basename(root).replace(TRASH_PREFIX, '')}`);
  if (root !== trash) {
    try {
      // Before it moves: whoever reads all policies must not find one of a sandbox that is gone.
      await rm(path.join(root, 'policy.json'), { force: true });
      await rename(root, trash);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    }
  }
  if ((await runQuietly('rm', ['-rf', '--one-file-system', '--', trash])) === 0) return;
  // An ordinary user cannot enter directories that the sandbox made unreadable.
  await runQuietly('chmod', ['-R', 'u+rwx', '--', trash]);
  if ((await runQuietly('rm', ['-rf', '--one-file-system', '--', trash])) !== 0)
    throw new AppError('internal', `the directory of a sandbox could not be removed: ${trash}`);
}

function runQuietly(command: string, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'ignore' });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
