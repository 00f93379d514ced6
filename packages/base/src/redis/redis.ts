/**
 * The one Redis client factory: for one server, for a cluster, for a master behind sentinels (see redis-url.ts). `finite` clients fail fast
 * (a gateway answers 503), `patient` ones wait for the server to come back (workers, readers). Blocking reads take a connection of their own.
 *
 * A cluster's client is handed out under the type of the single one: its commands are the same, as long as none touches two slots.
 */
import { type Cluster, Redis } from 'ioredis';
import { AppError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { createCluster } from './redis-cluster.ts';
import { connectionOptions, FINITE_ATTEMPTS, type RedisPatience, refuseQueued, retryDelayMs, sentinelOptions } from './redis-options.ts';
import { parseRedisUrl, type RedisPlace } from './redis-url.ts';

/**
 * Where another server may take over, a connection on which an answer is due and nothing comes is given up after this: its server may have
 * vanished without a word. Longer than any blocking read waits (10 s in BullMQ).
 */
const SILENCE_MS = { finite: 5_000, patient: 15_000 } as const satisfies Record<RedisPatience, number>;
/** Sharded publish and subscribe. */
const MINIMUM_VERSION = [7, 0] as const;

/** Throws AppError `configuration` for a URL that cannot be used. */
export function createRedis(url: string, patience: RedisPatience, log: Logger, name: string): Redis {
  const redis = open(parseRedisUrl(url), patience, name);
  watchConnection(redis, log, name);
  return redis;
}

function open(place: RedisPlace, patience: RedisPatience, name: string): Redis {
  const options = connectionOptions(name, patience);
  const socketTimeout = SILENCE_MS[patience];
  switch (place.kind) {
    case 'single':
      return new Redis(place.url, { ...options, retryStrategy: retryDelayMs });
    case 'cluster':
      return createCluster(place, { ...options, socketTimeout }, patience) as unknown as Redis;
    case 'sentinel': {
      // The library counts attempts at the master only: without this a finite command would wait as long as no sentinel answers.
      const onUnreachable = (times: number) => {
        if (patience === 'finite' && times % FINITE_ATTEMPTS === 0) refuseQueued(redis, 'no sentinel answers');
      };
      const redis: Redis = new Redis({ ...options, ...sentinelOptions(place, onUnreachable), retryStrategy: retryDelayMs, socketTimeout });
      return redis;
    }
  }
}

/** Says once that a connection is lost, and once that it is back. */
export function watchConnection(redis: Redis, log: Logger, connection: string): void {
  let down = false;
  redis.on('error', (error: Error) => {
    if (!down) log.warn({ err: withoutCommand(error), connection }, 'redis connection lost');
    down = true;
  });
  redis.on('ready', () => {
    if (down) log.info({ connection }, 'redis connection is back');
    down = false;
  });
  if (isCluster(redis)) watchNodes(redis as unknown as Cluster, log, connection);
}

function watchNodes(cluster: Cluster, log: Logger, connection: string): void {
  const lost = new Set<string>();
  cluster.on('node error', (error: Error, node: string) => {
    if (!lost.has(node)) log.warn({ err: withoutCommand(error), connection, node }, 'redis node lost');
    lost.add(node);
  });
  cluster.on('+node', (redis: Redis) => {
    redis.once('ready', () => {
      const node = `${redis.options.host}:${redis.options.port}`;
      if (lost.delete(node)) log.info({ connection, node }, 'redis node is back');
    });
  });
}

/** A server's error carries the command that it answers, which may be the one with the password (I7). */
export function withoutCommand(error: Error): Error {
  const { name, message, stack } = error;
  return Object.assign(new Error(message), { name, stack });
}

/** Whether this is the client of a cluster. */
export function isCluster(redis: Redis): boolean {
  return redis.isCluster;
}

/** One connection for each master; of a single server the client itself. */
function masters(redis: Redis): Redis[] {
  return isCluster(redis) ? (redis as unknown as Cluster).nodes('master') : [redis];
}

/**
 * Whether the server answers now; of a cluster, whether each master answers and sees all slots served. A connection that is away is not waited
 * for, so that repeated asking queues nothing.
 */
export async function pingRedis(redis: Redis): Promise<void> {
  if (redis.status !== 'ready') throw notConnected();
  if (!isCluster(redis)) {
    await redis.ping();
    return;
  }
  const states = masters(redis).map(async (master) => {
    // One that was not needed yet connects now.
    if (master.status !== 'ready' && master.status !== 'wait') throw notConnected();
    return /^cluster_state:ok\r?$/m.test(await master.cluster('INFO'));
  });
  if (states.length === 0) throw notConnected();
  if ((await Promise.all(states)).includes(false)) throw new AppError('unavailable', 'the cluster does not serve all slots');
}

function notConnected(): AppError {
  return new AppError('unavailable', 'not connected');
}

/** Called by every process at its start: throws AppError `configuration` if the server, or a master of the cluster, is too old. */
export async function checkRedisVersion(redis: Redis): Promise<void> {
  // A cluster's client knows its masters once it is connected; a command waits for that.
  await redis.ping();
  const [wantedMajor, wantedMinor] = MINIMUM_VERSION;
  for (const info of await Promise.all(masters(redis).map((master) => master.info('server')))) {
    const [, found = 'unknown'] = /^redis_version:(\S+)/m.exec(info) ?? [];
    const [major = 0, minor = 0] = found.split('.').map(Number);
    if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) continue;
    throw new AppError(
      'configuration',
      `the Redis server has version ${found}, and ${MINIMUM_VERSION.join('.')} or newer is needed (any Valkey will do): upgrade it, or name another one in REDIS_URL`,
      { details: { found } },
    );
  }
}

export type { Redis } from 'ioredis';
export type { RedisPatience } from './redis-options.ts';
