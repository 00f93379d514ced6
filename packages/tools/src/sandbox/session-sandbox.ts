/**
 * The sandbox that a session has, as one of its threads knows it: leased when it is wanted, given up when it is lost.
 *
 * Several threads share one sandbox, each with a worker of its own, and nothing between them but the session's binding, which changes by
 * compare-and-set only:
 * - No call is sent under a lease before that lease is the session's (I3). Who loses adopts the sandbox that won, and releases its own lease
 *   only if that is another sandbox: two who ask one pool under one generation have the same one.
 * - Who finds a sandbox gone looks first whether a sibling has moved on already, and adopts what it finds; the same if the clearing is lost.
 * - A generation never goes back. If the session's is older than one that was known here, something is broken and nothing is guessed.
 */
import { AppError, type Clock, type Logger, type Messaging } from '@manyhands/base';
import type { SandboxSpec, ToolResult } from '@manyhands/contract';
import { noSandbox, sandboxesBusy } from '../tool-results.ts';
import { type BoundSandbox, boundSandbox, type SandboxBinding, type SaveBinding } from './binding.ts';
import { type LeaseEnd, type LeaseWait, leaseSandbox } from './lease-sandbox.ts';
import type { SandboxClient } from './sandbox-client.ts';
import { unlessStopped } from './stops.ts';

/** Each time a sibling bound a sandbox and gave it up again while one was leased here. */
const LOST_LEASES_MAX = 5;

export interface SessionSandboxOptions {
  client: SandboxClient;
  messaging: Pick<Messaging, 'request'>;
  clock: Clock;
  log: Logger;
  workspaceId: string;
  sessionId: string;
  /** As the session's state has it. */
  binding: SandboxBinding | null;
  saveBinding: SaveBinding;
  currentBinding: () => Promise<SandboxBinding | null>;
  spec: () => Promise<SandboxSpec>;
  findSnapshot: () => Promise<string | null>;
  prewarmed?: Promise<string | null>;
  leaseLimitMs: number;
  onWaiting?: (wait: LeaseWait) => void;
  onLeased?: (outcome: LeaseEnd['kind'], waitedMs: number) => void;
}

export interface SessionSandbox {
  /** The sandbox as far as it is known here; null without one. */
  current(): BoundSandbox | null;
  /** The sandbox that the session has now, whoever leased it. */
  latest(): Promise<BoundSandbox | null>;
  /** The session had a sandbox and gave it up. */
  readonly wasCleared: boolean;
  /** The session's sandbox, leased if there is none; a result that says why if none can be had; 'stopped' when the signal fired first. */
  obtain(stop: AbortSignal): Promise<BoundSandbox | ToolResult | 'stopped'>;
  /** Whether a sibling moved on from that sandbox; what the session has now is adopted. */
  hasMovedOn(at: BoundSandbox): Promise<boolean>;
  /** The sandbox is of no more use: on return the session has none, or another one. */
  giveUp(at: BoundSandbox, reason: string): Promise<void>;
}

/** A lease under way. Once it is being saved it is no longer given up: a half-known binding would be worse. */
interface Leasing {
  sandbox: Promise<BoundSandbox | ToolResult>;
  waiters: number;
  saving: boolean;
  abort: AbortController;
}

