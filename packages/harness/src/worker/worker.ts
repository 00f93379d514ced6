/**
 * A harness worker: takes wake-ups from the queue, and sweeps for threads that have work but no worker (I5).
 *
 * The sweep covers what a queue cannot: a wake-up that was never enqueued because a gateway died in between, a queue that lost its jobs,
 * a thread whose back-off has passed. It looks at what is due, never at what runs.
 */
import { ensureError, hasCode, type Logger, pause } from '@manyhands/base';
import {
  type ConfirmReply,
  ConfirmRequest,
  DoneReply,
  enabledTools,
  type PrewarmJob,
  type ReleaseJob,
  SANDBOX_SUBJECT,
  SANDBOX_TOOLS,
  sandboxSubject,
  WORKER_QUEUE_GROUP,
} from '@manyhands/contract';
import type { SessionLog } from '@manyhands/session-log';
import { sendPrewarm } from '@manyhands/tools';
import { consumeTurns, type TurnQueue } from '@manyhands/turn-queue';
import { runThread } from '../thread/thread-run.ts';
import type { HarnessDeps } from '../thread/turn.ts';
import { sandboxSpec } from '../tools/tool-router.ts';

const SWEEP_INTERVAL_MS = 2_000;
const FINISH_DELETES_INTERVAL_MS = 30_000;
const RELEASE_TIMEOUT_MS = 10_000;
const SWEEP_LIMIT_PER_BUCKET = 200;

export interface HarnessWorker {
  /** Hands running turns over at their next safe point; resolves when all are out of hand. */
  close(): Promise<void>;
}

export function startWorker(deps: HarnessDeps, options: { redisUrl: string; queue: TurnQueue; concurrency: number }): HarnessWorker {
  const drain = { begun: new AbortController(), due: new AbortController() };
  deps.metrics.turnsMax.set(options.concurrency);
  const consumer = consumeTurns({
    redisUrl: options.redisUrl,
    log: deps.logger,
    concurrency: options.concurrency,
    workerId: deps.settings.workerId,
    async onTurn(job, report) {
      const end = await runThread(deps, job, report, { begun: drain.begun.signal, due: drain.due.signal });
      // Stored while this job is active, and taken by another worker as soon as it ends.
      if (end === 'handover') await options.queue.wake(job);
    },
    onPrewarm: (job) => hint(deps, job),
    onRelease: (job, lastTry) => release(deps, job, lastTry),
  });
  const confirming = deps.messaging.serve(SANDBOX_SUBJECT.confirm, (body) => confirm(deps.log, ConfirmRequest.parse(body)), {
    queue: WORKER_QUEUE_GROUP,
  });

  let finishDeletesAt = 0;
  const sweep = (async () => {
    while (!drain.begun.signal.aborted) {
      try {
        const due = await deps.writer.due(SWEEP_LIMIT_PER_BUCKET);
        deps.metrics.sessionsWithoutWorker.set(due.length);
        for (const { sessionId, threadId, workspaceId } of due) {
          await options.queue.wake({ session_id: sessionId, thread_id: threadId, workspace_id: workspaceId });
        }
        if (deps.clock.now() >= finishDeletesAt) {
          await deps.log.finishDeletes(deps.files.deleteScope);
          finishDeletesAt = deps.clock.now() + FINISH_DELETES_INTERVAL_MS;
        }
      } catch (error) {
        deps.logger.warn({ err: ensureError(error) }, 'sweep failed; trying again');
      }
      await pause(SWEEP_INTERVAL_MS, drain.begun.signal).catch(() => {});
    }
  })();

  return {
    async close() {
      drain.begun.abort();
      const due = setTimeout(() => drain.due.abort(), deps.settings.drainMs);
      // First of all no new jobs: this worker must not get those back that it hands over.
      await Promise.all([consumer.close(), sweep, confirming.stop()]);
      clearTimeout(due);
    },
  };
}

/** Wakes threads that an append gave work. The append marked them due, so a wake-up that fails costs seconds until a sweep (I5). */
export function wakerOf(queue: Pick<TurnQueue, 'wake'>, log: Logger): HarnessDeps['wake'] {
  return ({ sessionId, workspaceId }, threadIds) => {
    for (const threadId of threadIds)
      queue
        .wake({ session_id: sessionId, thread_id: threadId, workspace_id: workspaceId })
        .catch((error: unknown) => log.warn({ err: ensureError(error), sessionId, threadId }, 'queueing failed; a sweep finds the thread'));
  };
}

/** A new session will probably want a sandbox: tell a pool, as a best effort. */
async function hint(deps: HarnessDeps, job: PrewarmJob): Promise<void> {
  const stored = await deps.log.get(job.session_id);
  if (!stored || stored.state.archived_at_ms !== null) return;
  const enabled = enabledTools(stored.record.agent.tools);
  if (!SANDBOX_TOOLS.some((tool) => enabled.has(tool))) return;
  const spec = await sandboxSpec(deps.environments, stored.record);
  await sendPrewarm(deps.messaging, { session_id: job.session_id, workspace_id: job.workspace_id, spec });
}

/**
 * The session is over: its sandbox goes without a snapshot. A pool that is gone took its sandboxes with it; one that is only cut off asks by
 * itself when it is back (`confirm`), so that nobody need try for ever.
 */
async function release(deps: HarnessDeps, job: ReleaseJob, lastTry: boolean): Promise<void> {
  const { session_id, generation, pool_id, sandbox_id } = job;
  try {
    await deps.messaging.request(sandboxSubject(pool_id, sandbox_id, 'release'), { session_id, generation }, DoneReply, RELEASE_TIMEOUT_MS);
  } catch (error) {
    if (!hasCode(error, 'unavailable') && !lastTry) throw error;
  }
  if (job.delete_blobs) await deps.blobs.deletePrefix(`${job.workspace_id}/${session_id}/`);
}

/** A pool asks whether a sandbox that nobody used lately is still the session's. A lease that is newer than what the session knows may be. */
export async function confirm(log: Pick<SessionLog, 'get'>, { session_id, generation, sandbox_id }: ConfirmRequest): Promise<ConfirmReply> {
  const stored = await log.get(session_id);
  if (!stored || stored.state.archived_at_ms !== null) return { wanted: false };
  const { sandbox } = stored.state;
  if (!sandbox || sandbox.generation < generation) return { wanted: true };
  return { wanted: sandbox.generation === generation && sandbox.sandbox_id === sandbox_id };
}
