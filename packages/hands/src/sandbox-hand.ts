/**
 * The `Hand` of a session that is a sandbox in some pool, over NATS.
 *
 * - No call is sent under a lease before `saveBinding` has made that lease the session's: of two workers only one gets so far (I3).
 * - A call is started by key and waited for by key, so any request can be sent again (I4). It goes to another sandbox only if it certainly never
 *   reached the first one; a resumed call, of which nobody here knows, never does.
 * - A pool that does not answer is asked again for a stated time, unless it left word that it ended the sandbox. Then, or when it says so, the
 *   sandbox is lost: the call's outcome says it if the call may have run and no outcome of it was kept, the binding is cleared under its
 *   generation, and the next call leases the next one.
 */
import { AppError, backoffMs, type Clock, type Logger, type Messaging, pause } from '@manyhands/base';
import {
  type CallReply,
  fileListKey,
  INLINE_BODY_MAX_BYTES,
  type MountedFile,
  type MountReply,
  type SandboxSpec,
  type ToolOutcome,
  toolText,
} from '@manyhands/contract';
import { type BoundSandbox, boundSandbox, type SandboxBinding } from './binding.ts';
import type { ExecuteOptions, Hand, HandCall } from './hand.ts';
import { type LeaseEnd, type LeaseWait, leaseSandbox } from './lease-sandbox.ts';
import { INTERRUPTED, NOT_RUN_AGAIN, noSandbox, refused, SANDBOX_LOST, sandboxesBusy } from './outcomes.ts';
import { createSandboxClient, createSilenceWatch, isSilence, type Silence } from './sandbox-client.ts';
import { createSandboxOutputs, type SandboxOutputs } from './sandbox-outputs.ts';
import { createStoredBodies } from './stored-bodies.ts';

const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 1_000;
const CANCEL_LIMIT_MS = 10_000;
const OUTAGE_LIMIT_MS = 300_000;
const TELL_ATTEMPTS = 3;

export interface SandboxHandOptions {
  messaging: Pick<Messaging, 'request' | 'connected'>;
  clock: Clock;
  log: Logger;
  workspaceId: string;
  sessionId: string;
  /** Asked when a sandbox is leased, not before. */
  spec: () => Promise<SandboxSpec>;
  /** As the session's state has it. */
  binding: SandboxBinding | null;
  /** Makes a binding the session's, durably and fenced. What it throws, `execute` throws. */
  saveBinding: (binding: SandboxBinding) => Promise<void>;
  /** Bodies too large for a message; keys start with workspace and session. */
  putBody: (key: string, body: Buffer) => Promise<unknown>;
  getBody: (key: string) => Promise<Buffer | null>;
  /** Blob key of the session's workspace snapshot, or null if there is none. */
  findSnapshot: () => Promise<string | null>;
  /** What is to be mounted, if this session ever had a file. The revision is asked before each call, the files when it changed. */
  files?: { revision: () => Promise<number>; list: () => Promise<{ revision: number; files: MountedFile[] }> };
  /** What `sendHint` answered, if the caller sent one. */
  hinted?: Promise<string | null>;
  /** A pool that did not answer for so long is taken for dead. 30 s. */
  poolSilenceLimitMs?: number;
  /** How long one answer may take before the request is sent again; twice that for what takes longer. 2.5 s. */
  answerTimeoutMs?: number;
  /** How long a call waits for a free sandbox. 5 minutes. */
  leaseLimitMs?: number;
  onWaiting?: (wait: LeaseWait) => void;
  /** Told once per wait for a sandbox, when it is over; not when it was given up. */
  onLeased?: (outcome: LeaseEnd['kind'], waitedMs: number) => void;
}

/** Either the reply of a call that is known, or how to go on. */
type Step =
  | { kind: 'running' }
  | { kind: 'outcome'; outcome: ToolOutcome }
  | { kind: 'gone' }
  | { kind: 'leaving' }
  | { kind: 'lost' }
  | { kind: 'unknown' }
  | { kind: 'failed'; reason: string };

