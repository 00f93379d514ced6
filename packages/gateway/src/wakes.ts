/**
 * Wake-ups that follow an acknowledged change. They run beside the answer: the events are in the log with the thread marked due, so a
 * wake-up that fails costs seconds until a sweep, and no request (I5).
 */
import { ensureError, type Logger } from '@manyhands/base';
import type { JobWish, ReleaseJob } from '@manyhands/contract';
import type { TurnQueue } from '@manyhands/turn-queue';

export interface Wakes {
  wake(workspaceId: string, sessionId: string, threadIds: readonly string[]): void;
  hint(workspaceId: string, sessionId: string): void;
  /** Lets the sandbox of a session go that was deleted or archived; one that is not told lets go by itself later. */
  release(job: JobWish<ReleaseJob>): void;
  /** Resolves when all wake-ups so far were sent or failed. */
  settled(): Promise<void>;
}

export function createWakes(turnQueue: TurnQueue, log: Logger): Wakes {
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
    hint: (workspaceId, sessionId) => send('hint', sessionId, turnQueue.hint({ session_id: sessionId, workspace_id: workspaceId })),
    release: (job) => send('release', job.session_id, turnQueue.release(job)),
    async settled() {
      await Promise.all(underWay);
    },
  };
}
