/**
 * Asks a harness now and then whether leases that nobody used lately are still wanted, and ends those that are not.
 *
 * A pool that was cut off cannot be told that its sandboxes were given up, so it asks when it is back: what was superseded or whose session is
 * over goes, unsaved, since the session went on from an older state. No answer means nothing: without a harness every lease stays.
 */
import { ensureError, type Logger, type Messaging } from '@manyhands/base';
import { ConfirmReply, SANDBOX_SUBJECT } from '@manyhands/contract';
import type { HeldSandbox } from './held-sandbox.ts';
import type { SandboxPool } from './sandbox-pool.ts';

const EVERY_MS = 10_000;
/** Per lease, as long as answers come. */
const AGAIN_AFTER_MS = 60_000;
const ANSWER_MS = 2_000;
const PER_ROUND = 100;

export interface LeaseConfirmationDeps {
  messaging: Pick<Messaging, 'request'>;
  pool: Pick<SandboxPool, 'unused'>;
  log: Logger;
  everyMs?: number;
}

export function keepLeasesConfirmed({ messaging, pool, log, everyMs = EVERY_MS }: LeaseConfirmationDeps): { stop(): void } {
  /** When each was confirmed; forgotten as a whole when a question got no answer, since much may have happened meanwhile. */
  let confirmedAtMs = new WeakMap<HeldSandbox, number>();
  let asking = false;

  async function round(): Promise<void> {
    const now = performance.now();
    const due = pool.unused(everyMs).filter((held) => now - (confirmedAtMs.get(held) ?? Number.NEGATIVE_INFINITY) >= AGAIN_AFTER_MS);
    for (const held of due.slice(0, PER_ROUND)) {
      const { session_id, generation } = held.lease;
      const sandbox_id = held.directory.id;
      const { wanted } = await messaging.request(SANDBOX_SUBJECT.confirm, { session_id, generation, sandbox_id }, ConfirmReply, ANSWER_MS);
      confirmedAtMs.set(held, performance.now());
      if (wanted) continue;
      log.info({ session_id, generation, sandbox_id }, 'lease is not wanted any more');
      await held.end('superseded');
    }
  }

  const timer = setInterval(() => {
    if (asking) return;
    asking = true;
    round()
      .catch((error: unknown) => {
        confirmedAtMs = new WeakMap();
        log.debug({ err: ensureError(error) }, 'leases were not confirmed; asked again');
      })
      .finally(() => {
        asking = false;
      });
  }, everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
