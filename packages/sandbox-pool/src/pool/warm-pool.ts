/**
 * The warm pool: running sandboxes that belong to no session yet. The one place that makes new ones.
 *
 * A sandbox is `warm`, `reserved` for a session by a prewarm, or given out. A demand that finds nothing warm waits for the next sandbox that
 * comes up, whoever had it made; only when there is no room either does it take what a prewarm reserved, then the sandbox of an idle session.
 * A sandbox that was given out never comes back (I11: one sandbox, one session).
 */
import { AppError, backoffMs, ensureError, type Logger } from '@manyhands/base';
import type { RunningSandbox, SandboxDriver, SandboxLimits } from '../drivers/driver.ts';
import { sandboxDirectory } from '../files/sandbox-directory.ts';
import type { PoolMetrics } from '../service/metrics.ts';
import { type HeartbeatTimes, keepHeartbeat } from './heartbeat.ts';

const RESERVED_FOR_MS = 60_000;
const REFILL_DELAY_MS = 15;

export interface WarmPoolDeps {
  driver: SandboxDriver;
  limits: SandboxLimits;
  poolRoot: string;
  newId: () => string;
  warmTarget: number;
  max: number;
  /** Sandboxes made at the same time. */
  concurrency: number;
  heartbeat: HeartbeatTimes;
  /** Evicts an idle sandbox; false if there is none. */
  makeRoom: () => Promise<boolean>;
  hasIdle: () => boolean;
  /** Told after each change of what `hasRoom` depends on. */
  onChange: () => void;
  log: Logger;
  metrics: Pick<PoolMetrics, 'create' | 'lost'>;
}

interface Waiter {
  resolve: (sandbox: RunningSandbox) => void;
  reject: (error: AppError) => void;
}

/** The error of a demand that cannot be met; `details.reason` is `at_capacity` or `failed`. */
const refusal = (reason: 'at_capacity' | 'failed', message: string, cause?: unknown) =>
  new AppError('unavailable', message, { details: { reason }, ...(cause === undefined ? {} : { cause }) });

