/**
 * A fair semaphore: at most `count` pieces of work run at once, the others wait. Threads are served in turn, the work of one thread in its order,
 * and the last free permit is for a thread that has none: a thread with much work does not hold up the others.
 */
export interface Semaphore {
  run<T>(thread: string, work: () => Promise<T>): Promise<T>;
}

export function createSemaphore(count: number): Semaphore {
  let free = count;
  /** How many permits a thread has; those that have none are not in it. */
  const taken = new Map<string, number>();
  /** What waits, by thread; the thread whose turn comes first is first. */
  const waiting = new Map<string, (() => void)[]>();

  const mayTake = (thread: string) => free > 1 || (free === 1 && (count === 1 || !taken.has(thread)));

  function give(): void {
    for (;;) {
      const thread = [...waiting.keys()].find(mayTake);
      const queue = thread === undefined ? undefined : waiting.get(thread);
      const next = queue?.shift();
      if (thread === undefined || !queue || !next) return;
      waiting.delete(thread);
      if (queue.length > 0) waiting.set(thread, queue);
      free--;
      taken.set(thread, (taken.get(thread) ?? 0) + 1);
      next();
    }
  }

  return {
    async run(thread, work) {
      await new Promise<void>((resolve) => {
        const queue = waiting.get(thread);
        if (queue) queue.push(resolve);
        else waiting.set(thread, [resolve]);
        give();
      });
      try {
        return await work();
      } finally {
        free++;
        const left = (taken.get(thread) ?? 1) - 1;
        if (left > 0) taken.set(thread, left);
        else taken.delete(thread);
        give();
      }
    },
  };
}
