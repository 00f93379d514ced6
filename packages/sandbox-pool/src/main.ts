/** The sandbox pool of one host. Ready when a warm sandbox answers: a tool call would succeed now. */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import {
  connectMessaging,
  createLifecycle,
  createLogger,
  createMetrics,
  loadEnv,
  randomIds,
  runMain,
  serveOperations,
  shutdownDeadlineMs,
  systemClock,
} from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { chooseDriver } from './drivers/choose-driver.ts';
import { openSandboxPool } from './pool/sandbox-pool.ts';
import { openPoolDirectory } from './records/pool-identity.ts';
import { createEgressPolicies, noEgress } from './service/egress-policy.ts';
import { creationConcurrency, PoolEnv } from './service/env.ts';
import { createPoolMetrics } from './service/metrics.ts';
import { type PoolService, servePool } from './service/pool-service.ts';
import { sandboxLimits } from './service/sandbox-limits.ts';

runMain(async () => {
  const env = loadEnv(PoolEnv, process.env);
  const log = createLogger('sandbox-pool', env.MANYHANDS_LOG_LEVEL);
  const lifecycle = createLifecycle(log, process.env, shutdownDeadlineMs(env.MANYHANDS_DRAIN_MS));
  const metrics = createMetrics('sandbox-pool');
  const operations = await serveOperations({ listen: env.MANYHANDS_OPS_LISTEN, metrics, lifecycle, log });
  const data = path.resolve(env.MANYHANDS_DATA);
  const poolRoot = path.join(data, 'sandboxes');
  const { poolId } = await openPoolDirectory(poolRoot, randomIds);
  const messaging = await connectMessaging(env.NATS_URL, log, 'sandbox-pool');
  lifecycle.onShutdown('nats', () => messaging.close());
  operations.check('nats', () => messaging.ping());
  const blobs = createDirectoryBlobStore(path.join(data, 'blobs'));
  const driver = chooseDriver(env, { poolRoot, poolId, hostEnvironment: process.env, log });
  const egress = env.MANYHANDS_EGRESS === 'off' ? noEgress : createEgressPolicies({ messaging, hostId: env.MANYHANDS_HOST_ID, log });
  let service: PoolService | null = null;
  const opening = openSandboxPool(
    {
      ...{ poolRoot, poolId, driver, blobs, egress, log, ids: randomIds, clock: systemClock },
      metrics: createPoolMetrics(metrics),
      limits: sandboxLimits(env),
      warm: Math.min(env.MANYHANDS_POOL_WARM, env.MANYHANDS_POOL_MAX),
      max: env.MANYHANDS_POOL_MAX,
      concurrency: creationConcurrency(availableParallelism()),
      graceMs: env.MANYHANDS_SANDBOX_GRACE_MS,
      leaseTtlMs: env.MANYHANDS_SANDBOX_IDLE_MS,
      drainMs: env.MANYHANDS_DRAIN_MS,
    },
    () => service?.update(),
  );
  // Registered before the end of the opening, which may take a while: an early SIGTERM leaves nothing either.
  lifecycle.onShutdown('sandboxes', async () => (await opening.catch(() => null))?.drain());
  const pool = await opening;
  service = servePool({ messaging, pool, blobs, log });
  lifecycle.onShutdown('service', () => service?.stop());
  await pool.firstWarm;
  // Who hears that this process is ready may ask at once: the server knows its subscriptions by then.
  await messaging.ping();
  lifecycle.ready({ pool_id: poolId, warm: pool.warmCount, ops_port: operations.port });
});
