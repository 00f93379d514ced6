/**
 * Requests wait here while Redis is not connected, for a moment: a restart is over in seconds and nobody need notice. After that they get
 * a 503. Because they wait before they send anything, no command is queued that would run after its request was refused.
 */
import type { Redis } from '@manyhands/base';
import { unavailable } from './errors.ts';

export const STORAGE_WAIT_MS = 2_000;

export interface StorageGate {
  readonly open: boolean;
  /** Resolves as soon as Redis is connected; throws a 503 after STORAGE_WAIT_MS. */
  pass(): Promise<void>;
}

export function createStorageGate(redis: Redis): StorageGate {
  const waiting = new Set<() => void>();
  redis.on('ready', () => {
    for (const go of waiting) go();
  });
  return {
    get open() {
      return redis.status === 'ready';
    },
    async pass() {
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
        }, STORAGE_WAIT_MS);
        waiting.add(done);
      });
    },
  };
}
