/**
 * What a pool knows of the calls of one sandbox: which run, which are being started, and whose outcome is not in the log yet. A pool that
 * restarts begins with none; those who wait for theirs bring it up to date.
 */
import type { CallState } from '@manyhands/contract';

export function createCallBook() {
  /** Keys of calls that ran when somebody last looked, with their threads. */
  const running = new Map<string, string>();
  const unacknowledged = new Set<string>();
  /** Starts under way, by thread. */
  const starting = new Map<string, number>();

  return {
    get running(): string[] {
      return [...running.keys()];
    },
    get unacknowledged(): string[] {
      return [...unacknowledged];
    },
    get anyStarting() {
      return starting.size > 0;
    },
    /** Whether calls of the thread run or are being started, or the call itself is known. */
    isBusy(thread: string, key: string): boolean {
      return unacknowledged.has(key) || starting.has(thread) || [...running.values()].includes(thread);
    },
    async whileStarting<T>(thread: string, start: () => Promise<T>): Promise<T> {
      starting.set(thread, (starting.get(thread) ?? 0) + 1);
      try {
        return await start();
      } finally {
        const left = (starting.get(thread) ?? 1) - 1;
        if (left > 0) starting.set(thread, left);
        else starting.delete(thread);
      }
    },
    /** How a call is, as the daemon just said. True if it ended since somebody last looked. */
    note(key: string, state: CallState['state'], thread?: string): boolean {
      if (state === 'running') {
        running.set(key, thread ?? running.get(key) ?? '');
        unacknowledged.add(key);
        return false;
      }
      const ran = running.delete(key);
      const isNews = state === 'done' && !unacknowledged.has(key);
      if (state === 'done') unacknowledged.add(key);
      else unacknowledged.delete(key);
      return ran || isNews;
    },
    forget(key: string): void {
      running.delete(key);
      unacknowledged.delete(key);
    },
  };
}
