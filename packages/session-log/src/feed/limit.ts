/** So much at once and no more; what is over it waits, first come, first served. */

export type Limit = <T>(share: number, task: () => Promise<T>) => Promise<T>;

/** A share above the capacity takes all of it. */
export function createLimit(capacity: number): Limit {
  let free = capacity;
  const waiting: { share: number; go(): void }[] = [];

  function giveBack(share: number): void {
    free += share;
    while (waiting[0] && waiting[0].share <= free) {
      const next = waiting.shift()!;
      free -= next.share;
      next.go();
    }
  }
  return async (wanted, task) => {
    const share = Math.min(wanted, capacity);
    if (waiting.length === 0 && share <= free) free -= share;
    else await new Promise<void>((go) => waiting.push({ share, go }));
    try {
      return await task();
    } finally {
      giveBack(share);
    }
  };
}
