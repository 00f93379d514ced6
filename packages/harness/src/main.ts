/** The harness process. */
import { hostname } from 'node:os';
import path from 'node:path';
import {
  connectMessaging,
  createLifecycle,
  createLogger,
  createMetrics,
  loadEnv,
  openStorage,
  randomIds,
  randomText,
  runMain,
  serveOperations,
  shutdownDeadlineMs,
  systemClock,
} from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { priceTableOf } from '@manyhands/model';
import { createFeed, createSessionLog, createSessionWriter, measureSessionWriter, upgradeSessions } from '@manyhands/session-log';
import { createEnvironmentStore, createFileStore } from '@manyhands/store';
import { createTurnQueue } from '@manyhands/turn-queue';
import { createContextMemory } from './context/context-memory.ts';
import { harnessEnv, settingsOf } from './env.ts';
import { createHarnessMetrics } from './metrics.ts';
import { openUpstream } from './worker/upstream.ts';
import { startWorker, wakerOf } from './worker/worker.ts';

runMain(async () => {
  const env = loadEnv(harnessEnv, process.env);
  const logger = createLogger('harness', env.MANYHANDS_LOG_LEVEL);
  const lifecycle = createLifecycle(logger, process.env, shutdownDeadlineMs(env.MANYHANDS_DRAIN_MS));
  const registry = createMetrics('harness');
  const metrics = createHarnessMetrics(registry);
  const operations = await serveOperations({ listen: env.MANYHANDS_OPS_LISTEN, metrics: registry, lifecycle, log: logger });
  const storage = { url: env.REDIS_URL, patience: 'patient', name: 'harness', upgrade: upgradeSessions } as const;
  const redis = await openStorage({ ...storage, lifecycle, operations, log: logger });
  const messaging = await connectMessaging(env.NATS_URL, logger, 'harness');
  lifecycle.onShutdown('nats', () => messaging.close());
  operations.check('nats', () => messaging.ping());

  const blobs = createDirectoryBlobStore(path.resolve(env.MANYHANDS_DATA, 'blobs'));
  const prices = priceTableOf(env.MANYHANDS_PRICES);
  const hourNano = prices.runtimeCost(3_600_000);
  const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: logger, hourNano };
  const feed = createFeed({ redisUrl: env.REDIS_URL, redis, blobs, log: logger });
  lifecycle.onShutdown('feed', () => feed.close());
  const queue = createTurnQueue(redis);
  lifecycle.onShutdown('queue', () => queue.close());

  const { model, contextWindow } = openUpstream(env, process.env, logger);
  const workerId = `${hostname()}-${process.pid}-${randomText(6)}`;
  const worker = startWorker(
    {
      log: createSessionLog(deps),
      writer: measureSessionWriter(createSessionWriter(deps), metrics.appends),
      feed,
      blobs,
      environments: createEnvironmentStore(redis, systemClock, randomIds),
      files: createFileStore(redis, blobs, systemClock),
      model: metrics.measureModel(model),
      contextWindow,
      prices,
      messaging,
      contexts: createContextMemory(),
      wake: wakerOf(queue, logger),
      clock: systemClock,
      ids: randomIds,
      logger,
      metrics,
      settings: settingsOf(env, workerId),
    },
    { redisUrl: env.REDIS_URL, queue, concurrency: env.MANYHANDS_WORKER_CONCURRENCY },
  );
  lifecycle.onShutdown('worker', () => worker.close());
  await redis.ping();
  // Who hears that this process is ready may ask at once: the server knows its subscriptions by then.
  await messaging.ping();
  lifecycle.ready({ worker: workerId, ops_port: operations.port });
});
