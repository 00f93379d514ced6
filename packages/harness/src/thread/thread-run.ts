/**
 * One wake-up of one thread: take the lease, read the log, run the turn, give the lease back. What the worker starts for it hangs in one scope,
 * which ends with the lease, whatever the reason. The lease is renewed from its first moment until everything else has ended; when it is lost,
 * the run stops quietly and another worker is at it already (I3).
 *
 * An exception is no death (I15): the lease is given back at once, and the thread is due again after a back-off. Unavailable infrastructure is
 * tried again without end; any other exception so many times in a row, then the turn is given up.
 */
import { createScope, currentTrace, ensureError, hasCode, pause, type Scope, withTrace } from '@manyhands/base';
import type { TurnJob } from '@manyhands/contract';
import type { Acquired, Lease } from '@manyhands/session-log';
import { LOCK_DURATION_MS, type TurnReport } from '@manyhands/turn-queue';
import { dropOldCheckpoints, loadContext } from '../context/checkpoint.ts';
import { startableCalls } from '../tools/open-calls.ts';
import { createToolRouter } from '../tools/tool-router.ts';
import { afterException, EXCEPTIONS_MAX, isUnavailable, type ReleaseHow } from './exception.ts';
import { openInbox } from './inbox.ts';
import { createJournal } from './journal.ts';
import { runTurn, type TurnEnd } from './run-turn.ts';
import type { Drain, HarnessDeps, Turn } from './turn.ts';

/** As long as BullMQ's lock, so that both notice a dead worker at the same time. */
const LEASE_TTL_MS = LOCK_DURATION_MS;
const RENEW_MS = 1_500;
const BUSY_POLL_MS = 100;

/** How the wake-up ended; 'elsewhere' when another worker has the thread or it is gone, 'nothing' when there was no work. */
export type RunEnd = TurnEnd | 'elsewhere' | 'nothing' | 'failed';

export async function runThread(deps: HarnessDeps, job: TurnJob, report: TurnReport, drain: Drain): Promise<RunEnd> {
  const taken = await takeLease(deps, job, drain.begun);
  if (taken === 'nothing') return 'nothing';
  if (!taken) return drain.begun.aborted ? 'handover' : 'elsewhere';
  // A sweep's wake-up knows nothing of the request that gave the work: the thread does.
  return withTrace(taken.thread.state.traceparent ?? currentTrace(), () => runLeased(deps, taken, report, drain));
}

async function runLeased(deps: HarnessDeps, taken: Acquired, report: TurnReport, drain: Drain): Promise<RunEnd> {
  const { lease } = taken;
  const { metrics } = deps;
  const turnEnded = metrics.turn.start();
  metrics.turnsRunning.add(1);
  if (lease.recoveries > 0) for (const counter of [metrics.recoveries, metrics.takeovers]) counter.add(1);
  const log = deps.logger.child({ sessionId: lease.sessionId, threadId: lease.threadId, epoch: lease.epoch });
  /** Of the lease; the turn's hangs in it. */
  const scope = createScope(`thread ${lease.threadId}`, {
    onError: (error, name) => log.warn({ err: error, scope: name }, 'ending failed'),
  });
  const work = scope.child('turn');
  let turn: Turn | null = null;
  let lost = false;
  let outcome: RunEnd = 'failed';
  /** How the lease is given back; null when it is not this worker's any more. */
  let release: ReleaseHow | null = 'done';
  try {
    keepLease(
      deps,
      lease,
      scope,
      log,
      (interrupt) => turn?.inbox.interruptSession(interrupt),
      () => {
        lost = turn?.journal.released !== true;
        return lost;
      },
    );
    turn = await prepare(deps, taken, report, drain, work, log);
    const startedAt = deps.clock.now();
    outcome = await runTurn(turn);
    log.info(
      { op: 'turn', end: outcome, recoveries: lease.recoveries, durationMs: deps.clock.now() - startedAt, head: turn.journal.head },
      'turn ended',
    );
    if (outcome === 'idle') {
      remember(deps, turn);
      await afterIdle(turn);
    }
  } catch (thrown) {
    // What ended the scope is why the turn ended.
    const error = work.signal.aborted ? work.signal.reason : thrown;
    if (lost || hasCode(error, 'fenced')) {
      log.info('another worker has this thread; stopping quietly');
      outcome = 'elsewhere';
      release = null;
    } else {
      outcome = 'failed';
      await work.close(error);
      log.error({ err: ensureError(error), unavailable: isUnavailable(error) }, 'a turn ended with an exception');
      release = await afterException(deps, taken, turn, error, log);
    }
  } finally {
    metrics.turnsRunning.add(-1);
    turnEnded({ end: outcome });
    await work.close('the turn ended');
    // A lease that was given back is not renewed.
    await scope.close('the turn ended');
    if (release !== null && !lost && !turn?.journal.released) await giveBack(deps, lease, release, log);
  }
  return outcome;
}

