/** What may end the wait of a call: an interrupt, which kills it, and the worker's leave, after which it runs on. */
import { AppError } from '@manyhands/base';
import type { ExecuteOptions } from '../tool-executor.ts';

export type Stops = ReturnType<typeof watchStops>;

export function watchStops({ signal, detach }: ExecuteOptions) {
  return {
    any: AbortSignal.any([signal, detach].filter((given) => given !== undefined)),
    get interrupted() {
      return signal?.aborted === true;
    },
    throwIfDetached(): void {
      if (detach?.aborted) throw new AppError('drained', 'the worker leaves; the call runs on');
    },
  };
}

export function unlessStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T | 'stopped'> {
  return new Promise((resolve, reject) => {
    const onStop = () => resolve('stopped');
    const done = () => stop.removeEventListener('abort', onStop);
    if (stop.aborted) onStop();
    else stop.addEventListener('abort', onStop, { once: true });
    work.then(resolve, reject).finally(done);
  });
}
