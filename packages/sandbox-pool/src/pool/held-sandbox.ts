/**
 * One leased sandbox: its calls, its idleness, its end.
 *
 *   leased ⇄ idle → ended        leased → ended
 *
 * `parked` is the stored and measured name of an idle sandbox, `park` the verb of the protocol that makes it idle, `let go` the recorded reason of
 * an eviction: all three are formats and keep their names.
 *
 * Any call ends the idle state, durably, before it reaches the sandbox daemon. An acknowledgement does not: it comes from threads that are done.
 * Several threads, each run by another worker, share the sandbox; a thread that does not know of the latest use cannot make it idle. A sandbox that
 * was idle for the grace time, or that nobody used for long, is evicted: the snapshot is whole in the blob store first, and the sandbox ends only if
 * nobody used it meanwhile. It ends once, and after that answers nothing (I11).
 *
 * When its pool leaves, calls that run may finish, no other is started, and outcomes that nobody collected are kept in the blob store.
 */
import { AppError, type Clock, hasCode, type Logger, pause } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import {
  type CallReply,
  type CollectReply,
  type CollectRequest,
  callOutcomeKey,
  type DoneReply,
  INLINE_BODY_MAX_BYTES,
  type MountedFile,
  type MountReply,
  type OutputsReply,
  type SandboxFailure,
  snapshotGeneration,
  workspaceSnapshotPrefix,
} from '@manyhands/contract';
import type { DaemonAnswer, DaemonCommand } from '../drivers/daemon-channel.ts';
import type { RunningSandbox } from '../drivers/driver.ts';
import { mountedCopies } from '../files/mounts.ts';
import { createSandboxFiles } from '../files/sandbox-files.ts';
import { saveSnapshot } from '../files/workspace-snapshot.ts';
import { type LeaseRecord, writeLease } from '../records/lease-record.ts';
import type { PoolMetrics } from '../service/metrics.ts';
import { createCallBook } from './call-book.ts';
import { createUseCount } from './use-count.ts';

/** Time for the daemon beyond what a command may take by itself. */
const ANSWER_MS = 30_000;
/** The expiry on disk lags behind by at most this share of the time to live. */
const EXPIRY_SLACK = 0.1;
/** A snapshot that failed is tried again after this. */
const EVICT_RETRY_MS = 60_000;
/** How long one look at a running call may take while the pool leaves. */
const LEAVE_LOOK_MS = 500;
const LEAVE_START_POLL_MS = 20;

export interface HeldSandboxDeps {
  blobs: BlobStore;
  clock: Clock;
  log: Logger;
  metrics: Pick<PoolMetrics, 'save'>;
  /** How long an idle sandbox is kept. */
  graceMs: number;
  /** How long a lease lasts without any use. */
  leaseTtlMs: number;
  /** Removes the sandbox and everything about it; called once. */
  onEnd: (held: HeldSandbox, reason: EndReason) => Promise<void>;
  /** Called when it became idle, stopped being idle, or is being evicted. */
  onIdleChange: () => void;
}

/** Recorded as such, and a metric label: `let go` is an eviction. */
export type EndReason = 'released' | 'let go' | 'superseded' | 'lost' | 'shut down';
export type HeldSandbox = ReturnType<typeof createHeldSandbox>;

export function failure(code: SandboxFailure['error']['code'], message: string): SandboxFailure {
  return { ok: false, error: { code, message } };
}

/**
 * The answer to a request that comes too late and did nothing. A death is told as such, since files were lost with it; a sandbox that was saved
 * or given up is simply not there any more.
 */
export function over(reason: EndReason): SandboxFailure {
  return reason === 'lost' ? failure('sandbox_lost', 'the sandbox died') : failure('unknown_sandbox', `the sandbox is gone: ${reason}`);
}

