/**
 * The queues as they are at scrape time. Depth and age belong to Redis, so every gateway tells the same numbers: take the maximum, not the
 * sum. A scrape costs a fixed number of Redis calls per queue, however much waits.
 */
import type { Clock, Metrics } from '@manyhands/base';
import type { Queue } from 'bullmq';
import { SANDBOX_QUEUE, TURN_QUEUE, type TurnQueue } from './turn-queue.ts';

const QUEUES = [TURN_QUEUE, SANDBOX_QUEUE] as const;
const STATES = ['waiting', 'active', 'delayed', 'prioritized', 'failed'] as const;

interface QueueReading {
  name: (typeof QUEUES)[number];
  counts: Record<string, number>;
  /** When the job that waits longest was added; null if none waits. */
  oldestMs: number | null;
}

export function watchQueues(metrics: Metrics, turnQueue: Pick<TurnQueue, 'queues'>, clock: Clock): void {
  const jobs = metrics.gauge('manyhands_queue_jobs', 'Jobs in a queue; failed ones are kept for the board, the last thousand at most', {
    queue: QUEUES,
    state: STATES,
  });
  const oldest = metrics.gauge(
    'manyhands_queue_oldest_waiting_seconds',
    'Age of the job that waits longest; 0 if none waits. The number to scale harness workers by',
    { queue: QUEUES },
  );
  metrics.onScrape('queues', [jobs, oldest], async () => {
    const readings = await Promise.all(turnQueue.queues.map(readQueue));
    return () => {
      const now = clock.now();
      for (const { name, counts, oldestMs } of readings) {
        for (const state of STATES) jobs.set(counts[state] ?? 0, { queue: name, state });
        oldest.set(oldestMs === null ? 0 : Math.max(0, now - oldestMs) / 1000, { queue: name });
      }
    };
  });
}

async function readQueue(queue: Queue): Promise<QueueReading> {
  const [counts, waiting] = await Promise.all([queue.getJobCounts(...STATES), queue.getJobs(['waiting'], 0, 0, true)]);
  // A job that was taken between the two steps of the look-up has no record here.
  return { name: queue.name as QueueReading['name'], counts, oldestMs: waiting[0]?.timestamp ?? null };
}
