/**
 * Redis readiness: while Redis is not connected, requests wait for a bounded time, which covers a restart; then they are answered with a 503.
 * A request waits before it sends any command, so no command is queued that would run after its request was refused.
 */
import type { Redis } from '@manyhands/base';
import { unavailable } from './errors.ts';

export const REDIS_WAIT_MS = 2_000;

export interface RedisReadiness {
  readonly isReady: boolean;
  /** Resolves as soon as Redis is connected; throws a 503 after REDIS_WAIT_MS. */
  waitUntilReady(): Promise<void>;
}

export function createRedisReadiness(redis: Redis): RedisReadiness {
  const waiting = new Set<() => void>();
  redis.on('ready', () => {
    for (const resume of waiting) resume();
  });
  return {
    get isReady() {
      return redis.status === 'ready';
    },
    async waitUntilReady() {
      if (redis.status === 'ready') return;
      await new Promise<void>((resolve, reject) => {
        const done = () => {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        };
        const timer = setTimeout(() => {
          waiting.delete(done);
          reject(unavailable('the service cannot reach its storage at the moment; try again shortly'));
        }, REDIS_WAIT_MS);
        waiting.add(done);
      });
    },
  };
}
