/** Waiting and retrying. */
import { AppError } from './errors.ts';

/** Exponential backoff with full jitter on the upper half: between half and all of min(cap, base·2^attempt) milliseconds. */
export function backoffMs(attempt: number, baseMs: number, capMs: number, random: () => number = Math.random): number {
  const ceiling = Math.min(capMs, baseMs * 2 ** attempt);
  return Math.round(ceiling / 2 + (ceiling / 2) * random());
}

/** Resolves after `ms`; rejects with an `aborted` AppError as soon as the signal fires. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new AppError('aborted', 'aborted while waiting'));
    const onAbort = () => {
      clearTimeout(timer);
      reject(new AppError('aborted', 'aborted while waiting'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
