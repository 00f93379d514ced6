/** What the answers of a pool tell besides what was asked: that it lives, and how often the sandbox was used. */
import type { Clock } from '@manyhands/base';
import type { BoundSandbox } from './binding.ts';
import type { PoolReply } from './sandbox-client.ts';

/** Siblings need to know within half a minute; the session's state need not hear of every answer. */
const TELL_EVERY_MS = 5_000;

export interface PoolSigns {
  heard(at: BoundSandbox, reply: PoolReply): void;
  /** The highest use count that was seen of a sandbox; null if none was. */
  uses(at: BoundSandbox): number | null;
}

export function createPoolSigns(clock: Clock, onAnswer: ((generation: number) => void) | undefined): PoolSigns {
  let seen: { sandboxId: string; uses: number } | null = null;
  let told: { generation: number; atMs: number } | null = null;

  return {
    heard(at, reply) {
      if (!reply.ok) {
        const { code } = reply.error;
        // It lives, but not for this sandbox.
        if (code === 'stale_generation' || code === 'unknown_sandbox' || code === 'sandbox_lost') return;
      } else if ('uses' in reply && reply.uses !== undefined) {
        const before = seen?.sandboxId === at.sandbox_id ? seen.uses : 0;
        seen = { sandboxId: at.sandbox_id, uses: Math.max(before, reply.uses) };
      }
      const now = clock.now();
      if (told?.generation === at.generation && now - told.atMs < TELL_EVERY_MS) return;
      told = { generation: at.generation, atMs: now };
      onAnswer?.(at.generation);
    },
    uses: (at) => (seen?.sandboxId === at.sandbox_id ? seen.uses : null),
  };
}
