/**
 * Removes what nobody owns: directories of sandboxes that are not live, half-removed directories, and processes or limit groups of this pool
 * that have no directory. Runs at the start, after adoption, and now and then.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from '@manyhands/base';
import type { SandboxDriver } from '../drivers/driver.ts';
import { removeSandboxDirectory, SANDBOX_ID, sandboxDirectory, TRASH_PREFIX } from '../files/sandbox-directory.ts';

export interface ReaperDeps {
  driver: SandboxDriver;
  poolRoot: string;
  /** Sandboxes that are live or being made or removed by this pool. */
  isOwned: (id: string) => boolean;
  log: Logger;
}

export async function listSandboxIds(poolRoot: string): Promise<string[]> {
  return (await readdir(poolRoot)).filter((name) => SANDBOX_ID.test(name));
}

export function createReaper({ driver, poolRoot, isOwned, log }: ReaperDeps) {
  async function attempt(id: string, remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
      log.info({ sandbox_id: id }, 'leftover sandbox removed');
    } catch (error) {
      log.error({ err: error, sandbox_id: id }, 'leftover sandbox could not be removed; tried again later');
    }
  }
  return {
    async sweep(): Promise<void> {
      const leftovers = new Set([...(await listSandboxIds(poolRoot)), ...(await driver.listStrays())]);
      for (const id of leftovers) if (!isOwned(id)) await attempt(id, () => driver.destroy(sandboxDirectory(poolRoot, id)));
      for (const name of await readdir(poolRoot)) {
        const id = name.slice(TRASH_PREFIX.length);
        if (name.startsWith(TRASH_PREFIX) && !isOwned(id)) await attempt(id, () => removeSandboxDirectory(path.join(poolRoot, name)));
      }
    },
  };
}
