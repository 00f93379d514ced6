/**
 * The pool of one host: who holds which sandbox. Messages, subjects and JSON are pool-service.ts's business.
 *
 * - A lease is bound to (session, generation) and given once; asking again gives the same sandbox (DESIGN 6). A generation that ended is never
 *   given again (I4), a lower one is refused, a higher one ends the older sandbox.
 * - The pool rebuilds itself from the directories: what lives is adopted with its lease, the rest is removed and its generation noted as ended.
 */
import { AppError, type Clock, ensureError, hasCode, type IdSource, type Logger } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import {
  type LeaseReply,
  type LeaseRequest,
  type PrewarmRequest,
  SandboxEnd,
  sandboxEndKey,
  workspaceSnapshotKey,
} from '@manyhands/contract';
import { LRUCache } from 'lru-cache';
import type { RunningSandbox, SandboxDriver, SandboxLimits } from '../drivers/driver.ts';
import { sandboxDirectory } from '../files/sandbox-directory.ts';
import { restoreSnapshot } from '../files/workspace-snapshot.ts';
import { openEndedLeases } from '../records/ended-leases.ts';
import { hasLease, type LeaseRecord, readLease, writeLease } from '../records/lease-record.ts';
import { assertFormatsKnown } from '../records/stored-formats.ts';
import type { EgressPolicies } from '../service/egress-policy.ts';
import type { PoolMetrics } from '../service/metrics.ts';
import { HEARTBEAT, type HeartbeatTimes } from './heartbeat.ts';
import { createHeldSandbox, type EndReason, failure, type HeldSandbox } from './held-sandbox.ts';
import { createKeyedMutex } from './keyed-mutex.ts';
import { createReaper, listSandboxIds } from './reaper.ts';
import { createWarmPool } from './warm-pool.ts';

/** Housekeeping is as fine as the grace time asks for. */
const TICK_MAX_MS = 5_000;
const TICK_MIN_MS = 100;
const SWEEP_EVERY_MS = 60_000;
/** Ended sandboxes are remembered so that their late callers hear what happened. */
const REMEMBERED_ENDS = 1_000;
/** What a shut-down may spend on snapshots after running calls had their time; less than what base/lifecycle leaves for it. */
const DRAIN_SNAPSHOT_MS = 12_000;
const DRAIN_CONCURRENCY = 4;

export interface SandboxPoolOptions {
  poolRoot: string;
  poolId: string;
  driver: SandboxDriver;
  limits: SandboxLimits;
  blobs: BlobStore;
  egress: EgressPolicies;
  ids: IdSource;
  clock: Clock;
  log: Logger;
  metrics: PoolMetrics;
  warm: number;
  max: number;
  concurrency: number;
  graceMs: number;
  leaseTtlMs: number;
  /** At the end, running calls get this long to finish. None if not given. */
  drainMs?: number;
  heartbeat?: HeartbeatTimes;
  tickMs?: number;
}

export type SandboxPool = Awaited<ReturnType<typeof openSandboxPool>>;

/**
 * Adopts what an earlier process left, removes the rest and begins to fill the warmPool. `onChange` is told when `hasRoom` may have changed. Rejects
 * with `newer_format`, having touched nothing, over what a newer version wrote.
 */
