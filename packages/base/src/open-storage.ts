/** What every process that uses Redis does before anything else: the server is new enough, and its data is of a format this program knows. */
import { type OpenOptions, openInstallation, watchInstallation } from './installation.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Logger } from './log.ts';
import { checkRedisVersion, type Redis } from './redis.ts';

/** Rejects with the remedy; while the process runs, a newer process that raises the format ends it. */
export async function openStorage(redis: Redis, lifecycle: Lifecycle, log: Logger, options: OpenOptions = {}): Promise<void> {
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
}
