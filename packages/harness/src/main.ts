/** The harness process. */
import { hostname } from 'node:os';
import path from 'node:path';
import {
  connectMessaging,
  createLifecycle,
  createLogger,
  createRedis,
  loadEnv,
  randomIds,
  randomText,
  runMain,
  systemClock,
} from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { createAnthropicModel } from '@manyhands/model';
import { createSessionLog, createSessionWriter, createTail } from '@manyhands/session-log';
import { createEnvironmentStore } from '@manyhands/store';
import { createTurnQueue } from '@manyhands/turn-queue';
import { harnessEnv } from './env.ts';
import { startWorker } from './worker.ts';

runMain(async () => {
  const env = loadEnv(harnessEnv, process.env);
  const logger = createLogger('harness', env.MANYHANDS_LOG_LEVEL);
  const lifecycle = createLifecycle(logger, process.env);
  const redis = createRedis(env.REDIS_URL, 'patient', logger, 'harness');
  lifecycle.onShutdown('redis', () => redis.disconnect());
  const messaging = await connectMessaging(env.NATS_URL, logger, 'harness');
  lifecycle.onShutdown('nats', () => messaging.close());

  const blobs = createDirectoryBlobStore(path.resolve(env.MANYHANDS_DATA, 'blobs'));
  const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: logger };
  const tail = createTail({ redisUrl: env.REDIS_URL, redis, blobs, log: logger });
  lifecycle.onShutdown('tail', () => tail.close());
  const queue = createTurnQueue(redis);
  lifecycle.onShutdown('queue', () => queue.close());

  const workerId = `${hostname()}-${process.pid}-${randomText(6)}`;
  const worker = startWorker(
    {
      log: createSessionLog(deps),
      writer: createSessionWriter(deps),
      tail,
      blobs,
      environments: createEnvironmentStore(redis, systemClock, randomIds),
      model: createAnthropicModel({
        baseUrl: env.MANYHANDS_MODEL_BASE_URL,
        apiKey: env.MANYHANDS_MODEL_API_KEY ?? env.ANTHROPIC_API_KEY ?? '',
        log: logger,
      }),
      messaging,
      clock: systemClock,
      ids: randomIds,
      logger,
      settings: {
        workerId,
        maxTokens: env.MANYHANDS_MODEL_MAX_TOKENS,
        modelAttempts: env.MANYHANDS_MODEL_ATTEMPTS,
        retryBaseMs: env.MANYHANDS_MODEL_RETRY_BASE_MS,
        retryCapMs: env.MANYHANDS_MODEL_RETRY_CAP_MS,
      },
    },
    { redisUrl: env.REDIS_URL, queue, concurrency: env.MANYHANDS_WORKER_CONCURRENCY },
  );
  lifecycle.onShutdown('worker', () => worker.close());
  await redis.ping();
  lifecycle.ready({ worker: workerId });
});
