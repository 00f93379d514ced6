/** Waiting for a condition instead of for a time. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface UntilOptions {
  /** What is waited for, for the error: "the worker took the job". */
  what: string;
  timeoutMs?: number;
  intervalMs?: number;
}

type Falsy = false | null | undefined | 0 | '';

/**
 * Asks again and again until `condition` answers something truthy, and returns that. An error of the condition counts as "not yet"; the
 * last one is the cause of the final error.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { what, timeoutMs = 15_000, intervalMs = 20 }: UntilOptions,
): Promise<Exclude<T, Falsy>> {
  const deadlineMs = performance.now() + timeoutMs;
  let problem: unknown;
  for (;;) {
    try {
      const answer = await condition();
      if (answer) return answer as Exclude<T, Falsy>;
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    if (performance.now() > deadlineMs) {
      const last = problem instanceof Error ? `; last error: ${problem.message}` : '';
      throw new Error(`Waited ${timeoutMs} ms in vain: ${what}${last}`, { cause: problem });
    }
    await sleep(intervalMs);
  }
}