export async function openSandboxPool(options: SandboxPoolOptions, onChange: () => void = () => {}) {
  const { driver, poolRoot, poolId, blobs, egress, clock, log, metrics } = options;
  await assertFormatsKnown(poolRoot);
  const ended = await openEndedLeases(poolRoot, clock);
  const bySession = new Map<string, HeldSandbox>();
  const byId = new Map<string, HeldSandbox>();
  const ends = new LRUCache<string, EndReason>({ max: REMEMBERED_ENDS });
  const perSession = createKeyedMutex();
  const warmPool = createWarmPool({
    driver,
    limits: options.limits,
    poolRoot,
    newId: () => options.ids.id('sandbox'),
    warmTarget: options.warm,
    max: options.max,
    concurrency: options.concurrency,
    heartbeat: options.heartbeat ?? HEARTBEAT,
    makeRoom,
    hasIdle: () => [...byId.values()].some((held) => held.isIdle),
    onChange,
    log,
    metrics,
  });
  const reaper = createReaper({ driver, poolRoot, log, isOwned: (id) => warmPool.isKnown(id) || byId.has(id) });

  function hold(sandbox: RunningSandbox, lease: LeaseRecord): HeldSandbox {
    const held = createHeldSandbox(sandbox, lease, {
      blobs,
      clock,
      log,
      metrics,
      graceMs: options.graceMs,
      leaseTtlMs: options.leaseTtlMs,
      onEnd: dispose,
      onIdleChange: onChange,
    });
    byId.set(sandbox.directory.id, held);
    bySession.set(lease.session_id, held);
    return held;
  }

  async function dispose(held: HeldSandbox, reason: EndReason): Promise<void> {
    const { directory, lease } = held;
    ends.set(directory.id, reason);
    metrics.ended.add(1, { reason });
    if (reason === 'lost') metrics.lost.add(1, { state: 'leased' });
    // First of all: this generation is over, whatever happens next.
    await ended.note(lease.session_id, lease.generation);
    if (reason === 'let go' || reason === 'shut down') await recordEnd(lease);
    if (bySession.get(lease.session_id) === held) bySession.delete(lease.session_id);
    await discard(directory.id);
    byId.delete(directory.id);
    log.info({ op: 'sandbox.end', ok: true, sandbox_id: directory.id, session_id: lease.session_id, reason }, 'sandbox');
  }
  /** Records the end for those who ask when this pool is gone. Best effort: without it they wait as long as the pool may take to restart. */
  async function recordEnd({ workspace_id, session_id, generation }: LeaseRecord): Promise<void> {
    const key = sandboxEndKey(workspace_id, session_id);
    try {
      const before = await blobs.get(key);
      if (before && SandboxEnd.parse(JSON.parse(before.toString('utf8'))).generation >= generation) return;
      await blobs.put(key, Buffer.from(JSON.stringify({ generation } satisfies SandboxEnd)));
    } catch (error) {
      log.warn({ err: error, session_id }, 'the end of a sandbox was not noted in the blob store');
    }
  }
  async function discard(id: string): Promise<void> {
    const directory = sandboxDirectory(poolRoot, id);
    const closing = egress.close(directory);
    // What cannot be removed now is found by the reaper.
    await driver.destroy(directory).catch((error: unknown) => log.error({ err: error, sandbox_id: id }, 'sandbox was not destroyed'));
    await closing;
    warmPool.gone(id);
  }

  async function makeRoom(): Promise<boolean> {
    for (;;) {
      const idle = [...byId.values()].filter((held) => held.canBeEvicted);
      const [oldest] = idle.sort((a, b) => (a.lease.parked_at_ms ?? 0) - (b.lease.parked_at_ms ?? 0));
      if (!oldest) return false;
      if (await oldest.evict()) return true;
    }
  }

  async function adoptAll(): Promise<number> {
    let adopted = 0;
    for (const id of await listSandboxIds(poolRoot)) {
      const directory = sandboxDirectory(poolRoot, id);
      const lease = await readLease(directory);
      // One that is somebody's, nobody can tell whose, must never be given to another session (I11).
      const usable = lease ? lease.state !== 'preparing' : !hasLease(directory);
      const sandbox = usable ? await driver.adopt(directory) : null;
      if (!sandbox) {
        if (lease && lease.state !== 'preparing') {
          await ended.note(lease.session_id, lease.generation);
          ends.set(id, 'lost');
          metrics.lost.add(1, { state: 'leased' });
        }
        continue;
      }
      adopted++;
      if (lease) {
        warmPool.adoptHeld(sandbox);
        hold(sandbox, lease);
      } else warmPool.add(sandbox);
      log.info({ sandbox_id: id, session_id: lease?.session_id }, 'sandbox adopted');
    }
    return adopted;
  }

  /** Fills and binds a sandbox. On failure it is gone. */
  async function bind(request: LeaseRequest, { sandbox, warm }: { sandbox: RunningSandbox; warm: boolean }): Promise<HeldSandbox> {
    const { directory } = sandbox;
    const { session_id, workspace_id, generation, restore_from } = request;
    const lease: LeaseRecord = {
      ...{ session_id, workspace_id, generation, warm, restored: restore_from !== null },
      state: restore_from === null ? 'leased' : 'preparing',
      snapshot_key: workspaceSnapshotKey(workspace_id, session_id, generation),
      expires_at_ms: clock.now() + options.leaseTtlMs,
      parked_at_ms: null,
      uses_up_to: 0,
    };
    try {
      const opening = egress.open(directory, { sandbox_id: directory.id, session_id, networking: request.spec.networking });
      await Promise.all([opening, writeLease(directory, lease)]);
      if (restore_from !== null) {
        await metrics.restore(() => restoreSnapshot(sandbox, blobs, restore_from));
        lease.state = 'leased';
        await writeLease(directory, lease);
      }
      if (!sandbox.channel.isOpen) throw new AppError('unavailable', 'the sandbox died while it was prepared');
      return hold(sandbox, lease);
    } catch (error) {
      sandbox.channel.close('not leased');
      await discard(directory.id);
      throw error;
    }
  }

  async function lease(request: LeaseRequest): Promise<LeaseReply> {
    const { session_id, generation } = request;
    const held = bySession.get(session_id);
    if (held && !held.isOver) {
      if (generation < held.lease.generation) return failure('stale_generation', `the session is at generation ${held.lease.generation}`);
      if (generation === held.lease.generation) {
        await held.touch();
        return { ok: true, pool_id: poolId, sandbox_id: held.directory.id, generation, warm: held.lease.warm };
      }
      await held.end('superseded');
    } else await held?.end('lost');
    const last = await ended.lastGeneration(session_id);
    if (generation < last) return failure('stale_generation', `generation ${last} of the session is over already`);
    if (generation === last) return failure('sandbox_lost', 'the sandbox of this generation is gone; ask under the next');
    const start = performance.now();
    const demanded = metrics.lease.start();
    try {
      const taken = await warmPool.take(session_id);
      const given = await bind(request, taken);
      demanded({ outcome: taken.warm ? 'warm' : 'cold' });
      const durationMs = Math.round(performance.now() - start);
      log.info(
        { op: 'sandbox.lease', ok: true, session_id, generation, sandbox_id: given.directory.id, warm: taken.warm, durationMs },
        'sandbox',
      );
      return { ok: true, pool_id: poolId, sandbox_id: given.directory.id, generation, warm: taken.warm };
    } catch (error) {
      log.warn({ op: 'sandbox.lease', ok: false, session_id, generation, err: error }, 'sandbox');
      const atCapacity = hasCode(error, 'unavailable') && error.details['reason'] === 'at_capacity';
      demanded({ outcome: atCapacity ? 'at_capacity' : 'failed' });
      return failure(atCapacity ? 'at_capacity' : 'failed', ensureError(error).message);
    }
  }

  if ((await adoptAll()) === 0) {
    await reaper.sweep();
    await driver.check();
  } else await reaper.sweep();
  await ended.sweep();
  warmPool.fill();
  metrics.watchPool(() => {
    const held = [...byId.values()];
    const idle = held.filter(({ isIdle }) => isIdle).length;
    return {
      sandboxes: {
        warm: warmPool.warmCount,
        reserved: warmPool.reservedCount,
        making: warmPool.makingCount,
        leased: held.length - idle,
        parked: idle,
      },
      max: options.max,
      hasRoom: warmPool.hasRoom,
    };
  });

  let sweptAtMs = clock.now();
  let ticking = false;
  const timer = setInterval(
    () => {
      if (ticking) return;
      ticking = true;
      void (async () => {
        await Promise.allSettled([...byId.values()].map((held) => held.tick()));
        if (clock.now() - sweptAtMs >= SWEEP_EVERY_MS) {
          sweptAtMs = clock.now();
          await reaper.sweep();
          await ended.sweep();
        }
      })()
        .catch((error: unknown) => log.error({ err: error }, 'housekeeping failed'))
        .finally(() => {
          ticking = false;
        });
    },
    options.tickMs ?? Math.min(TICK_MAX_MS, Math.max(TICK_MIN_MS, options.graceMs / 4)),
  );

  const leasesUnderWay = new Set<Promise<LeaseReply>>();
  let leaving: Promise<void> | null = null;

  /** Calls may finish until `drainMs`; each sandbox is saved and ended as soon as none of its runs. */
  async function leaveAll(): Promise<void> {
    clearInterval(timer);
    const stopping = warmPool.stop();
    const over = new AbortController();
    const overdue = setTimeout(() => over.abort(), options.drainMs ?? 0);
    let bound: NodeJS.Timeout | undefined;
    const tooLate = new Promise<void>((resolve) => {
      bound = setTimeout(resolve, (options.drainMs ?? 0) + DRAIN_SNAPSHOT_MS);
    });
    const saving = createKeyedMutex();
    let next = 0;
    const leaveOne = async (held: HeldSandbox): Promise<void> => {
      await held.leave(over.signal);
      // A second time if it was just being evicted and was used meanwhile, or if the snapshot failed.
      await saving.run(String(next++ % DRAIN_CONCURRENCY), async () => (await held.evict('shut down')) || held.evict('shut down'));
      if (!held.isOver) await held.end('shut down');
    };
    const known = [...byId.values()];
    const leaveKnown = Promise.allSettled(known.map(leaveOne));
    const leaveLate = Promise.allSettled(leasesUnderWay).then(() =>
      Promise.allSettled([...byId.values()].filter((held) => !known.includes(held)).map(leaveOne)),
    );
    await Promise.race([Promise.all([leaveKnown, leaveLate]), tooLate]);
    clearTimeout(overdue);
    clearTimeout(bound);
    over.abort();
    await Promise.allSettled([...byId.values()].map((held) => held.end('shut down')));
    await stopping;
  }

  return {
    poolId,
    /** Resolves when a demand would be met from the warm warmPool. */
    firstWarm: warmPool.firstWarm,
    get hasRoom() {
      return warmPool.hasRoom;
    },
    get warmCount() {
      return warmPool.warmCount;
    },
    get heldCount() {
      return byId.size;
    },
    /** One after the other per session, so that a repeated request finds the first one's sandbox. */
    lease(request: LeaseRequest): Promise<LeaseReply> {
      const leased = perSession.run(request.session_id, () => lease(request));
      leasesUnderWay.add(leased);
      void leased.finally(() => leasesUnderWay.delete(leased)).catch(() => {});
      return leased;
    },
    prewarm(request: PrewarmRequest) {
      const held = bySession.get(request.session_id);
      return { pool_id: poolId, reserved: held !== undefined && !held.isOver ? true : warmPool.reserve(request.session_id) };
    },
    find: (id: string) => byId.get(id) ?? null,
    /** How a sandbox that is no longer here ended, if that is remembered. */
    endOf: (id: string) => ends.get(id) ?? null,
    /** What nobody has used for so long. */
    unused: (forMs: number): HeldSandbox[] => [...byId.values()].filter((held) => !held.isOver && held.unusedMs >= forMs),
    /**
     * The end begins: no new leases; what sessions have is saved, outcomes that nobody collected too, and their sandboxes end, as far as time
     * allows. Requests should be served until it resolves.
     */
    leave(): Promise<void> {
      leaving ??= leaveAll();
      return leaving;
    },
    /** Leaves, if it has not yet, and destroys everything. */
    async drain(): Promise<void> {
      leaving ??= leaveAll();
      await leaving;
      await reaper.sweep();
      await driver.close();
    },
  };
}
