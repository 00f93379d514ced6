/**
 * All files with a format below a pool's directory. They are looked at before a pool adopts, writes or removes anything: a pool of an older
 * version that is started over the directory of a newer one ends at once and leaves everything as it was (I16).
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { INTENT_FILE } from '../drivers/bubblewrap/holder-record.ts';
import { CONTAINER_FILE } from '../drivers/docker/container-record.ts';
import { MOUNTS_FILE } from '../files/mounts.ts';
import { SANDBOX_ID } from '../files/sandbox-directory.ts';
import { POLICY_FILE } from '../service/egress-policy.ts';
import type { StoredFile } from './durable-file.ts';
import { ENDED_DIRECTORY, ENDED_FILE } from './ended-leases.ts';
import { LEASE_FILE } from './lease-record.ts';
import { POOL_FILE } from './pool-identity.ts';

const IN_POOL: Record<string, Pick<StoredFile<object>, 'assertReadable'>> = { 'pool.json': POOL_FILE };
const IN_SANDBOX: typeof IN_POOL = {
  'lease.json': LEASE_FILE,
  'mounts.json': MOUNTS_FILE,
  'policy.json': POLICY_FILE,
  'driver/intent.json': INTENT_FILE,
  'driver/container.json': CONTAINER_FILE,
};

/** Rejects with AppError `newer_format`, which names the file. */
export async function assertFormatsKnown(poolRoot: string): Promise<void> {
  const check = async (directory: string, kinds: typeof IN_POOL) => {
    for (const [name, kind] of Object.entries(kinds)) await kind.assertReadable(path.join(directory, name));
  };
  await check(poolRoot, IN_POOL);
  for (const name of await readdir(poolRoot)) if (SANDBOX_ID.test(name)) await check(path.join(poolRoot, name), IN_SANDBOX);
  const ended = path.join(poolRoot, ENDED_DIRECTORY);
  for (const name of await readdir(ended).catch(() => [])) await ENDED_FILE.assertReadable(path.join(ended, name));
}
