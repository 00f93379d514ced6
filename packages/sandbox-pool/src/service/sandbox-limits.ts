/** What one sandbox may take, from the environment of the pool. */
import type { SandboxLimits } from '../drivers/driver.ts';
import type { PoolEnv } from './env.ts';

const MIB = 1024 * 1024;
const FILE_MAX_BYTES = 2048 * MIB;
const TMP_BYTES = 256 * MIB;

export function sandboxLimits(env: Pick<PoolEnv, 'MANYHANDS_SANDBOX_MEMORY_MB' | 'MANYHANDS_SANDBOX_PIDS'>): SandboxLimits {
  return {
    memoryBytes: env.MANYHANDS_SANDBOX_MEMORY_MB * MIB,
    pids: env.MANYHANDS_SANDBOX_PIDS,
    fileBytes: FILE_MAX_BYTES,
    tmpBytes: TMP_BYTES,
  };
}