/** What the next turn of this thread would fold again, if it comes here. */
function remember({ contexts }: HarnessDeps, { lease, context, journal }: Turn): void {
  const { lastId: id, head: position } = journal;
  if (id !== '' && context.position === position) contexts.keep(lease.threadId, { context, last: { position, id } });
}

/** Never rejects: a lease that cannot be given back runs out. */
async function giveBack({ writer }: HarnessDeps, lease: Lease, how: ReleaseHow, log: Turn['log']): Promise<void> {
  try {
    await writer.release(lease, how);
  } catch (error) {
    log.warn({ err: ensureError(error) }, 'the lease could not be given back');
  }
}

/** Waits for the holder at most one lease time: a dead one is gone by then, a live one does the work itself. */
async function takeLease(deps: HarnessDeps, job: TurnJob, drain: AbortSignal): Promise<Acquired | 'nothing' | null> {
  const place = { sessionId: job.session_id, threadId: job.thread_id, workspaceId: job.workspace_id };
  const deadline = deps.clock.now() + LEASE_TTL_MS + RENEW_MS;
  const waited = deps.metrics.lease.start();
  let outcome: 'taken' | 'busy' | 'missing' | 'nothing' | 'drained' | 'failed' = 'failed';
  try {
    for (;;) {
      outcome = 'drained';
      if (drain.aborted) return null;
      outcome = 'failed';
      const got = await deps.writer.acquire(place, deps.settings.workerId, LEASE_TTL_MS, deps.contexts.lastOf(job.thread_id));
      outcome = 'lease' in got ? 'taken' : 'missing' in got ? 'missing' : 'nothing' in got ? 'nothing' : 'busy';
      if ('lease' in got) return got;
      if ('nothing' in got) return 'nothing';
      if ('missing' in got || deps.clock.now() > deadline) return null;
      await pause(Math.min(got.busyForMs + 1, BUSY_POLL_MS), drain).catch(() => {});
    }
  } finally {
    waited({ outcome });
  }
}

/** Renews the lease until the scope ends, which it does when the lease is lost. Tells what a lost channel message may have kept from the inbox. */
function keepLease(
  { writer }: HarnessDeps,
  lease: Lease,
  scope: Scope,
  log: Turn['log'],
  onInterrupt: (sequence: number) => void,
  /** Whether it is lost, rather than given back a moment ago. */
  onRefused: () => boolean,
): void {
  scope.every(
    RENEW_MS,
    async () => {
      const held = await writer.renew(lease, LEASE_TTL_MS);
      if (held) onInterrupt(held.interrupt);
      else if (onRefused()) void scope.close(new Error('the lease was lost'));
    },
    (error) => log.warn({ err: error }, 'lease renewal failed; trying again'),
  );
}

async function prepare(
  deps: HarnessDeps,
  { lease, stored, thread, queued, entries, isRemembered }: Acquired,
  report: TurnReport,
  drain: Drain,
  scope: Scope,
  log: Turn['log'],
): Promise<Turn> {
  const { record, state } = stored;
  if (thread.state.exceptions >= EXCEPTIONS_MAX) log.error({ exceptions: thread.state.exceptions }, 'the turn failed too often');
  const remembered = deps.contexts.take(lease.threadId);
  const [context, inbox] = await scope.all([
    () => loadContext(deps, lease, thread.state, entries, isRemembered ? remembered : null),
    () => openInbox(deps, lease, queued, entries, thread.state.interrupt, scope),
  ]);
  const journal = createJournal(deps, lease, context, inbox, state.sandbox_uses);
  let previews = 0;
  report.line(
    `worker ${deps.settings.workerId}, thread ${lease.threadId}, epoch ${lease.epoch}${lease.recoveries > 0 ? `, recovery ${lease.recoveries}` : ''}`,
  );
  const tools = createToolRouter({
    deps,
    lease,
    record,
    agent: thread.agent,
    context,
    journal,
    binding: state.sandbox,
    drain,
    scope,
    log,
    report,
  });
  scope.defer(() => tools.close());
  return {
    deps,
    lease,
    record,
    agent: thread.agent,
    state: thread.state,
    context,
    journal,
    inbox,
    tools,
    report,
    log,
    scope,
    lost: scope.signal,
    failures: thread.state.failures,
    startedMs:
      thread.state.running_since_ms === null ? null : deps.clock.now() - Math.max(0, thread.as_of_ms - thread.state.running_since_ms),
    nextPreviewNumber: () => ++previews,
    checkpointed: thread.state.checkpoint?.position ?? 0,
    inherited: new Set(startableCalls(context).map(({ id }) => id)),
    awaited: new Set(context.parkedOn ?? []),
    drain,
  };
}

/** The turn is over and told; what is left to do is done as a best effort. */
async function afterIdle(turn: Turn): Promise<void> {
  try {
    // Siblings may still need the sandbox.
    if (turn.journal.sessionStatus === 'idle') await turn.tools.park();
    await dropOldCheckpoints(turn);
  } catch (error) {
    turn.log.warn({ err: ensureError(error) }, 'what a turn left could not be put away');
  }
}
