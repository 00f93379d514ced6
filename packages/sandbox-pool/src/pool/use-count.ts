/**
 * How often a leased sandbox was used, as the contract counts it. A count that was told to anybody is never counted again: before it is told, a
 * bound above it is on disk, and the next pool process goes on from that bound. So one write is enough for USES_AHEAD uses.
 */
const USES_AHEAD = 1_000;

export interface UseCount {
  readonly count: number;
  /** One more, at once. Resolves when it may be acted upon. */
  add(): Promise<void>;
  /** The count, when it may be told. */
  tell(): Promise<number>;
}

/** `reserve` makes a bound durable. */
export function createUseCount(start: number, reserve: (upTo: number) => Promise<void>): UseCount {
  let count = start;
  let upTo = start;
  let reserving: Promise<void> | null = null;

  async function reserveNext(): Promise<void> {
    const next = count + USES_AHEAD;
    await reserve(next);
    upTo = next;
  }
  async function reserved(wanted: number): Promise<void> {
    while (wanted > upTo) {
      reserving ??= reserveNext().finally(() => {
        reserving = null;
      });
      await reserving;
    }
  }
  return {
    get count() {
      return count;
    },
    add() {
      count++;
      return reserved(count);
    },
    async tell() {
      const told = count;
      await reserved(told);
      return told;
    },
  };
}
