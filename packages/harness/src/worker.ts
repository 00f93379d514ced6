/**
 * A harness worker: takes wake-ups from the queue, and sweeps for sessions that have work but no worker (I5).
 *
 * The sweep covers what a queue cannot: a wake-up that was never enqueued because a gateway died in between, a queue that lost its jobs,
 * a session whose back-off has passed.
 */
import { ensureError, hasCode, pause } from '@manyhands/base';
import { DoneReply, enabledTools, type HintJob, type ReleaseJob, SANDBOX_TOOLS, sandboxSubject } from '@manyhands/contract';
import { sendHint } from '@manyhands/hands';
import { consumeTurns, type TurnQueue } from '@manyhands/turn-queue';
import { runSession } from './session-run.ts';
import { sandboxSpec } from './tool-router.ts';
import type { HarnessDeps } from './turn.ts';

const SWEEP_INTERVAL_MS = 2_000;
const RELEASE_TIMEOUT_MS = 10_000;
const SWEEP_LIMIT_PER_BUCKET = 200;
/** A wake-up usually comes with the event; the sweep leaves it that much time. */
const SWEEP_SETTLE_MS = 1_000;

export interface HarnessWorker {
  /** Hands running turns over at their next safe point; resolves when all are out of hand. */
  close(): Promise<void>;
}

export function startWorker(deps: HarnessDeps, options: { redisUrl: string; queue: TurnQueue; concurrency: number }): HarnessWorker {
  const draining = new AbortController();
  const consumer = consumeTurns({
    redisUrl: options.redisUrl,
    log: deps.logger,
    concurrency: options.concurrency,
    workerId: deps.settings.workerId,
    async onTurn(job, report) {
      const end = await runSession(deps, job, report, draining.signal);
      // Stored while this job is active, and taken by another worker as soon as it ends.
      if (end === 'handover') await options.queue.wake(job);
    },
    onHint: (job) => hint(deps, job),
    onRelease: (job) => release(deps, job),
  });

  const sweep = (async () => {
    while (!draining.signal.aborted) {
      try {
        for (const { sessionId, workspaceId } of await deps.writer.due(SWEEP_LIMIT_PER_BUCKET, SWEEP_SETTLE_MS)) {
          await options.queue.wake({ session_id: sessionId, workspace_id: workspaceId });
        }
      } catch (error) {
        deps.logger.warn({ err: ensureError(error) }, 'sweep failed; trying again');
      }
      await pause(SWEEP_INTERVAL_MS, draining.signal).catch(() => {});
    }
  })();

  return {
    async close() {
      draining.abort();
      await sweep;
      await consumer.close();
    },
  };
}

/** A new session will probably want a sandbox: tell a pool, as a best effort. */
async function hint(deps: HarnessDeps, job: HintJob): Promise<void> {
  const stored = await deps.log.get(job.session_id);
  if (!stored || stored.state.archived_at_ms !== null) return;
  const enabled = enabledTools(stored.record.agent.tools);
  if (!SANDBOX_TOOLS.some((tool) => enabled.has(tool))) return;
  const spec = await sandboxSpec(deps.environments, stored.record);
  await sendHint(deps.messaging, { session_id: job.session_id, workspace_id: job.workspace_id, spec });
}

/** The session is over: its sandbox goes without a snapshot. A pool that is gone took its sandboxes with it. */
async function release(deps: HarnessDeps, job: ReleaseJob): Promise<void> {
  const { session_id, generation, pool_id, sandbox_id } = job;
  try {
    await deps.messaging.request(sandboxSubject(pool_id, sandbox_id, 'release'), { session_id, generation }, DoneReply, RELEASE_TIMEOUT_MS);
  } catch (error) {
    if (!hasCode(error, 'unavailable')) throw error;
  }
  if (job.delete_blobs) await deps.blobs.deletePrefix(`${job.workspace_id}/${session_id}/`);
}
