/**
 * One builder at a time per cache directory: a kernel lock, held by a small process that ends when this one does, however it ends. So there is
 * no lock to break.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { AppError } from '@manyhands/base';

const WAIT_NOTE_MS = 1_000;

/** Runs `work` under the lock; `onWait` is called once when another process has it. */
export async function withCacheLock<T>(cache: string, work: () => Promise<T>, onWait: () => void): Promise<T> {
  const holder = spawn('flock', [path.join(cache, 'lock'), 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const note = setTimeout(onWait, WAIT_NOTE_MS);
  try {
    const ended = new Promise<never>((_, reject) => {
      holder.once('error', (error) =>
        reject(new AppError('configuration', 'the program flock is missing; install util-linux', { cause: error })),
      );
      holder.once('exit', () => reject(new AppError('internal', `the lock of ${cache} could not be taken`)));
    });
    ended.catch(() => {});
    await Promise.race([once(holder.stdout, 'data'), ended]);
    clearTimeout(note);
    return await work();
  } finally {
    clearTimeout(note);
    holder.stdin.on('error', () => {});
    holder.stdin.end();
  }
}
