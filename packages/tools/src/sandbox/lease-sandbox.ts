/**
 * Gets a sandbox for a session under a generation that no sandbox had before.
 *
 * A prewarm names a pool first, and the lease is asked of that pool: a lease that is not answered in time can then be asked for again of the same
 * pool, which gives the same sandbox for the same generation. The queue group is asked only when no pool is known. A lease that was not
 * answered may have been given all the same: another pool is asked under the next generation, so that the two can be told apart.
 *
 * Siblings may want one at the same time. Each time before it asks it looks whether one of them was faster: there is no room for two, and a lease
 * of a higher generation would end theirs.
 */
import { backoffMs, type Clock, type Messaging, pause } from '@manyhands/base';
import type { SandboxSpec } from '@manyhands/contract';
import type { BoundSandbox } from './binding.ts';
import { askPrewarm, settledPrewarm } from './prewarm.ts';
import { isSilence, type SandboxClient } from './sandbox-client.ts';

const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 2_000;
/** A pool that says it cannot make the sandbox is believed after so many times. */
const FAILURES_MAX = 5;
/** A pool that is there and does not answer is left for another after so many requests. */
const UNANSWERED_MAX = 12;
/** A prewarm that is not answered costs a second, a lease five: so many pools are tried by prewarm first. */
const PREWARMS_MAX = 3;

export interface LeaseWait {
  reason: 'busy' | 'failed' | 'no answer';
  waitedMs: number;
}

export interface LeaseOptions {
  client: SandboxClient;
  messaging: Pick<Messaging, 'request'>;
  clock: Clock;
  workspaceId: string;
  sessionId: string;
  spec: SandboxSpec;
  /** The first generation to ask for. */
  generation: number;
  /** Blob key of the workspace to restore, or null. */
  restoreFrom: string | null;
  /** The sandbox that a sibling made the session's meanwhile, or null. */
  bound: () => Promise<BoundSandbox | null>;
  /** The pool of a prewarm that was sent already. */
  prewarmed: Promise<string | null> | undefined;
  /** How long to keep trying, in milliseconds. */
  limitMs: number;
  onWaiting: ((wait: LeaseWait) => void) | undefined;
  signal: AbortSignal;
}

/** `adopted`: a sibling has bound one. */
export type LeaseEnd =
  | { kind: 'leased' | 'adopted'; at: BoundSandbox }
  | { kind: 'busy'; waitedMs: number }
  | { kind: 'failed'; reason: string };

/** Rejects with AppError `aborted` when the signal fires; a sandbox that was given just then is found again under the same generation. */
export async function leaseSandbox(options: LeaseOptions): Promise<LeaseEnd> {
  const { client, messaging, clock, workspaceId, sessionId, spec, restoreFrom, limitMs, signal } = options;
  const startedAtMs = clock.now();
  let { generation } = options;
  let poolId = await settledPrewarm(options.prewarmed);
  let failures = 0;
  let unanswered = 0;
  /** The pool of the last prewarm said no: any other may say yes. */
  let askGroup = false;

  for (let attempt = 0; ; ) {
    signal.throwIfAborted();
    const bound = await options.bound();
    if (bound) return { kind: 'adopted', at: bound };
    for (let prewarms = 0; poolId === null && !askGroup && prewarms < PREWARMS_MAX; prewarms++) {
      const answer = await askPrewarm(messaging, { session_id: sessionId, workspace_id: workspaceId, spec });
      if (answer === 'none') break;
      if (answer !== 'silent') poolId = answer.poolId;
      signal.throwIfAborted();
    }
    const reply = await client.lease(poolId, {
      workspace_id: workspaceId,
      session_id: sessionId,
      generation,
      spec,
      restore_from: restoreFrom,
    });
    let reason: LeaseWait['reason'] = 'busy';
    if (isSilence(reply)) {
      if (reply.silence === 'unanswered') {
        reason = 'no answer';
        unanswered++;
      }
      if (reply.silence === 'not delivered' || poolId === null || unanswered >= UNANSWERED_MAX) {
        // Whoever did not answer may have a sandbox under this generation.
        if (unanswered > 0) generation++;
        unanswered = 0;
        poolId = null;
      }
      askGroup = false;
    } else if (reply.ok) {
      return { kind: 'leased', at: { pool_id: reply.pool_id, sandbox_id: reply.sandbox_id, generation: reply.generation } };
    } else {
      unanswered = 0;
      switch (reply.error.code) {
        case 'stale_generation':
        case 'sandbox_lost':
        case 'unknown_sandbox':
          // That generation had its sandbox.
          generation++;
          continue;
        case 'invalid_request':
          return { kind: 'failed', reason: reply.error.message };
        case 'failed':
          if (++failures >= FAILURES_MAX) return { kind: 'failed', reason: reply.error.message };
          reason = 'failed';
          poolId = null;
          break;
        case 'at_capacity':
        case 'leaving':
          askGroup = poolId !== null;
          poolId = null;
          break;
      }
    }
    const waitedMs = clock.now() - startedAtMs;
    if (waitedMs >= limitMs) return { kind: 'busy', waitedMs };
    options.onWaiting?.({ reason, waitedMs });
    await pause(backoffMs(attempt++, BACKOFF_BASE_MS, BACKOFF_CAP_MS), signal);
  }
}
