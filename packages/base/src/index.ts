/** What every process needs: errors, environment, logs, life, Redis and NATS. */

export type { Redis } from 'ioredis';
export { backoffMs, pause } from './backoff.ts';
export { type Clock, type IdSource, randomIds, randomText, systemClock } from './clock.ts';
export { decodeCursor, encodeCursor, type Order } from './cursor.ts';
export { withinMs } from './deadline.ts';
export { commonEnv, drainEnv, envFlag, envInt, type ListenAddress, loadEnv } from './env.ts';
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
export { createLifecycle, type Lifecycle, type LifePhase, runMain, SHUTDOWN_DEADLINE_MS, shutdownDeadlineMs } from './lifecycle.ts';
export { createLogger, type Logger } from './log.ts';
export { connectMessaging, MESSAGE_FORMAT, type Messaging, type ServeOptions, type Serving } from './messaging.ts';
export {
  type Counter,
  createMetrics,
  type Gauge,
  type Histogram,
  type LabelSet,
  type LabelsOf,
  type MetricFacts,
  type Metrics,
  OTHER_VALUE,
} from './metrics.ts';
export { type Operations, type OperationsOptions, serveOperations } from './operations.ts';
export { assertFormat, FORMAT, openInstallation, watchInstallation } from './redis/installation.ts';
export { openStorage, type StorageOptions } from './redis/open-storage.ts';
export { checkRedisVersion, createRedis, isCluster, pingRedis, type RedisPatience } from './redis/redis.ts';
export { parseRedisUrl, type RedisPlace } from './redis/redis-url.ts';
export { createSubscriber, type Subscriber, type Subscription } from './redis/subscriber.ts';
export { createScope, type Scope, type ScopeOptions, type ScopeResults, type ScopeWork } from './scope.ts';
export { childOf, currentTrace, newTraceparent, parseTraceparent, withTrace } from './trace.ts';
