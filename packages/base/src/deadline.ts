/** A bound for work that may never end, such as a command to a server that hangs. */
import { AppError } from './errors.ts';

/** The result of `work`, or AppError `timeout`. The work itself goes on; a late failure of it is nobody's concern. */
export async function withinMs<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new AppError('timeout', `no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
