/**
 * The pool's id, kept in `pool.json` so that it answers under the same subjects after a restart, and the guard that one directory has one pool.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { AppError, type IdSource } from '@manyhands/base';
import { z } from 'zod';
import { identifyProcess, isAlive, ProcessIdentity } from '../drivers/process-identity.ts';
import { storedFile } from './durable-file.ts';

/** The first process of a container has pid 1. */
const PoolRecord = z.object({ pool_id: z.string(), process: ProcessIdentity.extend({ pid: z.int().min(1) }) });
export const POOL_FILE = storedFile(PoolRecord, 1);

/** Makes the directory if needed. Throws `configuration` when another live pool has it. */
export async function openPoolDirectory(poolRoot: string, ids: IdSource): Promise<{ poolId: string }> {
  await mkdir(poolRoot, { recursive: true, mode: 0o700 });
  const file = path.join(poolRoot, 'pool.json');
  const before = await POOL_FILE.read(file);
  if (before && before.process.pid !== process.pid && isAlive(before.process))
    throw new AppError(
      'configuration',
      `MANYHANDS_DATA: process ${before.process.pid} already runs a sandbox pool in ${poolRoot}; end it or use another directory`,
    );
  const self = identifyProcess(process.pid);
  if (!self) throw new AppError('configuration', '/proc is not readable; sandboxes need Linux');
  const poolId = before?.pool_id ?? ids.id('pool');
  await POOL_FILE.writeDurably(file, { pool_id: poolId, process: self });
  return { poolId };
}
