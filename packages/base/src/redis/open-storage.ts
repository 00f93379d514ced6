/** What every process that uses Redis does before anything else: the server is new enough, and its data is of a format this program knows. */

import type { Lifecycle } from '../lifecycle.ts';
import type { Logger } from '../log.ts';
import type { Operations } from '../operations.ts';
import { type OpenOptions, openInstallation, watchInstallation } from './installation.ts';
import { checkRedisVersion, createRedis, pingRedis, type Redis, type RedisPatience } from './redis.ts';

export interface StorageOptions extends OpenOptions {
  url: string;
  patience: RedisPatience;
  /** Of the process: the connection's name at the server. */
  name: string;
  lifecycle: Lifecycle;
  operations: Operations;
  log: Logger;
}

/** Rejects with the remedy. While the process runs, a newer process that raises the format ends it. */
export async function openStorage({ url, patience, name, lifecycle, operations, log, ...options }: StorageOptions): Promise<Redis> {
  const redis = createRedis(url, patience, log, name);
  lifecycle.onShutdown('redis', () => redis.disconnect());
  operations.check('redis', () => pingRedis(redis));
  await checkRedisVersion(redis);
  await openInstallation(redis, options);
  const watching = watchInstallation(
    redis,
    (error) => {
      log.fatal({ err: error }, 'a newer version has taken this installation over');
      void lifecycle.shutdown(error.message, 1);
    },
    log,
  );
  lifecycle.onShutdown('format', () => watching.stop());
  return redis;
}
