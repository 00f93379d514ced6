/**
 * Tells how long nobody has answered. Time in which this process itself had no connection to NATS is not the pool's silence; it has a limit
 * of its own. At the limit the silence may still be this worker's alone: a sibling that had an answer lately keeps the sandbox.
 */
import type { Clock, Messaging } from '@manyhands/base';

export interface SilenceWatchOptions {
  clock: Clock;
  messaging: Pick<Messaging, 'connected'>;
  limitMs: number;
  outageLimitMs: number;
  /** How long ago anybody of the session had an answer; null if that is not known. */
  lastAnswerMs: () => Promise<number | null>;
}

export function createSilenceWatch({ clock, messaging, limitMs, outageLimitMs, lastAnswerMs }: SilenceWatchOptions) {
  let silentSinceMs: number | null = null;
  let outageSinceMs: number | null = null;

  function overdue(): boolean {
    const now = clock.now();
    if (!messaging.connected) {
      outageSinceMs ??= now;
      silentSinceMs = null;
      return now - outageSinceMs >= outageLimitMs;
    }
    outageSinceMs = null;
    silentSinceMs ??= now;
    return now - silentSinceMs >= limitMs;
  }

  return {
    answered(): void {
      silentSinceMs = null;
      outageSinceMs = null;
    },
    /** One more request was not answered. True when the limit is reached, for everybody. */
    async unanswered(): Promise<boolean> {
      if (!overdue()) return false;
      const agoMs = await lastAnswerMs();
      return agoMs === null || agoMs >= limitMs;
    },
  };
}
