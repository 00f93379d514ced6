/**
 * One wake-up of one session: take the lease, read the log, run the turn, give the lease back. The lease is renewed while the turn runs;
 * when it is lost, the run stops quietly and another worker is at it already (I3).
 */
import { hasCode, pause } from '@manyhands/base';
import type { TurnJob } from '@manyhands/contract';
import type { Lease, LogEntry, StoredSession } from '@manyhands/session-log';
import { LOCK_DURATION_MS, type TurnReport } from '@manyhands/turn-queue';
import { dropOldCheckpoints, loadContext } from './checkpoint.ts';
import { openInbox } from './inbox.ts';
import { createJournal } from './journal.ts';
import { startableCalls } from './open-calls.ts';
import { runTurn, type TurnEnd } from './run-turn.ts';
import { createToolRouter } from './tool-router.ts';
import type { Drain, HarnessDeps, Turn } from './turn.ts';

/** As long as BullMQ's lock, so that both notice a dead worker at the same time. */
const LEASE_TTL_MS = LOCK_DURATION_MS;
const RENEW_MS = 1_500;
const BUSY_POLL_MS = 100;

/** How the wake-up ended; 'elsewhere' when another worker has the session or it is gone. */
export async function runSession(deps: HarnessDeps, job: TurnJob, report: TurnReport, drain: Drain): Promise<TurnEnd | 'elsewhere'> {
  const taken = await takeLease(deps, job.session_id, drain.begun);
  if (!taken) return drain.begun.aborted ? 'handover' : 'elsewhere';
  const { lease } = taken;
  const { metrics } = deps;
  const turnEnded = metrics.turn.start();
  metrics.turnsRunning.add(1);
  if (lease.takeovers > 0) metrics.takeovers.add(1);
  const log = deps.logger.child({ sessionId: lease.sessionId, epoch: lease.epoch });
  const lost = new AbortController();
  const renewal = setInterval(() => {
    deps.writer.renew(lease, deps.settings.workerId, LEASE_TTL_MS).then(
      (held) => {
        if (!held) lost.abort(new Error('the lease was lost'));
      },
      (error: unknown) => log.warn({ err: error }, 'lease renewal failed; trying again'),
    );
  }, RENEW_MS);

  let close = async () => {};
  let outcome: TurnEnd | 'elsewhere' | 'failed' = 'failed';
  try {
    const turn = await prepare(deps, taken, report, drain, lost.signal, log);
    close = async () => {
      turn.inbox.close();
      await turn.tools.close();
    };
    const startedAt = deps.clock.now();
    const end = await runTurn(turn);
    await finish(turn, end);
    outcome = end;
    log.info(
      { op: 'turn', end, takeovers: lease.takeovers, durationMs: deps.clock.now() - startedAt, head: turn.journal.head },
      'turn ended',
    );
    return end;
  } catch (error) {
    if (lost.signal.aborted || hasCode(error, 'fenced')) {
      log.info('another worker has this session; stopping quietly');
      outcome = 'elsewhere';
      return 'elsewhere';
    }
    throw error;
  } finally {
    clearInterval(renewal);
    metrics.turnsRunning.add(-1);
    turnEnded({ end: outcome });
    await close();
  }
}

interface Taken {
  lease: Lease;
  stored: StoredSession;
  queued: number[];
  entries: LogEntry[];
}

/** Waits for the holder at most one lease time: a dead one is gone by then, a live one does the work itself. */
async function takeLease(deps: HarnessDeps, sessionId: string, drain: AbortSignal): Promise<Taken | null> {
  const deadline = deps.clock.now() + LEASE_TTL_MS + RENEW_MS;
  const waited = deps.metrics.lease.start();
  let outcome: 'taken' | 'busy' | 'missing' | 'drained' | 'failed' = 'failed';
  try {
    for (;;) {
      outcome = 'drained';
      if (drain.aborted) return null;
      outcome = 'failed';
      const got = await deps.writer.acquire(sessionId, deps.settings.workerId, LEASE_TTL_MS);
      outcome = 'lease' in got ? 'taken' : 'missing' in got ? 'missing' : 'busy';
      if ('lease' in got) return got;
      if ('missing' in got || deps.clock.now() > deadline) return null;
      await pause(Math.min(got.busyForMs + 1, BUSY_POLL_MS), drain).catch(() => {});
    }
  } finally {
    waited({ outcome });
  }
}

async function prepare(
  deps: HarnessDeps,
  { lease, stored, queued, entries }: Taken,
  report: TurnReport,
  drain: Drain,
  lost: AbortSignal,
  log: Turn['log'],
): Promise<Turn> {
  const { record, state } = stored;
  const [context, inbox] = await Promise.all([
    loadContext(deps, record, state, entries),
    openInbox(deps, lease.sessionId, lease.head, queued, entries),
  ]);
  const journal = createJournal(deps, lease, context, inbox);
  let previews = 0;
  report.line(`worker ${deps.settings.workerId}, epoch ${lease.epoch}${lease.takeovers > 0 ? `, take-over ${lease.takeovers}` : ''}`);
  const turn: Turn = {
    deps,
    lease,
    record,
    state,
    context,
    journal,
    inbox,
    tools: createToolRouter({ deps, record, context, journal, binding: state.sandbox, drain, lost, log, report }),
    report,
    log,
    usage: state.usage,
    failures: state.failures,
    nextPreviewNumber: () => ++previews,
    checkpointed: state.checkpoint?.position ?? 0,
    inherited: new Set(startableCalls(context).map(({ id }) => id)),
    awaited: new Set(context.parkedOn ?? []),
    lost,
    drain,
  };
  return turn;
}

async function finish(turn: Turn, end: TurnEnd): Promise<void> {
  if (end === 'idle') {
    await turn.tools.park();
    await dropOldCheckpoints(turn);
  }
  await turn.deps.writer.release(turn.lease, end === 'handover');
}
