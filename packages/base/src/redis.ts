/**
 * The one Redis client factory. `finite` clients fail fast (a gateway answers 503), `patient` ones wait for the server to come back
 * (workers, readers). Blocking reads take a connection of their own.
 */
import { Redis } from 'ioredis';
import { AppError } from './errors.ts';
import type { Logger } from './log.ts';

export type RedisPatience = 'finite' | 'patient';

/** A server that is connected and does not answer is told from a slow one by this, for `finite` clients. */
const FINITE_COMMAND_TIMEOUT_MS = 3_000;

export function createRedis(url: string, patience: RedisPatience, log: Logger, name: string): Redis {
  const redis = new Redis(url, {
    connectionName: name,
    enableReadyCheck: true,
    maxRetriesPerRequest: patience === 'finite' ? 3 : null,
    ...(patience === 'finite' ? { commandTimeout: FINITE_COMMAND_TIMEOUT_MS } : {}),
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 5), 1000),
    // A server that restarts or fails over refuses commands for a moment: reconnect and send again.
    reconnectOnError: (error): boolean | 2 => (/^(READONLY|LOADING|UNBLOCKED)/.test(error.message) ? 2 : false),
  });
  let down = false;
  redis.on('error', (error: Error) => {
    if (!down) log.warn({ err: error, connection: name }, 'redis connection lost');
    down = true;
  });
  redis.on('ready', () => {
    if (down) log.info({ connection: name }, 'redis connection is back');
    down = false;
  });
  return redis;
}

/** Whether the server answers now. A connection that is away is not waited for, so that repeated asking queues nothing. */
export async function pingRedis(redis: Redis): Promise<void> {
  if (redis.status !== 'ready') throw new AppError('unavailable', 'not connected');
  await redis.ping();
}

export type { Redis } from 'ioredis';
