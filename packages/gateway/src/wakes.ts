/**
 * Wake-ups that follow an acknowledged change. They run beside the answer: the events are in the log with the session marked dirty, so a
 * wake-up that fails costs seconds until a sweep, and no request (I5).
 */
import { ensureError, type Logger } from '@manyhands/base';
import type { TurnQueue } from '@manyhands/turn-queue';

export interface Wakes {
  wake(workspaceId: string, sessionId: string): void;
  hint(workspaceId: string, sessionId: string): void;
  /** Resolves when all wake-ups so far were sent or failed. */
  settled(): Promise<void>;
}

export function createWakes(turnQueue: TurnQueue, log: Logger): Wakes {
  const underWay = new Set<Promise<void>>();
  function send(what: 'wake' | 'hint', workspaceId: string, sessionId: string): void {
    const sending = turnQueue[what]({ session_id: sessionId, workspace_id: workspaceId }).catch((error: unknown) => {
      log.warn({ err: ensureError(error), sessionId, what }, 'queueing failed; a sweep finds the session');
    });
    underWay.add(sending);
    void sending.finally(() => underWay.delete(sending));
  }
  return {
    wake: (workspaceId, sessionId) => send('wake', workspaceId, sessionId),
    hint: (workspaceId, sessionId) => send('hint', workspaceId, sessionId),
    async settled() {
      await Promise.all(underWay);
    },
  };
}
