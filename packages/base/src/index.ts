/** What every process needs: errors, environment, logs, life, Redis and NATS. */

export type { Redis } from 'ioredis';
export { backoffMs, pause } from './backoff.ts';
export { type Clock, type IdSource, randomIds, randomText, systemClock } from './clock.ts';
export { commonEnv, envFlag, envInt, loadEnv } from './env.ts';
export {
  AppError,
  type AppErrorOptions,
  conflict,
  type ErrorCode,
  ensureError,
  hasCode,
  invalidRequest,
  notFound,
  WireError,
  type WireErrorOptions,
} from './errors.ts';
export { createLifecycle, type Lifecycle, runMain, SHUTDOWN_DEADLINE_MS } from './lifecycle.ts';
export { createLogger, type Logger } from './log.ts';
export { connectMessaging, type Messaging, type ServeOptions, type Serving } from './messaging.ts';
export { createRedis, type RedisPatience } from './redis.ts';
