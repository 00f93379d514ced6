/** What a pool tells Prometheus: its sandboxes by state, leases, creations, snapshots, losses. */
import type { Counter, Histogram, Metrics } from '@manyhands/base';

const LEASE_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];
const CREATE_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120];
const SNAPSHOT_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300];
/** Label values are a format: `parked` is an idle sandbox, `stocked` one of the warm pool, `let go` an eviction. */
const SANDBOX_STATES = ['warm', 'reserved', 'making', 'leased', 'parked'] as const;
const LEASE_OUTCOMES = ['warm', 'cold', 'at_capacity', 'failed'] as const;
const END_REASONS = ['released', 'let go', 'superseded', 'lost', 'shut down'] as const;
const OUTCOMES = ['ok', 'failed'] as const;
const SNAPSHOT_OPERATIONS = ['save', 'restore'] as const;

export interface PoolCounts {
  sandboxes: Readonly<Record<(typeof SANDBOX_STATES)[number], number>>;
  max: number;
  hasRoom: boolean;
}

export interface PoolMetrics {
  lease: Histogram<{ outcome: typeof LEASE_OUTCOMES }>;
  create: Histogram<{ outcome: typeof OUTCOMES }>;
  /** Observes a workspace being saved. */
  save<T extends { bytes: number }>(work: () => Promise<T>): Promise<T>;
  /** Observes a workspace being restored. */
  restore<T>(work: () => Promise<T>): Promise<T>;
  lost: Counter<{ state: readonly ['stocked', 'leased'] }>;
  ended: Counter<{ reason: typeof END_REASONS }>;
  /** Tells at scrape time what the pool has. */
  watchPool(read: () => PoolCounts): void;
}

export function createPoolMetrics(metrics: Metrics): PoolMetrics {
  const sandboxes = metrics.gauge(
    'manyhands_sandboxes',
    'Sandboxes of this pool; reserved: set aside by a prewarm, parked: of an idle session',
    {
      state: SANDBOX_STATES,
    },
  );
  const max = metrics.gauge('manyhands_sandboxes_max', 'Sandboxes that this pool has at most');
  const snapshots = metrics.histogram(
    'manyhands_sandbox_snapshot_seconds',
    'Workspaces saved to and restored from the blob store',
    SNAPSHOT_SECONDS,
    { op: SNAPSHOT_OPERATIONS, outcome: OUTCOMES },
  );
  const savedBytes = metrics.counter('manyhands_sandbox_snapshot_bytes_total', 'Bytes of workspaces that were saved, packed');
  async function snapshot<T>(op: (typeof SNAPSHOT_OPERATIONS)[number], work: () => Promise<T>): Promise<T> {
    const stop = snapshots.start();
    try {
      const result = await work();
      stop({ op, outcome: 'ok' });
      return result;
    } catch (error) {
      stop({ op, outcome: 'failed' });
      throw error;
    }
  }
  const room = metrics.gauge('manyhands_sandbox_room', '1 while a demand for a sandbox would be met, else 0');
  return {
    lease: metrics.histogram(
      'manyhands_sandbox_lease_seconds',
      'Demands for a sandbox, until it is bound to its session and restored; warm: it was running already, cold: it was made first',
      LEASE_SECONDS,
      { outcome: LEASE_OUTCOMES },
    ),
    create: metrics.histogram('manyhands_sandbox_create_seconds', 'Sandboxes made, until they answer', CREATE_SECONDS, {
      outcome: OUTCOMES,
    }),
    async save(work) {
      const result = await snapshot('save', work);
      savedBytes.add(result.bytes);
      return result;
    },
    restore: (work) => snapshot('restore', work),
    lost: metrics.counter('manyhands_sandboxes_lost_total', 'Sandboxes that died by themselves; stocked: before anybody had them', {
      state: ['stocked', 'leased'],
    }),
    ended: metrics.counter('manyhands_sandboxes_ended_total', 'Leased sandboxes that ended', { reason: END_REASONS }),
    watchPool(read) {
      metrics.onScrape('pool', [sandboxes, max, room], () => () => {
        const counts = read();
        for (const state of SANDBOX_STATES) sandboxes.set(counts.sandboxes[state], { state });
        max.set(counts.max);
        room.set(counts.hasRoom ? 1 : 0);
      });
    },
  };
}
