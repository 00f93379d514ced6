/**
 * Enqueues the jobs that follow an acknowledged change. It runs beside the answer: the events are in the log with the thread marked due, so a
 * wake-up that cannot be queued delays the thread until the next sweep and fails no request (I5).
 */
import { ensureError, type Logger } from '@manyhands/base';
import type { JobWish, ReleaseJob } from '@manyhands/contract';
import type { TurnQueue } from '@manyhands/turn-queue';

export interface Enqueuer {
  wake(workspaceId: string, sessionId: string, threadIds: readonly string[]): void;
  /** Tells pools that the session will probably want a sandbox; best effort. In the queue the job is named `hint`. */
  prewarm(workspaceId: string, sessionId: string): void;
  /** Releases the sandbox of a session that was deleted or archived; without the job, the pool releases it later by itself. */
  release(job: JobWish<ReleaseJob>): void;
  /** Resolves when all jobs so far were queued or failed. */
  settled(): Promise<void>;
}

export function createEnqueuer(turnQueue: TurnQueue, log: Logger): Enqueuer {
  const underWay = new Set<Promise<void>>();
  function send(what: string, sessionId: string, queued: Promise<void>): void {
    const sending = queued.catch((error: unknown) => {
      log.warn({ err: ensureError(error), sessionId, what }, 'queueing failed; a sweep finds the session');
    });
    underWay.add(sending);
    void sending.finally(() => underWay.delete(sending));
  }
  return {
    wake(workspaceId, sessionId, threadIds) {
      for (const thread_id of threadIds)
        send('wake', sessionId, turnQueue.wake({ session_id: sessionId, thread_id, workspace_id: workspaceId }));
    },
    prewarm: (workspaceId, sessionId) => send('hint', sessionId, turnQueue.prewarm({ session_id: sessionId, workspace_id: workspaceId })),
    release: (job) => send('release', job.session_id, turnQueue.release(job)),
    async settled() {
      await Promise.all(underWay);
    },
  };
}
