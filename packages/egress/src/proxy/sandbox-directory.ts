/**
 * A sandbox's host directory, `<data>/sandboxes/<id>`, as egress uses it: it reads `policy.json` and puts `egress/egress.sock` there.
 *
 * Both directories are opened without following links and then used through their descriptors, so that no exchange of a path part
 * leads elsewhere, and paths longer than a socket address may be (107 bytes) work.
 */
import { constants } from 'node:fs';
import { chmod, type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import type { Server } from 'node:http';
import path from 'node:path';
import { AppError, randomText } from '@manyhands/base';
import { EgressPolicy, isId } from '@manyhands/contract';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const POLICY_MAX_BYTES = 256 * 1024;
const SOCKET = 'egress.sock';

export interface SandboxDirectory {
  /** Null if there is none: a warm sandbox, which has no way out. Throws for one that cannot be used. */
  readPolicy(): Promise<EgressPolicy | null>;
  /** Makes the server listen on the sandbox's socket, replacing any stale one in one step. */
  listen(server: Server): Promise<void>;
  /** Takes the socket away, if it is still the one of `listen`. */
  removeSocket(): Promise<void>;
  vanished(): Promise<boolean>;
  close(): Promise<void>;
}

/** Null if there is no such directory. Throws for a text that is no sandbox id. */
export async function openSandboxDirectory(sandboxesPath: string, sandboxId: string): Promise<SandboxDirectory | null> {
  if (!isId('sandbox', sandboxId)) throw new AppError('internal', `not a sandbox id: ${JSON.stringify(sandboxId.slice(0, 80))}`);
  const home = await openDirectory(path.join(sandboxesPath, sandboxId));
  if (!home) return null;
  let egress: FileHandle | null = null;
  let inode: number | null = null;
  /** A path below an open directory. */
  const at = (directory: FileHandle, name: string) => `/proc/self/fd/${directory.fd}/${name}`;

  return {
    async readPolicy() {
      const file = await open(at(home, 'policy.json'), O_RDONLY | O_NOFOLLOW).catch(nullIfMissing);
      if (!file) return null;
      try {
        const { size } = await file.stat();
        if (size > POLICY_MAX_BYTES) throw new AppError('internal', `policy.json of ${sandboxId} is larger than ${POLICY_MAX_BYTES} bytes`);
        const policy = EgressPolicy.parse(JSON.parse(await file.readFile('utf8')));
        if (policy.sandbox_id !== sandboxId) throw new AppError('internal', `policy.json of ${sandboxId} names another sandbox`);
        return policy;
      } finally {
        await file.close();
      }
    },
    async listen(server) {
      egress ??= await openDirectory(at(home, 'egress'));
      if (!egress) throw new AppError('internal', `${sandboxId} has no egress directory`);
      const temporary = at(egress, `.${randomText(10)}.sock`);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(temporary, () => {
          server.off('error', reject);
          resolve();
        });
      });
      // The sandbox runs under another uid; its own directory is what keeps everybody else out.
      await chmod(temporary, 0o666);
      inode = (await stat(temporary)).ino;
      await rename(temporary, at(egress, SOCKET));
    },
    async removeSocket() {
      if (!egress || inode === null) return;
      const current = await stat(at(egress, SOCKET)).catch(nullIfMissing);
      if (current?.ino === inode) await rm(at(egress, SOCKET), { force: true });
    },
    vanished: async () => (await home.stat()).nlink === 0,
    async close() {
      await egress?.close();
      await home.close();
    },
  };
}

function openDirectory(directory: string): Promise<FileHandle | null> {
  return open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).catch(nullIfMissing);
}

function nullIfMissing(error: unknown): null {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
  throw error;
}
