/**
 * Wake-ups. A job says "thread T of session S has work" and nothing else; what the work is stands in the log (DESIGN 3.2).
 *
 * - Deduplicated by thread with `keepLastIfActive`: at most one active and one pending job a thread, no wake-up lost.
 * - A worker that dies is noticed by its lock (5 s) and the stalled check (2 s): another worker gets the job within
 *   lockDuration + 2 × stalledInterval = 9 s (FLOORS 3).
 * - `maxStalledCount` is high on purpose: poison turns are counted in the thread's state, where recoveries without progress show.
 * - Jobs carry their format and the trace context in which they were added; they are done within it.
 */
import { createRedis, currentTrace, type Logger, type Redis, withTrace } from '@manyhands/base';
import { JOB_FORMAT, type JobWish, PrewarmJob, ReleaseJob, TurnJob } from '@manyhands/contract';
import { type Job, Queue, Worker } from 'bullmq';

export const TURN_QUEUE = 'turns';
/** Prewarm jobs (a session will want a sandbox; their name in the queue is `hint`) and release jobs (a session needs its sandbox no longer). */
export const SANDBOX_QUEUE = 'sandboxes';
/** The hash tag keeps a queue's keys in one slot of a Redis Cluster. */
export const QUEUE_PREFIX = '{mh-queue}';
export const LOCK_DURATION_MS = 5_000;
export const STALLED_INTERVAL_MS = 2_000;
const MAX_STALLED_COUNT = 1_000;
const KEEP_COMPLETED = 200;
const KEEP_FAILED = 1_000;
const LOG_LINES_KEPT = 20;
const REPORT_DELAY_MS = 100;
const RELEASE_ATTEMPTS = 5;
const RELEASE_RETRY_MS = 1_000;

export interface TurnQueue {
  wake(job: JobWish<TurnJob>): Promise<void>;
  prewarm(job: JobWish<PrewarmJob>): Promise<void>;
  release(job: JobWish<ReleaseJob>): Promise<void>;
  /** Jobs not yet finished: waiting, delayed and active. */
  depth(): Promise<{ waiting: number; active: number }>;
  /** For Bull Board. */
  readonly queues: Queue[];
  close(): Promise<void>;
}

export function createTurnQueue(redis: Redis): TurnQueue {
  const options = {
    connection: redis,
    prefix: QUEUE_PREFIX,
    defaultJobOptions: { removeOnComplete: { count: KEEP_COMPLETED }, removeOnFail: { count: KEEP_FAILED }, keepLogs: LOG_LINES_KEPT },
  };
  const turns = new Queue(TURN_QUEUE, options);
  const sandboxes = new Queue(SANDBOX_QUEUE, options);
  for (const queue of [turns, sandboxes]) queue.on('error', () => {});
  return {
    queues: [turns, sandboxes],
    async wake(job) {
      await turns.add('turn', payload(job), { deduplication: { id: job.thread_id, keepLastIfActive: true } });
    },
    async prewarm(job) {
      await sandboxes.add('hint', payload(job), { deduplication: { id: job.session_id }, attempts: 1 });
    },
    async release(job) {
      await sandboxes.add('release', payload(job), {
        attempts: RELEASE_ATTEMPTS,
        backoff: { type: 'exponential', delay: RELEASE_RETRY_MS },
      });
    },
    async depth() {
      const counts = await turns.getJobCounts('waiting', 'delayed', 'prioritized', 'active');
      return { waiting: (counts['waiting'] ?? 0) + (counts['delayed'] ?? 0) + (counts['prioritized'] ?? 0), active: counts['active'] ?? 0 };
    },
    async close() {
      await turns.close();
      await sandboxes.close();
    },
  };
}

function payload<T extends { session_id: string }>(job: T) {
  const traceparent = currentTrace();
  return { ...job, format: JOB_FORMAT, ...(traceparent === null ? {} : { traceparent }) };
}