/** A lease under way. Once it is being saved it is no longer given up: a half-known binding would be worse. */
interface Leasing {
  sandbox: Promise<BoundSandbox | ToolOutcome>;
  waiters: number;
  saving: boolean;
  abort: AbortController;
}

/** A pool that gives sandboxes which it does not know a moment later is believed no further. */
const FRESH_SANDBOXES_MAX = 5;

/** A sandbox also has outputs: files that it leaves for the session. */
export interface SandboxHand extends Hand, SandboxOutputs {}

export function createSandboxHand(options: SandboxHandOptions): SandboxHand {
  const { messaging, clock, log, workspaceId, sessionId } = options;
  const poolSilenceLimitMs = options.poolSilenceLimitMs ?? 30_000;
  const leaseLimitMs = options.leaseLimitMs ?? 300_000;
  const client = createSandboxClient(messaging, sessionId, options.answerTimeoutMs);
  const bodies = createStoredBodies(options);
  let binding = options.binding;
  let hinted = options.hinted;
  /** One lease for all calls that wait for it; given up when none does any more. */
  let leasing: Leasing | null = null;
  /** What the sandbox has mounted, as far as this worker knows. */
  let mounted: { generation: number; revision: number } | null = null;
  const unacknowledged = new Set<string>();
  let acknowledging: Promise<void> = Promise.resolve();
  const outputs = createSandboxOutputs({ client, clock, log, sandbox: () => boundSandbox(binding), list: bodies.outputList });

  async function lease(signal: AbortSignal, onSaving: () => void): Promise<BoundSandbox | ToolOutcome> {
    const [spec, restoreFrom] = await Promise.all([options.spec(), options.findSnapshot()]);
    const startedAtMs = clock.now();
    const generation = (binding?.generation ?? 0) + 1;
    const { onWaiting } = options;
    const end = await leaseSandbox({
      ...{ client, messaging, clock, workspaceId, sessionId, spec, generation, restoreFrom, hinted, onWaiting, signal },
      limitMs: leaseLimitMs,
    });
    // A hint is good for one lease.
    hinted = undefined;
    const durationMs = clock.now() - startedAtMs;
    options.onLeased?.(end.kind, durationMs);
    if (end.kind !== 'leased') {
      log.warn({ op: 'sandbox.lease', ok: false, durationMs, end }, 'no sandbox');
      return end.kind === 'busy' ? sandboxesBusy(end.waitedMs) : noSandbox(end.reason);
    }
    signal.throwIfAborted();
    onSaving();
    await options.saveBinding(end.at);
    binding = end.at;
    log.info({ op: 'sandbox.lease', ok: true, durationMs, ...end.at }, 'sandbox leased');
    return end.at;
  }

  /** The session's sandbox, leased if there is none; an outcome if none can be had; 'stopped' when the signal fired first. */
  async function sandbox(stop: AbortSignal): Promise<BoundSandbox | ToolOutcome | 'stopped'> {
    const bound = boundSandbox(binding);
    if (bound) return bound;
    if (!leasing) {
      const abort = new AbortController();
      const onSaving = () => {
        started.saving = true;
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
  }

  /** The sandbox is of no more use. Another call may have found that out already, and a newer one may be there. */
  async function drop(at: BoundSandbox, reason: string): Promise<void> {
    if (binding?.generation !== at.generation || binding.sandbox_id === null) return;
    log.warn({ op: 'sandbox.lost', ok: false, reason, ...at }, 'sandbox lost');
    unacknowledged.clear();
    binding = { pool_id: null, sandbox_id: null, generation: at.generation };
    await options.saveBinding(binding);
    // If it is alive after all, it need not wait for its time to run out.
    void client.release(at);
  }

  /** Brings the sandbox's files up to date. Null when they are; otherwise why not yet. */
  async function mount(at: BoundSandbox): Promise<MountReply | Silence | null> {
    if (!options.files) return null;
    const known = mounted?.generation === at.generation ? mounted.revision : 0;
    if ((await options.files.revision()) === known) return null;
    const { revision, files } = await options.files.list();
    const body = Buffer.from(JSON.stringify(files), 'utf8');
    const key = fileListKey(workspaceId, sessionId, 'mounts');
    const large = body.length > INLINE_BODY_MAX_BYTES;
    if (large) await options.putBody(key, body);
    const reply = await client.mount(at, revision, large ? { files_ref: key } : { files });
    if (isSilence(reply) || !reply.ok || reply.pending) return reply;
    mounted = { generation: at.generation, revision };
    return null;
  }

  async function readStep(reply: CallReply | Extract<MountReply, { ok: false }>): Promise<Step> {
    if (!reply.ok) {
      const { code, message } = reply.error;
      if (code === 'unknown_sandbox' || code === 'stale_generation') return { kind: 'gone' };
      if (code === 'leaving') return { kind: 'leaving' };
      return code === 'sandbox_lost' ? { kind: 'lost' } : { kind: 'failed', reason: message };
    }
    if (reply.outcome_ref !== undefined) return { kind: 'outcome', outcome: await bodies.outcome(reply.outcome_ref) };
    switch (reply.call?.state) {
      case 'running':
        return { kind: 'running' };
      case 'done':
        return { kind: 'outcome', outcome: reply.call.outcome };
      default:
        return { kind: 'unknown' };
    }
  }

  /** Starts and follows a call in one sandbox. `never started` is answered only when that is certain. */
  async function runIn(at: BoundSandbox, call: HandCall, stops: Stops): Promise<ToolOutcome | 'never started'> {
    const body = await bodies.inputOf(call);
    const watch = createSilenceWatch(clock, messaging, poolSilenceLimitMs, OUTAGE_LIMIT_MS);
    let mayRun = call.resumed === true;
    let started = false;
    const lost = async (reason: string): Promise<ToolOutcome | 'never started'> => {
      await drop(at, reason);
      return mayRun ? ((await bodies.keptOutcome(call.key)) ?? SANDBOX_LOST) : 'never started';
    };

    for (let silences = 0; ; ) {
      stops.throwIfDetached();
      if (stops.interrupted) return mayRun ? cancel(at, call) : INTERRUPTED;
      // An answer to a start comes at once, and what it says is needed to know what may be done; a wait may be left at any time.
      const before = started ? null : await mount(at);
      if (before !== null && 'pending' in before) {
        watch.answered();
        continue;
      }
      const start = () => client.start(at, call.key, call.name, body);
      const reply = before ?? (started ? await unlessStopped(client.wait(at, call.key), stops.any) : await start());
      if (reply === 'stopped') continue;
      // What was never asked to start did not.
      if (isSilence(reply) && reply.silence === 'unanswered' && before === null) mayRun = true;
      const step = isSilence(reply) ? null : await readStep(reply);
      if (step === null || (started && step.kind === 'failed')) {
        if (isSilence(reply) && reply.silence === 'not delivered' && (await bodies.hasEnded(at))) return lost('it has ended');
        if (watch.unanswered()) return lost('the pool does not answer');
        await pause(backoffMs(silences++, BACKOFF_BASE_MS, BACKOFF_CAP_MS), stops.any).catch(() => undefined);
        continue;
      }
      watch.answered();
      if (step.kind === 'leaving') {
        await pause(backoffMs(silences++, BACKOFF_BASE_MS, BACKOFF_CAP_MS), stops.any).catch(() => undefined);
        continue;
      }
      silences = 0;
      switch (step.kind) {
        case 'outcome':
          return step.outcome;
        case 'running':
          started = true;
          mayRun = true;
          break;
        case 'failed':
          return refused(step.reason);
        case 'gone':
          return lost('the pool does not have it');
        case 'lost':
          // A pool may find that out in the middle of a start.
          if (before === null) mayRun = true;
          return lost('it died');
        case 'unknown':
          // The hand has an acknowledgement of this key; or, if it knew the call a moment ago, it is not the same hand.
          if (!started) return NOT_RUN_AGAIN;
          return lost('it forgot the call');
      }
    }
  }

  async function cancel(at: BoundSandbox, call: HandCall): Promise<ToolOutcome> {
    const deadlineMs = clock.now() + CANCEL_LIMIT_MS;
    for (let attempt = 0; clock.now() < deadlineMs; attempt++) {
      const reply = await client.cancel(at, call.key);
      if (!isSilence(reply)) {
        const step = await readStep(reply);
        if (step.kind === 'outcome') return step.outcome;
        // A start that is still under way must not run after this.
        if (step.kind === 'unknown') await client.ack(at, [call.key]);
        if (step.kind !== 'running') return INTERRUPTED;
      } else if (reply.silence === 'not delivered' && (await bodies.hasEnded(at))) return INTERRUPTED;
      await pause(backoffMs(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
    }
    log.warn({ op: 'sandbox.cancel', ok: false, ...at, callKey: call.key }, 'a call could not be cancelled');
    return INTERRUPTED;
  }

  async function execute(call: HandCall, { signal, detach }: ExecuteOptions = {}): Promise<ToolOutcome> {
    const stops = watchStops(signal, detach);
    const before = boundSandbox(binding);
    // A sandbox was given up, and the call may have been in it. Only with no lease ever made is it certain that it never ran.
    if (call.resumed && !before && binding !== null) return (await bodies.keptOutcome(call.key)) ?? SANDBOX_LOST;
    for (let sandboxes = 0; sandboxes < FRESH_SANDBOXES_MAX; ) {
      stops.throwIfDetached();
      const at = call.resumed && before ? before : await unlessInterrupted(stops);
      if (at === 'stopped') continue;
      if ('content' in at) return at;
      const end = await runIn(at, call, stops);
      if (end !== 'never started') return end;
      sandboxes++;
    }
    return noSandbox('the sandboxes that were given were gone at once');
  }
  async function unlessInterrupted(stops: Stops): Promise<BoundSandbox | ToolOutcome | 'stopped'> {
    return stops.interrupted ? INTERRUPTED : sandbox(stops.any);
  }

  /** Tells the pool something that is not worth failing for. */
  async function tell(what: string, ask: (at: BoundSandbox) => Promise<object>): Promise<boolean> {
    const at = boundSandbox(binding);
    if (!at) return true;
    for (let attempt = 0; attempt < TELL_ATTEMPTS; attempt++) {
      if (!isSilence(await ask(at))) return true;
      await pause(backoffMs(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
    }
    log.warn({ op: `sandbox.${what}`, ok: false, ...at }, 'the pool could not be told');
    return false;
  }

  return {
    execute,
    ...outputs,
    async provision({ signal, detach } = {}) {
      const stops = watchStops(signal, detach);
      const at = await unlessInterrupted(stops);
      stops.throwIfDetached();
      if (at === 'stopped') throw new AppError('aborted', 'aborted while waiting for a sandbox');
      if ('content' in at) throw new AppError('unavailable', toolText(at.content));
    },
    acknowledge(keys) {
      for (const key of keys) unacknowledged.add(key);
      acknowledging = acknowledging.then(async () => {
        const told = [...unacknowledged];
        if (told.length === 0) return;
        const at = boundSandbox(binding);
        if (at && isSilence(await client.ack(at, told))) return;
        for (const key of told) unacknowledged.delete(key);
      });
      return acknowledging;
    },
    async park(snapshotKey) {
      // An acknowledgement is a use, and a use un-parks.
      await acknowledging;
      await tell('park', (at) => client.park(at, snapshotKey));
    },
    async release() {
      await acknowledging;
      await tell('release', (at) => client.release(at));
    },
  };
}

type Stops = ReturnType<typeof watchStops>;
function watchStops(signal: AbortSignal | undefined, detach: AbortSignal | undefined) {
  return {
    any: AbortSignal.any([signal, detach].filter((given) => given !== undefined)),
    get interrupted() {
      return signal?.aborted === true;
    },
    throwIfDetached(): void {
      if (detach?.aborted) throw new AppError('drained', 'the worker leaves; the call runs on');
    },
  };
}

function unlessStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T | 'stopped'> {
  return new Promise((resolve, reject) => {
    const onStop = () => resolve('stopped');
    const done = () => stop.removeEventListener('abort', onStop);
    if (stop.aborted) onStop();
    else stop.addEventListener('abort', onStop, { once: true });
    work.then(resolve, reject).finally(done);
  });
}
