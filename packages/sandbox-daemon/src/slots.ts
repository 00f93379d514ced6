/**
 * So many pieces of work at once; the others wait. Threads are served in turn, each thread's work in its order, and the last free slot is for a
 * thread that has none: one with much work does not hold up the others.
 */
export interface Slots {
  run<T>(thread: string, work: () => Promise<T>): Promise<T>;
}

export function createSlots(count: number): Slots {
  let free = count;
  /** How many slots a thread has; those that have none are not in it. */
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
