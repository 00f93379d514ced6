/** The sandbox pool of one host. Ready when a warm sandbox answers: a tool call would succeed now. */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectMessaging, createLifecycle, createLogger, loadEnv, randomIds, runMain, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { createBubblewrapDriver } from './bubblewrap/bubblewrap-driver.ts';
import { createEgressPolicies, noEgress } from './egress-policy.ts';
import { creationConcurrency, PoolEnv } from './env.ts';
import { findProgram } from './find-program.ts';
import { openPoolDirectory } from './pool-identity.ts';
import { type PoolService, servePool } from './pool-service.ts';
import { openSandboxPool } from './sandbox-pool.ts';

const MIB = 1024 * 1024;
const FILE_MAX_BYTES = 2048 * MIB;
const TMP_BYTES = 256 * MIB;

runMain(async () => {
  const env = loadEnv(PoolEnv, process.env);
  const log = createLogger('sandbox-pool', env.MANYHANDS_LOG_LEVEL);
  const lifecycle = createLifecycle(log, process.env);
  const data = path.resolve(env.MANYHANDS_DATA);
  const poolRoot = path.join(data, 'sandboxes');
  const searchPath = process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin';
  const { poolId } = await openPoolDirectory(poolRoot, randomIds);
  const messaging = await connectMessaging(env.NATS_URL, log, 'sandbox-pool');
  lifecycle.onShutdown('nats', () => messaging.close());
  const blobs = createDirectoryBlobStore(path.join(data, 'blobs'));
  const libraryPath = process.env['LD_LIBRARY_PATH'];
  const driver = createBubblewrapDriver({
    poolRoot,
    poolId,
    bwrap: findProgram('MANYHANDS_BWRAP', env.MANYHANDS_BWRAP, searchPath),
    programs: {
      node: process.execPath,
      hand: env.MANYHANDS_HAND ?? fileURLToPath(new URL('../../hand/dist/hand.mjs', import.meta.url)),
      ripgrep: env.MANYHANDS_RG === undefined ? null : findProgram('MANYHANDS_RG', env.MANYHANDS_RG, searchPath),
    },
    hostEnvironment: { PATH: searchPath, ...(libraryPath ? { LD_LIBRARY_PATH: libraryPath } : {}) },
    log,
  });
  const egress = env.MANYHANDS_EGRESS === 'off' ? noEgress : createEgressPolicies({ messaging, hostId: env.MANYHANDS_HOST_ID, log });
  let service: PoolService | null = null;
  const opening = openSandboxPool(
    {
      ...{ poolRoot, poolId, driver, blobs, egress, log, ids: randomIds, clock: systemClock },
      limits: {
        memoryBytes: env.MANYHANDS_SANDBOX_MEMORY_MB * MIB,
        pids: env.MANYHANDS_SANDBOX_PIDS,
        fileBytes: FILE_MAX_BYTES,
        tmpBytes: TMP_BYTES,
      },
      warm: Math.min(env.MANYHANDS_POOL_WARM, env.MANYHANDS_POOL_MAX),
      max: env.MANYHANDS_POOL_MAX,
      concurrency: creationConcurrency(availableParallelism()),
      graceMs: env.MANYHANDS_SANDBOX_GRACE_MS,
      leaseTtlMs: env.MANYHANDS_SANDBOX_IDLE_MS,
    },
    () => service?.update(),
  );
  // Registered before the end of the opening, which may take a while: an early SIGTERM leaves nothing either.
  lifecycle.onShutdown('sandboxes', async () => (await opening.catch(() => null))?.drain());
  const pool = await opening;
  service = servePool({ messaging, pool, blobs, log });
  lifecycle.onShutdown('service', () => service?.stop());
  await pool.firstWarm;
  lifecycle.ready({ pool_id: poolId, warm: pool.warmCount });
});