/** What the board shows of a running turn. */
export interface TurnReport {
  /** The phase the turn is in, as the job's progress. */
  phase(name: string): void;
  line(text: string): void;
}

export interface TurnConsumer {
  /** Takes no more jobs; resolves when running ones ended. */
  close(): Promise<void>;
}

export interface ConsumeOptions {
  redisUrl: string;
  log: Logger;
  concurrency: number;
  workerId: string;
  onTurn(job: TurnJob, report: TurnReport): Promise<void>;
  onPrewarm(job: PrewarmJob): Promise<void>;
  /** `lastTry`: a throw now is the end of it. */
  onRelease(job: ReleaseJob, lastTry: boolean): Promise<void>;
}

/** Starts taking jobs. A processor that throws fails its job; the due mark brings the thread back. */
export function consumeTurns(options: ConsumeOptions): TurnConsumer {
  const connections = [TURN_QUEUE, SANDBOX_QUEUE].map((name) => createRedis(options.redisUrl, 'patient', options.log, `worker-${name}`));
  const common = {
    prefix: QUEUE_PREFIX,
    lockDuration: LOCK_DURATION_MS,
    stalledInterval: STALLED_INTERVAL_MS,
    maxStalledCount: MAX_STALLED_COUNT,
  };
  const turns = new Worker(
    TURN_QUEUE,
    async (job: Job) => {
      const data = TurnJob.parse(job.data);
      const report = reportTo(job, options);
      try {
        await withTrace(data.traceparent ?? null, () => options.onTurn(data, report));
      } finally {
        report.end();
      }
    },
    { ...common, connection: connections[0]!, concurrency: options.concurrency, name: options.workerId },
  );
  const sandboxes = new Worker(
    SANDBOX_QUEUE,
    async (job: Job) => {
      const isRelease = job.name === 'release';
      const data = isRelease ? ReleaseJob.parse(job.data) : PrewarmJob.parse(job.data);
      const lastTry = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
      await withTrace(data.traceparent ?? null, () =>
        isRelease ? options.onRelease(data as ReleaseJob, lastTry) : options.onPrewarm(data as PrewarmJob),
      );
    },
    {
      ...common,
      connection: connections[1]!,
      concurrency: 4,
    },
  );
  for (const worker of [turns, sandboxes]) {
    worker.on('error', (error) => options.log.warn({ err: error }, 'queue worker error'));
    worker.on('failed', (job, error) => options.log.error({ err: error, jobId: job?.id }, 'job failed'));
  }
  return {
    async close() {
      await Promise.all([turns.close(), sandboxes.close()]);
      for (const connection of connections) connection.disconnect();
    },
  };
}

/**
 * Board updates are a courtesy: gathered for a moment so that they never stand in a turn's way, in order, and never an error of the turn.
 * Only the newest phase counts. What is gathered when the job ends is left out: the board shows its end.
 */
function reportTo(job: Job, options: ConsumeOptions): TurnReport & { end(): void } {
  let phase: string | null = null;
  let lines: string[] = [];
  let waiting: NodeJS.Timeout | null = null;
  let ended = false;

  async function tell(): Promise<void> {
    waiting = null;
    const told = { phase, lines };
    phase = null;
    lines = [];
    try {
      for (const line of told.lines) await job.log(line);
      if (told.phase !== null) await job.updateProgress({ phase: told.phase, worker: options.workerId, attempt: job.attemptsStarted });
    } catch (error) {
      options.log.debug({ err: error, jobId: job.id }, 'board update failed');
    }
  }
  const soon = () => {
    if (waiting || ended) return;
    waiting = setTimeout(() => void tell(), REPORT_DELAY_MS);
  };
  return {
    phase(name) {
      phase = name;
      soon();
    },
    line(text) {
      lines.push(text);
      soon();
    },
    end() {
      ended = true;
      if (waiting) clearTimeout(waiting);
    },
  };
}