export function createHeldSandbox(sandbox: RunningSandbox, initial: LeaseRecord, deps: HeldSandboxDeps) {
  const { blobs, clock, log, graceMs, leaseTtlMs } = deps;
  const { directory, channel } = sandbox;
  let lease = initial;
  let lastUseMs = clock.now();
  /** Counts whatever keeps the sandbox, so that an eviction can tell whether it was overtaken. */
  let touches = 0;
  let active = 0;
  const calls = createCallBook();
  let leaving = false;
  const spilled = new Map<string, string>();
  let evicting: Promise<boolean> | null = null;
  let retryAtMs = 0;
  let ending: Promise<void> | null = null;
  let endReason: EndReason | null = null;
  /** Writes of the lease file, one after the other. */
  let writing: Promise<void> = Promise.resolve();
  const uses = createUseCount(initial.uses_up_to ?? 0, (upTo) => save({ uses_up_to: upTo }));
  const files = createSandboxFiles({ directory, lease: () => lease, uses, blobs, log });

  function save(change: Partial<LeaseRecord>): Promise<void> {
    lease = { ...lease, ...change };
    const record = lease;
    writing = writing.catch(() => {}).then(() => (endReason ? undefined : writeLease(directory, record)));
    return writing;
  }

  /** Somebody needs it still. */
  async function touch(): Promise<void> {
    touches++;
    lastUseMs = clock.now();
    const expiresAtMs = lastUseMs + leaseTtlMs;
    if (lease.state === 'parked') {
      log.info({ sandbox_id: directory.id, session_id: lease.session_id }, 'sandbox is idle no more');
      const saved = save({ state: 'leased', parked_at_ms: null, expires_at_ms: expiresAtMs });
      deps.onIdleChange();
      await saved;
    } else if (expiresAtMs - lease.expires_at_ms > leaseTtlMs * EXPIRY_SLACK) await save({ expires_at_ms: expiresAtMs });
  }

  function end(reason: EndReason): Promise<void> {
    endReason ??= reason;
    ending ??= (async () => {
      channel.close(reason);
      await writing.catch(() => {});
      await deps.onEnd(held, endReason ?? reason);
    })();
    return ending;
  }

  /** Work that keeps the sandbox, and may count as a use of it; an answer that says so if it is over, before anything was done. */
  async function inUse<T>(work: () => Promise<T>, counts: boolean): Promise<T | SandboxFailure> {
    if (endReason) return over(endReason);
    active++;
    try {
      // Counted at once: whoever wants to park meanwhile sees it.
      await Promise.all([counts ? uses.add() : null, touch()]);
      if (endReason) return over(endReason);
      return await work();
    } finally {
      active--;
      lastUseMs = clock.now();
    }
  }

  /** Every failure becomes an answer, a daemon that is only slow becomes none. */
  async function answered<T>(work: () => Promise<T>): Promise<T | SandboxFailure> {
    try {
      return await work();
    } catch (error) {
      if (hasCode(error, 'timeout')) throw error;
      if (!channel.isOpen) return failure('sandbox_lost', `the sandbox is gone: ${endReason ?? (error as Error).message}`);
      if (error instanceof AppError) return failure('failed', error.message);
      throw error;
    }
  }

  /** Runs a command of the session. */
  function command(request: DaemonCommand, { waitMs = 0, counts = false } = {}): Promise<DaemonAnswer | SandboxFailure> {
    return answered(() => inUse(() => channel.request(request, waitMs + ANSWER_MS), counts));
  }

  /** How a call is, as the daemon says. Its end counts as a use: what it did is there only then. */
  async function noted(key: string, { call = { state: 'unknown' } }: DaemonAnswer, thread?: string) {
    if (calls.note(key, call.state, thread)) await uses.add();
    return call;
  }

  /** Large outcomes travel through the blob store; the blob holds the JSON of the ToolResult. */
  async function toReply(key: string, answer: DaemonAnswer | SandboxFailure, thread?: string): Promise<CallReply> {
    if (!answer.ok) return answer;
    const call = await noted(key, answer, thread);
    const told = { ok: true, uses: await uses.tell() } as const;
    if (call.state !== 'done') return { ...told, call };
    const body = Buffer.from(JSON.stringify(call.outcome), 'utf8');
    if (body.length <= INLINE_BODY_MAX_BYTES) return { ...told, call };
    const ref = callOutcomeKey(lease.workspace_id, lease.session_id, key);
    if (!spilled.has(key)) await blobs.put(ref, body);
    spilled.set(key, ref);
    return { ...told, outcome_ref: ref };
  }

  /** Whether a call that was started still runs although nobody waits for it. */
  async function anyCallRuns(lookMs = 0): Promise<boolean> {
    for (const key of calls.running) {
      const call = await noted(key, await channel.request({ op: 'wait', key, wait_ms: lookMs }, lookMs + ANSWER_MS));
      if (call.state === 'running') return true;
    }
    return false;
  }

  /** Whoever asks for them later finds them, with the sandbox or without it. */
  async function keepOutcomes(): Promise<void> {
    for (const key of calls.unacknowledged) {
      if (spilled.has(key)) continue;
      const { call } = await channel.request({ op: 'wait', key, wait_ms: 0 }, ANSWER_MS);
      if (call?.state !== 'done') continue;
      await blobs.put(callOutcomeKey(lease.workspace_id, lease.session_id, key), Buffer.from(JSON.stringify(call.outcome), 'utf8'));
    }
  }

  /** Snapshots of older generations are of no more use. Best effort: a left one costs bytes only. */
  async function dropOlderSnapshots(): Promise<void> {
    try {
      for await (const key of blobs.list(workspaceSnapshotPrefix(lease.workspace_id, lease.session_id))) {
        const generation = snapshotGeneration(key);
        if (generation !== null && generation < lease.generation && key !== lease.snapshot_key) await blobs.delete(key);
      }
    } catch (error) {
      log.warn({ err: error, session_id: lease.session_id }, 'older snapshots were not removed');
    }
  }

  /** The workspace is whole in the blob store. In a sandbox that was never used there is nothing that is not in the snapshot it came from. */
  async function saveWorkspace(): Promise<void> {
    if (lease.uses_up_to === 0) return;
    const start = performance.now();
    const copies = await mountedCopies(directory);
    const { bytes } = await deps.metrics.save(() => saveSnapshot(sandbox, blobs, lease.snapshot_key, copies));
    const durationMs = Math.round(performance.now() - start);
    log.info({ op: 'sandbox.snapshot', ok: true, sandbox_id: directory.id, session_id: lease.session_id, bytes, durationMs }, 'sandbox');
    await dropOlderSnapshots();
  }

  /** Snapshot, then end; false if the sandbox was used meanwhile or the snapshot failed. */
  function evict(reason: EndReason = 'let go'): Promise<boolean> {
    evicting ??= (async () => {
      const touchesBefore = touches;
      try {
        if (endReason) return true;
        if (reason === 'shut down') await keepOutcomes();
        await saveWorkspace();
        // Checked and ended in one step: no call gets in between.
        if (reason === 'let go' && (touches !== touchesBefore || active > 0)) return false;
        await end(reason);
        return true;
      } catch (error) {
        log.error({ op: 'sandbox.snapshot', ok: false, sandbox_id: directory.id, session_id: lease.session_id, err: error }, 'sandbox');
        retryAtMs = clock.now() + EVICT_RETRY_MS;
        return false;
      } finally {
        evicting = null;
        deps.onIdleChange();
      }
    })();
    deps.onIdleChange();
    return evicting;
  }

  void channel.closed.then((reason) => {
    if (endReason) return;
    log.warn({ sandbox_id: directory.id, session_id: lease.session_id, reason }, 'sandbox lost');
    void end('lost');
  });

  const held = {
    directory,
    get lease(): Readonly<LeaseRecord> {
      return lease;
    },
    get isOver() {
      return endReason !== null;
    },
    /** Idle and not being evicted at the moment. */
    get canBeEvicted() {
      return lease.state === 'parked' && !endReason && !evicting && active === 0 && clock.now() >= retryAtMs;
    },
    /** Can be evicted to make room; one that is being evicted is somebody's already. */
    get isIdle() {
      return lease.state === 'parked' && !endReason && !evicting;
    },
    touch,
    end,
    evict,
    /** Milliseconds since somebody used it; 0 while somebody does. */
    get unusedMs() {
      return active > 0 ? 0 : clock.now() - lastUseMs;
    },
    async start(key: string, tool: string, input: Record<string, unknown>, thread?: string): Promise<CallReply> {
      // Calls of one answer come together, and are of one thread: they run together or not at all.
      if (leaving && !endReason && !calls.isBusy(thread ?? '', key))
        return failure('leaving', 'the sandbox is being saved before it ends; the call was not started');
      const request = { op: 'start', key, tool, input, ...(thread === undefined ? {} : { thread }) } as const;
      return calls.whileStarting(thread ?? '', async () => toReply(key, await command(request, { counts: true }), thread));
    },
    /** The pool leaves: resolves when no call runs any more, or when the time for it is over. From then on none is started. */
    async leave(over: AbortSignal): Promise<void> {
      leaving = true;
      const finished = (async () => {
        while (!endReason && !over.aborted) {
          if (calls.anyStarting) await pause(LEAVE_START_POLL_MS);
          else if (!(await anyCallRuns(LEAVE_LOOK_MS))) return;
        }
      })().catch((error: unknown) => log.warn({ err: error, sandbox_id: directory.id }, 'the daemon does not say what runs'));
      await Promise.race([finished, new Promise<void>((resolve) => over.addEventListener('abort', () => resolve(), { once: true }))]);
    },
    async wait(key: string, waitMs: number): Promise<CallReply> {
      return toReply(key, await command({ op: 'wait', key, wait_ms: waitMs }, { waitMs }));
    },
    async cancel(key: string): Promise<CallReply> {
      return toReply(key, await command({ op: 'cancel', key }));
    },
    async ack(keys: string[]) {
      if (endReason) return over(endReason);
      const answer = await answered(() => channel.request({ op: 'ack', keys }, ANSWER_MS));
      for (const key of keys) {
        calls.forget(key);
        spilled.delete(key);
      }
      return answer.ok ? ({ ok: true } as const) : answer;
    },
    /** Resolves when the files are there for the next call. */
    mount: (revision: number, wanted: readonly MountedFile[]): Promise<MountReply> => inUse(() => files.mount(revision, wanted), true),
    // What is in the outputs may be asked for without a use: it changes nothing, and an idle sandbox stays idle.
    outputs: async (): Promise<OutputsReply> => (endReason ? over(endReason) : files.outputs()),
    collect: async (wanted: CollectRequest['files']): Promise<CollectReply> => (endReason ? over(endReason) : files.collect(wanted)),
    /**
     * Makes the sandbox idle. Safe to repeat; the grace time runs from the first. `knownUses`: the use count that the asker knows of. After a newer
     * use, or while a call runs, nothing changes. Whoever names no count is alone.
     */
    async park(snapshotKey: string, knownUses?: number): Promise<DoneReply> {
      if (endReason) return over(endReason);
      if (lease.state === 'parked' && lease.snapshot_key === snapshotKey) return { ok: true, parked: true };
      if (knownUses !== undefined) {
        const runs = uses.count > knownUses || (await answered(anyCallRuns));
        if (typeof runs === 'object') return runs;
        // A look may have found that a call ended, and a new one may have come meanwhile.
        if (runs || uses.count > knownUses) return { ok: true, parked: false };
        if (endReason) return over(endReason);
      }
      await save({ state: 'parked', parked_at_ms: lease.parked_at_ms ?? clock.now(), snapshot_key: snapshotKey });
      deps.onIdleChange();
      return { ok: true, parked: true };
    },
    /** Called now and then: evicts what was idle or unused for long enough. */
    async tick(): Promise<void> {
      const now = clock.now();
      if (endReason || evicting || active > 0 || now < retryAtMs) return;
      const due = lease.state === 'parked' ? (lease.parked_at_ms ?? now) + graceMs : lastUseMs + leaseTtlMs;
      if (now < due) return;
      if (lease.state !== 'parked' && (await anyCallRuns())) lastUseMs = clock.now();
      else await evict();
    },
  };
  return held;
}