export function createWarmPool(deps: WarmPoolDeps) {
  const { driver, log, max, metrics, warmTarget } = deps;
  const warm: RunningSandbox[] = [];
  const reserved = new Map<string, { sandbox: RunningSandbox; timer: NodeJS.Timeout }>();
  /** Every sandbox that is there, given out or not, until `gone`. */
  const live = new Set<string>();
  const making = new Set<string>();
  const waiters: Waiter[] = [];
  const creations = new Set<Promise<void>>();
  const discards = new Set<Promise<void>>();
  /** Creations under way or waiting for their turn. */
  let planned = 0;
  let running = 0;
  let failures = 0;
  let retryTimer: NodeJS.Timeout | null = null;
  let refillTimer: NodeJS.Timeout | null = null;
  let stopped = false;
  let tellFirstWarm: () => void = () => {};
  const firstWarm = new Promise<void>((resolve) => {
    tellFirstWarm = resolve;
  });

  const total = () => live.size + planned;

  function changed(): void {
    refillSoon();
    // A full pool has none to spare, and is as ready as it can be.
    if (warm.length > 0 || warmTarget === 0 || live.size >= max) tellFirstWarm();
    deps.onChange();
  }

  function plan(): void {
    planned++;
    startNext();
  }
  function startNext(): void {
    while (running < deps.concurrency && running < planned) {
      running++;
      const creation = createOne().finally(() => creations.delete(creation));
      creations.add(creation);
    }
  }

  async function createOne(): Promise<void> {
    const directory = sandboxDirectory(deps.poolRoot, deps.newId());
    const start = performance.now();
    const made = metrics.create.start();
    making.add(directory.id);
    try {
      const sandbox = await driver.create(directory, deps.limits);
      made({ outcome: 'ok' });
      log.info({ op: 'sandbox.create', ok: true, sandbox_id: directory.id, durationMs: Math.round(performance.now() - start) }, 'sandbox');
      failures = 0;
      settle();
      add(sandbox);
      making.delete(directory.id);
    } catch (error) {
      making.delete(directory.id);
      made({ outcome: 'failed' });
      log.error({ op: 'sandbox.create', ok: false, sandbox_id: directory.id, err: error }, 'sandbox');
      settle();
      failures++;
      waiters.shift()?.reject(refusal('failed', ensureError(error).message, error));
      retryLater();
      deps.onChange();
    }
  }
  function settle(): void {
    running--;
    planned--;
    startNext();
  }
  function retryLater(): void {
    if (retryTimer || stopped) return;
    retryTimer = setTimeout(
      () => {
        retryTimer = null;
        changed();
      },
      backoffMs(failures, 250, 30_000),
    );
    retryTimer.unref();
  }

  /** Making a sandbox keeps the processor busy: who took the last one gets an answer first. */
  function refillSoon(): void {
    if (refillTimer || stopped) return;
    refillTimer = setTimeout(() => {
      refillTimer = null;
      refill();
    }, REFILL_DELAY_MS);
    refillTimer.unref();
  }

  /** Keeps the warm pool at its size, unless making sandboxes fails at the moment. What a prewarm reserved counts: prewarms make none. */
  function refill(): void {
    while (!stopped && !retryTimer && warm.length + reserved.size + planned - waiters.length < warmTarget && total() < max) plan();
  }

  /** A sandbox that just came up or was adopted and belongs to nobody. */
  function add(sandbox: RunningSandbox): void {
    const { id } = sandbox.directory;
    live.add(id);
    keepHeartbeat(sandbox.channel, deps.heartbeat);
    void sandbox.channel.closed.then((reason) => lost(sandbox, reason));
    const waiter = waiters.shift();
    if (waiter) waiter.resolve(sandbox);
    else if (stopped) void discard(sandbox);
    else warm.push(sandbox);
    changed();
  }

  /** A sandbox of the warm pool died. One that was given out is its holder's business. The metric label `stocked` is a format. */
  function lost(sandbox: RunningSandbox, reason: string): void {
    const index = warm.indexOf(sandbox);
    const reservation = [...reserved].find(([, { sandbox: one }]) => one === sandbox);
    if (index >= 0) warm.splice(index, 1);
    else if (reservation) unreserve(reservation[0]);
    else return;
    metrics.lost.add(1, { state: 'stocked' });
    log.warn({ sandbox_id: sandbox.directory.id, reason }, 'warm sandbox lost');
    void discard(sandbox);
  }

  function discard(sandbox: RunningSandbox): Promise<void> {
    sandbox.channel.close('not needed');
    // What is left of it is found by the reaper.
    const discarding = driver
      .destroy(sandbox.directory)
      .catch((error: unknown) => log.error({ err: error }, 'sandbox was not destroyed'))
      .finally(() => {
        discards.delete(discarding);
        gone(sandbox.directory.id);
      });
    discards.add(discarding);
    return discarding;
  }

  function unreserve(sessionId: string): RunningSandbox | null {
    const reservation = reserved.get(sessionId);
    if (!reservation) return null;
    clearTimeout(reservation.timer);
    reserved.delete(sessionId);
    return reservation.sandbox;
  }

  function gone(id: string): void {
    if (live.delete(id)) changed();
  }

  function takeWarm(sessionId: string): RunningSandbox | null {
    const sandbox = unreserve(sessionId) ?? warm.shift() ?? null;
    if (sandbox) changed();
    return sandbox;
  }

  return {
    add,
    gone,
    /** Begins to fill the warm pool; `firstWarm` resolves when a sandbox answers. */
    fill: changed,
    firstWarm,
    /** Counts a sandbox that is there but belongs to somebody (adopted). */
    adoptHeld(sandbox: RunningSandbox): void {
      live.add(sandbox.directory.id);
      keepHeartbeat(sandbox.channel, deps.heartbeat);
    },
    get warmCount() {
      return warm.length;
    },
    get reservedCount() {
      return reserved.size;
    },
    /** Being made, or waiting for their turn to be. */
    get makingCount() {
      return planned;
    },
    /** Whether a demand would be met now. */
    get hasRoom() {
      return !stopped && (warm.length > 0 || reserved.size > 0 || planned > waiters.length || total() < max || deps.hasIdle());
    },
    /** Whether the sandbox is there, given out or not, or being made. */
    isKnown: (id: string) => live.has(id) || making.has(id),

    /** A running sandbox for a session. Rejects with `unavailable`, `details.reason` saying `at_capacity` or `failed`. */
    async take(sessionId: string): Promise<{ sandbox: RunningSandbox; warm: boolean }> {
      for (;;) {
        if (stopped) throw refusal('at_capacity', 'this pool is being shut down');
        const ready = takeWarm(sessionId);
        if (ready?.channel.isOpen) return { sandbox: ready, warm: true };
        if (ready) {
          await discard(ready);
          continue;
        }
        if (planned > waiters.length || total() < max) {
          if (planned <= waiters.length) plan();
          const coming = new Promise<RunningSandbox>((resolve, reject) => waiters.push({ resolve, reject }));
          // It may have been the last one that can be made: nobody else is to ask meanwhile.
          deps.onChange();
          return { sandbox: await coming, warm: false };
        }
        const oldest = reserved.keys().next().value;
        if (oldest !== undefined) {
          const sandbox = unreserve(oldest);
          if (sandbox) warm.push(sandbox);
          continue;
        }
        if (!(await deps.makeRoom())) throw refusal('at_capacity', `all ${max} sandboxes of this pool are in use`);
      }
    },

    /** Sets a warm sandbox aside for a session, for a minute. Never makes one. */
    reserve(sessionId: string): boolean {
      if (stopped) return false;
      const sandbox = unreserve(sessionId) ?? warm.shift();
      if (!sandbox) return false;
      const timer = setTimeout(() => {
        const untouched = unreserve(sessionId);
        if (untouched) warm.push(untouched);
        deps.onChange();
      }, RESERVED_FOR_MS);
      timer.unref();
      reserved.set(sessionId, { sandbox, timer });
      changed();
      return true;
    },

    /** Makes no more, waits for those under way, and destroys what belongs to nobody. */
    async stop(): Promise<void> {
      stopped = true;
      if (retryTimer) clearTimeout(retryTimer);
      if (refillTimer) clearTimeout(refillTimer);
      planned = running;
      for (const waiter of waiters.splice(0)) waiter.reject(refusal('at_capacity', 'this pool is being shut down'));
      await Promise.allSettled(creations);
      const rest = [...warm.splice(0), ...[...reserved.keys()].flatMap((sessionId) => unreserve(sessionId) ?? [])];
      await Promise.all(rest.map(discard));
      await Promise.all(discards);
    },
  };
}
