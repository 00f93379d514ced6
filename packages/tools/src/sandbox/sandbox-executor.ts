/**
 * The `ToolExecutor` of one thread of a session that runs calls in a sandbox of some pool, over NATS. Threads of a session share the sandbox
 * (session-sandbox.ts); each has an executor, and a shell, of its own.
 *
 * - No call is sent under a lease before `saveBinding` has made that lease the session's: of two workers only one gets so far (I3).
 * - A call is started by key and waited for by key, so any request can be sent again (I4). It goes to another sandbox only if it certainly never
 *   reached the first one; a resumed call, of which nobody here knows, never does.
 * - A pool that does not answer is asked again for a stated time, unless it recorded the end of the sandbox, and for as long as siblings have
 *   answers. Then, or when it says so, the sandbox is lost: the call's result says it if the call may have run and no result of it was kept,
 *   the binding is cleared under its generation, and the next call leases the next one, or has the one of a sibling who was faster.
 */
import { AppError, backoffMs, type Clock, type Logger, type Messaging, pause } from '@manyhands/base';
import {
  fileListKey,
  INLINE_BODY_MAX_BYTES,
  type MountedFile,
  type MountReply,
  type SandboxSpec,
  type ToolResult,
  toolText,
  workspaceSnapshotKey,
} from '@manyhands/contract';
import type { ExecuteOptions, ToolCall, ToolExecutor } from '../tool-executor.ts';
import { INTERRUPTED, noSandbox } from '../tool-results.ts';
import type { BoundSandbox, SandboxBinding, SaveBinding } from './binding.ts';
import { createCallRunner } from './call-runner.ts';
import type { LeaseEnd, LeaseWait } from './lease-sandbox.ts';
import { createPoolSigns } from './pool-signs.ts';
import { createSandboxClient, isSilence, type Silence } from './sandbox-client.ts';
import { createSandboxOutputs, type SandboxOutputs } from './sandbox-outputs.ts';
import { createSessionSandbox } from './session-sandbox.ts';
import { type Stops, watchStops } from './stops.ts';
import { createStoredBodies } from './stored-bodies.ts';

const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 1_000;
const TELL_ATTEMPTS = 3;
const POOL_SILENCE_LIMIT_MS = 30_000;
const LEASE_LIMIT_MS = 300_000;