export function createSessionSandbox(options: SessionSandboxOptions): SessionSandbox {
  const { client, messaging, clock, log, workspaceId, sessionId } = options;
  let binding = options.binding;
  let prewarmed = options.prewarmed;
  /** One lease for all calls that wait for it; given up when none does any more. */
  let leasing: Leasing | null = null;
  /** One clearing for all calls that found the sandbox gone: nothing is leased before it is over. */
  let clearing: Promise<void> | null = null;

  const isCurrent = (at: BoundSandbox) => binding?.generation === at.generation && binding.sandbox_id === at.sandbox_id;

  /** What the session has is ours from here on. */
  function adopt(bound: SandboxBinding | null, known: SandboxBinding | null): void {
    if ((bound?.generation ?? 0) < (known?.generation ?? 0))
      throw new AppError(
        'internal',
        `the sandbox binding went back from generation ${known?.generation} to ${bound?.generation ?? 'none'}`,
      );
    binding = bound;
    log.info({ op: 'sandbox.adopt', ok: true, ...bound }, 'the sandbox of a sibling');
  }

  async function latest(): Promise<BoundSandbox | null> {
    const found = await options.currentBinding();
    // Of the same generation it says what is known here, or not yet that it was cleared.
    if ((found?.generation ?? 0) > (binding?.generation ?? 0)) adopt(found, binding);
    return boundSandbox(binding);
  }

  async function leaseOnce(signal: AbortSignal): Promise<LeaseEnd> {
    const [spec, restoreFrom] = await Promise.all([options.spec(), options.findSnapshot()]);
    const startedAtMs = clock.now();
    const generation = (binding?.generation ?? 0) + 1;
    const { onWaiting, leaseLimitMs: limitMs } = options;
    const end = await leaseSandbox({
      ...{
        client,
        messaging,
        clock,
        workspaceId,
        sessionId,
        spec,
        generation,
        restoreFrom,
        bound: latest,
        prewarmed,
        limitMs,
        onWaiting,
        signal,
      },
    });
    // A prewarm is good for one lease.
    prewarmed = undefined;
    const durationMs = clock.now() - startedAtMs;
    options.onLeased?.(end.kind, durationMs);
    const ok = end.kind === 'leased' || end.kind === 'adopted';
    log[ok ? 'info' : 'warn']({ op: 'sandbox.lease', ok, durationMs, end }, ok ? 'sandbox leased' : 'no sandbox');
    return end;
  }

  async function lease(signal: AbortSignal, onSaving: (saving: boolean) => void): Promise<BoundSandbox | ToolResult> {
    for (let lost = 0; lost < LOST_LEASES_MAX; lost++) {
      const expected = binding;
      const end = await leaseOnce(signal);
      if (end.kind === 'busy') return sandboxesBusy(end.waitedMs);
      if (end.kind === 'failed') return noSandbox(end.reason);
      if (end.kind === 'adopted') return end.at;
      signal.throwIfAborted();
      onSaving(true);
      const result = await options.saveBinding(end.at, expected);
      onSaving(false);
      if (result.saved) {
        binding = end.at;
        return end.at;
      }
      adopt(result.bound, expected);
      const winner = boundSandbox(binding);
      if (winner?.sandbox_id !== end.at.sandbox_id) void client.release(end.at);
      if (winner) return winner;
    }
    return noSandbox('the sandboxes of this session were gone at once');
  }

  async function clear(at: BoundSandbox, reason: string): Promise<void> {
    log.warn({ op: 'sandbox.lost', ok: false, reason, ...at }, 'sandbox lost');
    if (await hasMovedOn(at)) return;
    const next: SandboxBinding = { pool_id: null, sandbox_id: null, generation: at.generation };
    const result = await options.saveBinding(next, binding);
    if (!result.saved) {
      adopt(result.bound, at);
      if (isCurrent(at)) throw new AppError('internal', 'the binding of a lost sandbox could not be cleared, and nobody else changed it');
      return;
    }
    if (isCurrent(at)) binding = next;
    // If it is alive after all, it need not wait for its time to run out.
    void client.release(at);
  }

  async function hasMovedOn(at: BoundSandbox): Promise<boolean> {
    if (!isCurrent(at)) return true;
    const found = await options.currentBinding();
    // Another call may have been faster.
    if (!isCurrent(at)) return true;
    if (found?.generation === at.generation && found.sandbox_id === at.sandbox_id) return false;
    adopt(found, binding);
    return true;
  }

  return {
    current: () => boundSandbox(binding),
    latest,
    get wasCleared() {
      return binding !== null && binding.sandbox_id === null;
    },
    hasMovedOn,
    async obtain(stop) {
      if (clearing) await clearing;
      const known = boundSandbox(binding);
      if (known) return known;
      if (!leasing) {
        const abort = new AbortController();
        const onSaving = (saving: boolean) => {
          started.saving = saving;
        };
        const started: Leasing = { sandbox: lease(abort.signal, onSaving), waiters: 0, saving: false, abort };
        const forget = () => {
          if (leasing === started) leasing = null;
        };
        started.sandbox.then(forget, forget);
        leasing = started;
      }
      const current = leasing;
      current.waiters++;
      try {
        const given = await unlessStopped(current.sandbox, stop);
        if (given === 'stopped' && current.saving) await current.sandbox;
        return given;
      } finally {
        if (--current.waiters === 0) {
          current.abort.abort();
          if (leasing === current) leasing = null;
        }
      }
    },
    async giveUp(at, reason) {
      if (clearing) await clearing;
      if (!isCurrent(at)) return;
      clearing = clear(at, reason).finally(() => {
        clearing = null;
      });
      await clearing;
    },
  };
}
