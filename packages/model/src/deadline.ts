/** The one thing that a request waits for, and how long: set anew for each phase, told once when it comes too late. */
export interface Deadline {
  /** Waits for something else from now on. */
  expect(what: string, withinMs: number): void;
  /** What is expected shows signs of life. */
  refresh(): void;
  /** What did not come in time, or null. */
  readonly missed: string | null;
  clear(): void;
}

export function createDeadline(onMissed: () => void): Deadline {
  let timer: NodeJS.Timeout | undefined;
  let missed: string | null = null;
  return {
    expect(what, withinMs) {
      clearTimeout(timer);
      timer = setTimeout(() => {
        missed = `${what} within ${withinMs >= 1000 ? `${Math.round(withinMs / 1000)} s` : `${withinMs} ms`}`;
        onMissed();
      }, withinMs);
    },
    refresh: () => void timer?.refresh(),
    get missed() {
      return missed;
    },
    clear: () => clearTimeout(timer),
  };
}
