/**
 * A sandbox pool for tests: speaks contract/src/rpc/sandbox.ts over a real NATS, keeps calls by key as a sandbox daemon does, and misbehaves
 * on demand. A call ends when the test says so, or at once if its input has `text`.
 */
import type { Messaging, Serving } from '@manyhands/base';
import {
  AckRequest,
  CancelRequest,
  LeaseRequest,
  ParkRequest,
  POOL_QUEUE_GROUP,
  type PrewarmRequest,
  poolLeaseSubject,
  SANDBOX_SUBJECT,
  type SandboxFailure,
  StartRequest,
  sandboxSubject,
  type ToolResult,
  toolText,
  WaitRequest,
} from '@manyhands/contract';
import type { SandboxBinding, SaveBinding } from '../src/index.ts';

type Verb = 'lease' | 'hint' | 'start' | 'wait' | 'cancel' | 'ack' | 'park' | 'release' | 'outputs';
type FailureCode = SandboxFailure['error']['code'];
/** `deaf`: as if the request had never come. `mute`: does it and answers nothing. Anything else is the answer. */
export type Script = (verb: Verb, body: Record<string, unknown>) => 'deaf' | 'mute' | object | undefined;

interface ScriptedCall {
  outcome: ToolResult | null;
  waiters: (() => void)[];
}
interface ScriptedSandbox {
  sessionId: string;
  generation: number;
  restoredFrom: string | null;
  calls: Map<string, ScriptedCall>;
  acked: Set<string>;
  parkedAs: string | null;
  /** As the contract counts them. */
  uses: number;
}

export interface ScriptedPool {
  id: string;
  sandboxes: Map<string, ScriptedSandbox>;
  /** Keys in the order in which they began to run, one entry per run. */
  ran: string[];
  /** Requests as they came, whatever became of them. */
  requests: { verb: Verb; body: Record<string, unknown> }[];
  script: Script;
  finish(key: string, text: string): void;
  /** Nobody serves its subjects any more; what it knows stays. */
  stop(): Promise<void>;
  serve(): void;
  /** Joins or leaves the queue group. */
  setRoom(room: boolean): void;
}

const failure = (code: FailureCode, message = 'as the test wants it'): SandboxFailure => ({ ok: false, error: { code, message } });
export const says = failure;
export const text = (outcome: ToolResult) => toolText(outcome.content);
export const done = (value: string): ToolResult => ({ is_error: false, content: [{ type: 'text', text: value }] });

interface SharedBinding {
  binding: SandboxBinding | null;
  /** What was saved, in order. */
  saved: SandboxBinding[];
  saveBinding: SaveBinding;
  currentBinding: () => Promise<SandboxBinding | null>;
}

/** The binding of a session as the session log keeps it, with its compare-and-set; shared by all executors that are given it. */
export function sharedBinding(binding: SandboxBinding | null = null): SharedBinding {
  const session: SharedBinding = {
    binding,
    saved: [],
    async saveBinding(next, expected) {
      const bound = session.binding;
      if ((bound?.generation ?? 0) !== (expected?.generation ?? 0)) return { saved: false, bound };
      // Of two that clear it one is too late.
      if (next.sandbox_id === null && bound?.sandbox_id === null) return { saved: false, bound };
      session.binding = { ...next };
      session.saved.push({ ...next });
      return { saved: true };
    },
    currentBinding: async () => session.binding,
  };
  return session;
}

