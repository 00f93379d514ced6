/** The gateway process: reads its environment, connects, serves, and ends in order. */
import path from 'node:path';
import {
  createLifecycle,
  createLogger,
  createMetrics,
  createRedis,
  loadEnv,
  openStorage,
  randomIds,
  runMain,
  serveOperations,
  systemClock,
} from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { priceTableOf } from '@manyhands/model/prices';
import { createFeed, createSessionLog, measureSessionLog, upgradeSessions } from '@manyhands/session-log';
import { createAgentStore, createApiKeyStore, createEnvironmentStore, createFileStore } from '@manyhands/store';
import { createTurnQueue } from '@manyhands/turn-queue';
import { gatewayEnv } from './env.ts';
import { RATE_LIMITS } from './http/rate-limits.ts';
import { createGateway } from './http/server.ts';
import { createGatewayMetrics } from './metrics.ts';

runMain(async () => {
  const env = loadEnv(gatewayEnv, process.env);
  const log = createLogger('gateway', env.MANYHANDS_LOG_LEVEL);
  const lifecycle = createLifecycle(log, process.env);
  const registry = createMetrics('gateway');
  const operations = await serveOperations({ listen: env.MANYHANDS_OPS_LISTEN, metrics: registry, lifecycle, log });

  const storage = { url: env.REDIS_URL, patience: 'finite', name: 'gateway', upgrade: upgradeSessions } as const;
  const redis = await openStorage({ ...storage, lifecycle, operations, log });
  const queueRedis = createRedis(env.REDIS_URL, 'finite', log, 'gateway-queue');
  const blobs = createDirectoryBlobStore(path.join(env.MANYHANDS_DATA, 'blobs'));
  const clock = systemClock;
  const ids = randomIds;
  const apiKeys = createApiKeyStore(redis, clock, ids);
  if (env.MANYHANDS_API_KEY !== undefined) {
    const outcome = await apiKeys.installOperatorKey(env.MANYHANDS_API_KEY);
    if (outcome === 'revoked') log.warn('the key in MANYHANDS_API_KEY was revoked earlier and does not work; choose another');
  }
  const feed = createFeed({ redisUrl: env.REDIS_URL, redis, blobs, log });
  const prices = priceTableOf(env.MANYHANDS_PRICES);
  const hourNano = prices.runtimeCost(3_600_000);
  const turnQueue = createTurnQueue(queueRedis);
  const metrics = createGatewayMetrics(registry, { turnQueue, clock });
  const app = createGateway(
    {
      redis,
      agents: createAgentStore(redis, clock, ids),
      environments: createEnvironmentStore(redis, clock, ids),
      files: createFileStore(redis, blobs, clock),
      blobs,
      apiKeys,
      sessionLog: measureSessionLog(createSessionLog({ redis, blobs, clock, ids, log, hourNano }), metrics.appends),
      feed,
      turnQueue,
      prices,
      metrics,
      clock,
      ids,
      log,
    },
    { models: env.MANYHANDS_MODELS, adminWritable: env.MANYHANDS_ADMIN_WRITABLE, rateLimits: RATE_LIMITS[env.MANYHANDS_RATE_LIMITS] },
  );

  lifecycle.onShutdown('queue-redis', () => queueRedis.disconnect());
  lifecycle.onShutdown('queue', () => turnQueue.close());
  lifecycle.onShutdown('feed', () => feed.close());
  lifecycle.onShutdown('http', () => app.close());
  const fd = env.MANYHANDS_LISTEN_FD;
  // The framework passes its options to net.Server.listen, which prefers `fd` to an address; its types lack `fd`.
  const inherited = { fd, host: env.MANYHANDS_HOST } as { host: string };
  await app.listen(fd === undefined ? { host: env.MANYHANDS_HOST, port: env.MANYHANDS_PORT } : inherited);
  const address = app.server.address();
  lifecycle.ready({ port: typeof address === 'object' ? address?.port : undefined, ops_port: operations.port });
});
