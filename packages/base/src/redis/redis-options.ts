/** What the connections to Redis have in common, whatever they are for: patience, retries, how a silent server is told. */
import type { Cluster, Redis, RedisOptions } from 'ioredis';
import { AppError } from '../errors.ts';
import type { RedisPlace } from './redis-url.ts';

export type RedisPatience = 'finite' | 'patient';
export type SentinelPlace = Extract<RedisPlace, { kind: 'sentinel' }>;
export type ClusterPlace = Extract<RedisPlace, { kind: 'cluster' }>;

/** A server that is connected and does not answer is told from a slow one by this, for `finite` clients. */
export const FINITE_COMMAND_TIMEOUT_MS = 3_000;
/** After so many attempts in vain to connect, a `finite` client refuses what waits. */
export const FINITE_ATTEMPTS = 4;
/** To one of several servers; the next one may be there. */
export const CONNECT_MS = 3_000;
const SENTINEL_ANSWER_MS = 2_000;

export function retryDelayMs(times: number): number {
  return Math.min(50 * 2 ** Math.min(times, 5), 1_000);
}

/** `RedisOptions` without what is chosen here: as they are, the types of single servers and cluster nodes do not fit each other. */
export interface ConnectionOptions {
  connectionName: string;
  enableReadyCheck: boolean;
  maxRetriesPerRequest: number | null;
  commandTimeout?: number;
  reconnectOnError: (error: Error) => boolean | 2;
}

export function connectionOptions(name: string, patience: RedisPatience): ConnectionOptions {
  return {
    connectionName: name,
    enableReadyCheck: true,
    maxRetriesPerRequest: patience === 'finite' ? FINITE_ATTEMPTS - 1 : null,
    ...(patience === 'finite' ? { commandTimeout: FINITE_COMMAND_TIMEOUT_MS } : {}),
    // A server that restarts or fails over refuses commands for a moment: reconnect and send again.
    reconnectOnError: (error) => (/^(READONLY|LOADING|UNBLOCKED)/.test(error.message) ? 2 : false),
  };
}

/** What a connection to the master behind sentinels has besides. `onUnreachable` is told how often in a row no sentinel answered. */
export function sentinelOptions(place: SentinelPlace, onUnreachable: (times: number) => void = () => {}) {
  const { username, password } = place.sentinelCredentials;
  return {
    ...{ sentinels: place.sentinels, name: place.masterName, db: place.db, ...place.credentials },
    ...(username === undefined ? {} : { sentinelUsername: username }),
    ...(password === undefined ? {} : { sentinelPassword: password }),
    ...{ connectTimeout: CONNECT_MS, sentinelCommandTimeout: SENTINEL_ANSWER_MS },
    sentinelRetryStrategy: (times: number) => {
      onUnreachable(times);
      return retryDelayMs(times);
    },
  } satisfies RedisOptions;
}

/** Commands that wait for a connection are refused, so that none of them runs long after its caller gave up. The library hides this. */
export function refuseQueued(client: Redis | Cluster, reason: string): void {
  (client as unknown as { flushQueue(error: Error): void }).flushQueue(new AppError('unavailable', reason));
}