export interface SandboxExecutorOptions {
  messaging: Pick<Messaging, 'request' | 'connected'>;
  clock: Clock;
  log: Logger;
  workspaceId: string;
  sessionId: string;
  /** The thread whose calls these are, and whose shell `bash` has. Without one: the shell of all calls that name none. */
  threadId?: string;
  /** Asked when a sandbox is leased, not before. */
  spec: () => Promise<SandboxSpec>;
  /** As the session's state has it. */
  binding: SandboxBinding | null;
  saveBinding: SaveBinding;
  /** The session's binding as it is now. What it throws, `execute` throws; the same with `lastAnswerMs`. */
  currentBinding: () => Promise<SandboxBinding | null>;
  /** How long ago any thread's worker had an answer about the sandbox of this generation, as the session's state tells; null if it does not. */
  lastAnswerMs?: (generation: number) => Promise<number | null>;
  /** Told when the pool answered about the sandbox of this generation, at most once in 5 s. */
  onAnswer?: (generation: number) => void;
  /** Bodies too large for a message; keys start with workspace and session. */
  putBody: (key: string, body: Buffer) => Promise<unknown>;
  getBody: (key: string) => Promise<Buffer | null>;
  /** Blob key of the session's workspace snapshot, or null if there is none. */
  findSnapshot: () => Promise<string | null>;
  /** What is to be mounted, if this session ever had a file. The revision is asked before each call, the files when it changed. */
  files?: { revision: () => Promise<number>; list: () => Promise<{ revision: number; files: MountedFile[] }> };
  /** What `sendPrewarm` answered, if the caller sent one. */
  prewarmed?: Promise<string | null>;
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

/** A pool that gives sandboxes which it does not know a moment later is believed no further. */
const FRESH_SANDBOXES_MAX = 5;

/** A sandbox also has outputs: files that it leaves for the session; and it counts how often it was used, by all threads. */
export interface SandboxExecutor extends ToolExecutor, SandboxOutputs {
  /** The highest use count that answers told of the sandbox that the session has; null if none did, as from a pool of 0.1.0. */
  uses(): number | null;
}

export function createSandboxExecutor(options: SandboxExecutorOptions): SandboxExecutor {
  const { messaging, clock, log, workspaceId, sessionId, threadId } = options;
  const signs = createPoolSigns(clock, options.onAnswer);
  const client = createSandboxClient({
    ...{ messaging, sessionId, threadId, answerMs: options.answerTimeoutMs },
    // Of a lease that was given back nothing more is to be known.
    onReply(at, reply) {
      if (at.sandbox_id === sandbox.current()?.sandbox_id) signs.heard(at, reply);
    },
  });
  const bodies = createStoredBodies(options);
  const sandbox = createSessionSandbox({ ...options, client, leaseLimitMs: options.leaseLimitMs ?? LEASE_LIMIT_MS });
  const calls = createCallRunner({
    ...{ client, messaging, clock, log, bodies, sandbox, mount },
    silenceLimitMs: options.poolSilenceLimitMs ?? POOL_SILENCE_LIMIT_MS,
    lastAnswerMs: async (at) => (await options.lastAnswerMs?.(at.generation)) ?? null,
  });
  const outputs = createSandboxOutputs({ client, clock, log, sandbox: sandbox.latest, list: bodies.outputList });
  /** What the sandbox has mounted, as far as this worker knows. */
  let mounted: { generation: number; revision: number } | null = null;
  /** Keys, each with the generation of the sandbox that ran it. */
  const unacknowledged = new Map<string, number>();
  let acknowledging: Promise<void> = Promise.resolve();

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

  async function execute(call: ToolCall, until: ExecuteOptions = {}): Promise<ToolResult> {
    const stops = watchStops(until);
    const before = sandbox.current();
    // A sandbox was given up, and the call may have been in it. Only with no lease ever made is it certain that it never ran.
    if (call.resumed && !before && sandbox.wasCleared) return calls.lostOutcome(call);
    for (let sandboxes = 0; sandboxes < FRESH_SANDBOXES_MAX; ) {
      stops.throwIfDetached();
      const at = call.resumed && before ? before : await unlessInterrupted(stops);
      if (at === 'stopped') continue;
      if ('content' in at) return at;
      const end = await calls.run(at, call, stops);
      if (end !== 'never started') return end;
      sandboxes++;
    }
    return noSandbox('the sandboxes that were given were gone at once');
  }
  async function unlessInterrupted(stops: Stops): Promise<BoundSandbox | ToolResult | 'stopped'> {
    return stops.interrupted ? INTERRUPTED : sandbox.obtain(stops.any);
  }

  /** Tells the pool something that is not worth failing for; its answer, if there was one. */
  async function tell<T extends object>(
    what: string,
    at: BoundSandbox | null,
    ask: (at: BoundSandbox) => Promise<T | Silence>,
  ): Promise<T | null> {
    if (!at) return null;
    for (let attempt = 0; attempt < TELL_ATTEMPTS; attempt++) {
      const reply = await ask(at);
      if (!isSilence(reply)) return reply;
      await pause(backoffMs(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
    }
    log.warn({ op: `sandbox.${what}`, ok: false, ...at }, 'the pool could not be told');
    return null;
  }

  function uses(): number | null {
    const at = sandbox.current();
    return at && signs.uses(at);
  }

  return {
    execute,
    uses,
    ...outputs,
    async provision(until = {}) {
      const stops = watchStops(until);
      const at = await unlessInterrupted(stops);
      stops.throwIfDetached();
      if (at === 'stopped') throw new AppError('aborted', 'aborted while waiting for a sandbox');
      if ('content' in at) throw new AppError('unavailable', toolText(at.content));
    },
    acknowledge(keys) {
      for (const key of keys) unacknowledged.set(key, sandbox.current()?.generation ?? 0);
      acknowledging = acknowledging.then(async () => {
        const at = sandbox.current();
        // What another sandbox ran went with it.
        for (const [key, generation] of unacknowledged) if (generation !== at?.generation) unacknowledged.delete(key);
        const told = [...unacknowledged.keys()];
        if (!at || told.length === 0 || isSilence(await client.ack(at, told))) return;
        for (const key of told) unacknowledged.delete(key);
      });
      return acknowledging;
    },
    async park() {
      // Once it is idle the sandbox may be evicted at any time.
      await acknowledging;
      const reply = await tell('park', await sandbox.latest(), (at) =>
        // Who knows of no use parks nothing that was used.
        client.park(at, workspaceSnapshotKey(workspaceId, sessionId, at.generation), signs.uses(at) ?? 0),
      );
      if (reply?.ok && reply.parked === false) log.debug({ op: 'sandbox.park', ok: true, parked: false }, 'left to a sibling');
    },
    async release() {
      await acknowledging;
      await tell('release', sandbox.current(), (at) => client.release(at));
    },
  };
}