/** Resolves when requests reach it. */
export async function startScriptedPool(messaging: Messaging, id: string): Promise<ScriptedPool> {
  const sandboxes = new Map<string, ScriptedSandbox>();
  let named: Serving[] = [];
  let grouped: Serving[] = [];
  let made = 0;
  /** Counts ends of service: what was asked before one is not answered after it, as with a process that was killed. */
  let life = 0;

  const pool: ScriptedPool = {
    id,
    sandboxes,
    ran: [],
    requests: [],
    script: () => undefined,
    finish(key, value) {
      for (const { calls } of sandboxes.values()) {
        const call = calls.get(key);
        if (call) end(call, done(value));
      }
    },
    async stop() {
      life++;
      const serving = [...named, ...grouped];
      named = [];
      grouped = [];
      // Not waited for: what was asked is never answered.
      for (const one of serving) void one.stop();
      await messaging.ping();
    },
    serve() {
      named = [
        messaging.serve(poolLeaseSubject(id), (body) => handle('lease', body)),
        messaging.serve(sandboxSubject(id, '*', '*' as 'start'), (body, subject) => {
          const [, , sandboxId, verb] = subject.split('.');
          return handle(verb as Verb, body, sandboxId);
        }),
      ];
      pool.setRoom(true);
    },
    setRoom(room) {
      for (const one of grouped) void one.stop();
      const queue = { queue: POOL_QUEUE_GROUP };
      grouped = room
        ? [
            messaging.serve(SANDBOX_SUBJECT.lease, (body) => handle('lease', body), queue),
            messaging.serve(SANDBOX_SUBJECT.prewarm, (body) => handle('hint', body), queue),
          ]
        : [];
    },
  };

  function end(call: ScriptedCall, outcome: ToolResult): void {
    call.outcome ??= outcome;
    for (const wake of call.waiters.splice(0)) wake();
  }
  /** Never settles: the asker runs into its own timeout. */
  const silence = () => new Promise<never>(() => undefined);

  async function handle(verb: Verb, raw: unknown, sandboxId?: string): Promise<unknown> {
    const body = raw as Record<string, unknown>;
    const askedIn = life;
    pool.requests.push({ verb, body });
    const scripted = pool.script(verb, body);
    if (scripted === 'deaf') return silence();
    if (scripted !== undefined && scripted !== 'mute') return scripted;
    const answer = await respond(verb, body, sandboxId);
    return scripted === 'mute' || askedIn !== life ? silence() : answer;
  }

  async function respond(verb: Verb, body: Record<string, unknown>, sandboxId = ''): Promise<unknown> {
    if (verb === 'hint') return { pool_id: id, reserved: (body as PrewarmRequest).session_id !== '' };
    if (verb === 'lease') return lease(LeaseRequest.parse(body));
    const sandbox = sandboxes.get(sandboxId);
    if (!sandbox) return verb === 'release' ? { ok: true } : failure('unknown_sandbox');
    if (sandbox.sessionId !== body['session_id'] || sandbox.generation !== body['generation']) return failure('stale_generation');
    switch (verb) {
      case 'start': {
        const { key, input } = StartRequest.parse(body);
        if (!sandbox.calls.has(key) && !sandbox.acked.has(key)) {
          const value = input?.['text'];
          sandbox.calls.set(key, { outcome: typeof value === 'string' ? done(value) : null, waiters: [] });
          pool.ran.push(key);
        }
        sandbox.uses++;
        sandbox.parkedAs = null;
        return state(sandbox, key);
      }
      case 'wait': {
        const { key, wait_ms } = WaitRequest.parse(body);
        const call = sandbox.calls.get(key);
        if (call && !call.outcome)
          await new Promise<void>((resolve) => {
            call.waiters.push(resolve);
            setTimeout(resolve, wait_ms).unref();
          });
        return sandboxes.get(sandboxId) === sandbox ? state(sandbox, key) : failure('sandbox_lost');
      }
      case 'cancel': {
        const call = sandbox.calls.get(CancelRequest.parse(body).key);
        if (call) end(call, { is_error: true, content: [{ type: 'text', text: 'killed' }] });
        return state(sandbox, CancelRequest.parse(body).key);
      }
      case 'ack':
        for (const key of AckRequest.parse(body).keys) {
          sandbox.calls.delete(key);
          sandbox.acked.add(key);
        }
        return { ok: true };
      case 'park': {
        const { snapshot_key, uses } = ParkRequest.parse(body);
        if (uses !== undefined && uses < sandbox.uses) return { ok: true, parked: false };
        sandbox.parkedAs = snapshot_key;
        return { ok: true, parked: true };
      }
      case 'outputs':
        return { ok: true, pending: false, files: [], uses: sandbox.uses };
      case 'release':
        sandboxes.delete(sandboxId);
        return { ok: true };
    }
  }

  function lease(request: LeaseRequest): unknown {
    for (const [sandboxId, held] of sandboxes) {
      if (held.sessionId !== request.session_id || held.generation !== request.generation) continue;
      return { ok: true, pool_id: id, sandbox_id: sandboxId, generation: held.generation, warm: true };
    }
    const sandboxId = `sbx_${id}${++made}`;
    sandboxes.set(sandboxId, {
      sessionId: request.session_id,
      generation: request.generation,
      restoredFrom: request.restore_from,
      calls: new Map(),
      acked: new Set(),
      parkedAs: null,
      uses: 0,
    });
    return { ok: true, pool_id: id, sandbox_id: sandboxId, generation: request.generation, warm: true };
  }

  function state(sandbox: ScriptedSandbox, key: string): object {
    const call = sandbox.calls.get(key);
    const { uses } = sandbox;
    if (!call) return { ok: true, uses, call: { state: 'unknown' } };
    return { ok: true, uses, call: call.outcome ? { state: 'done', outcome: call.outcome } : { state: 'running' } };
  }

  pool.serve();
  await messaging.ping();
  return pool;
}
