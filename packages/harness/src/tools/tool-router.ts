/**
 * Where a call goes: to the session's sandbox, to its client, or to a tool that runs on the server. A sandbox is hinted for as soon as the turn starts
 * and demanded by the first call only; the model never waits for it (I8).
 */
import { AppError, hasCode, type Logger, type Scope } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import {
  type BuiltinToolResult,
  enabledTools,
  eventIdSequence,
  fileBlobKey,
  primaryThreadId,
  SANDBOX_TOOLS,
  type SandboxSpec,
  type SessionAgent,
  snapshotGeneration,
  workspaceSnapshotPrefix,
} from '@manyhands/contract';
import type { Lease, SandboxBinding, SessionRecord } from '@manyhands/session-log';
import type { EnvironmentStore } from '@manyhands/store';
import { createClientExecutor, createSandboxExecutor, type LeaseWait, sendPrewarm } from '@manyhands/tools';
import type { TurnReport } from '@manyhands/turn-queue';
import type { Context, OpenCall } from '../context/context.ts';
import type { Journal } from '../thread/journal.ts';
import type { Drain, HarnessDeps } from '../thread/turn.ts';
import { captureOutputs } from './outputs.ts';
import { webFetch, webSearch } from './web-tools.ts';

export interface ToolRouter {
  /** The session has a sandbox, as far as this worker knows. */
  readonly hasSandbox: boolean;
  /** Tells a pool that a sandbox will probably be wanted; once, and after the model was asked. */
  hint(): void;
  /** Runs a call; 'detached' when the worker has to leave it (`ended`, or the end of the process) and it runs on without it, 'awaited' when the client's word ends it. */
  run(call: OpenCall, interrupt: AbortSignal, ended: AbortSignal, inherited: boolean): Promise<BuiltinToolResult | 'detached' | 'awaited'>;
  /** The result is in the log. */
  recorded(call: OpenCall): void;
  /** What the sandbox left in its outputs becomes files of the session. Best effort: never rejects but with `fenced`. */
  capture(): Promise<void>;
  /** The session is idle. */
  park(): Promise<void>;
  close(): Promise<void>;
}

export interface ToolRouterOptions {
  deps: HarnessDeps;
  lease: Lease;
  record: SessionRecord;
  agent: SessionAgent;
  context: Context;
  journal: Journal;
  binding: SandboxBinding | null;
  drain: Drain;
  scope: Scope;
  log: Logger;
  report: TurnReport;
}

/** What a session's sandbox has to be. Environments are not deleted while a session refers to them. */
export async function sandboxSpec(environments: EnvironmentStore, record: SessionRecord): Promise<SandboxSpec> {
  const environment = await environments.get(record.workspace_id, record.environment_id);
  if (!environment) throw new AppError('internal', `environment ${record.environment_id} of the session is gone`);
  return { environment_id: environment.id, networking: environment.config.networking };
}

/** The newest snapshot: the one of the highest generation. */
async function findSnapshot(blobs: BlobStore, prefix: string): Promise<string | null> {
  let newest: { key: string; generation: number } | null = null;
  for await (const key of blobs.list(prefix)) {
    const generation = snapshotGeneration(key);
    if (generation !== null && generation > (newest?.generation ?? -1)) newest = { key, generation };
  }
  return newest?.key ?? null;
}

/** What a web tool does changes nothing, so neither an interrupt nor the end of this worker need wait for it: the next worker does it again. */
function unlessStopped(
  work: Promise<BuiltinToolResult>,
  { interrupt, leave }: { interrupt: AbortSignal; leave: AbortSignal },
): Promise<BuiltinToolResult | 'detached'> {
  return new Promise((resolve, reject) => {
    const text = 'Tool execution was interrupted before completion. Please retry.';
    const onInterrupt = () => resolve({ is_error: true, content: [{ type: 'text', text }] });
    const onLeave = () => resolve('detached');
    const over = new AbortController();
    const { signal } = over;
    if (leave.aborted) onLeave();
    if (interrupt.aborted) onInterrupt();
    leave.addEventListener('abort', onLeave, { once: true, signal });
    interrupt.addEventListener('abort', onInterrupt, { once: true, signal });
    work.then(resolve, reject).finally(() => over.abort());
  });
}

/**
 * Whether a call that an earlier worker left open may have run in a sandbox that was given up. Calls are started under a lease only, so one
 * that was asked for after the last sandbox was given up, with none leased since, never ran.
 */
function mayHaveRun(call: OpenCall, binding: SandboxBinding | null): boolean {
  if (binding === null || binding.sandbox_id !== null || binding.ended_at === undefined) return true;
  const sequence = eventIdSequence(call.id);
  return sequence === null || sequence < binding.ended_at;
}

/** Whether it can only have run in a sandbox that was given up, while the session has another one by now. */
function isAstray(call: OpenCall, binding: SandboxBinding | null): boolean {
  if (binding === null || binding.sandbox_id === null || binding.ended_at === undefined) return false;
  const sequence = eventIdSequence(call.id);
  return sequence !== null && sequence < binding.ended_at;
}

const WAIT_REASON: Record<LeaseWait['reason'], string> = {
  busy: 'every pool is full or gone',
  'no answer': 'a pool does not answer',
  failed: 'a sandbox could not be made',
};

export function createToolRouter(options: ToolRouterOptions): ToolRouter {
  const { deps, lease, record, agent, context, journal, binding, drain, scope, log, report } = options;
  const enabled = enabledTools(agent.tools);
  const wantsSandbox = SANDBOX_TOOLS.some((tool) => enabled.has(tool));
  const { messaging, blobs, clock } = deps;
  const recordedKeys: Promise<void>[] = [];
  let current = binding;
  const used = () => current?.sandbox_id != null;

  let tellPool: (poolId: string | null | Promise<string | null>) => void = () => {};
  const prewarmed = new Promise<string | null>((resolve) => {
    tellPool = resolve;
  });
  let hintSent = false;

  const sandbox = createSandboxExecutor({
    messaging,
    clock,
    log,
    workspaceId: record.workspace_id,
    sessionId: record.id,
    spec: () => sandboxSpec(deps.environments, record),
    binding,
    // The primary thread has the shell that calls without a thread have: a sandbox of 0.1.0 keeps its directory and variables.
    ...(lease.threadId === primaryThreadId(record.id) ? {} : { threadId: lease.threadId }),
    async saveBinding(next, expected) {
      const written = await journal.append([], { sandbox: { value: next, expected } });
      if (!('refused' in written)) {
        current = { ...current, ...next, ...(next.sandbox_id === null ? { ended_at: lease.sequence } : {}) };
        return { saved: true };
      }
      if (written.refused.outcome !== 'bound') throw new AppError('internal', `a binding was refused: ${written.refused.outcome}`);
      current = written.refused.sandbox;
      return { saved: false, bound: current };
    },
    async currentBinding() {
      current = (await deps.log.get(record.id))?.state.sandbox ?? null;
      return current;
    },
    lastAnswerMs: (generation) => deps.writer.sandboxSilence(record.id, generation),
    onAnswer(generation) {
      deps.writer.sandboxAnswered(record.id, generation).catch((error: unknown) => log.debug({ err: error }, 'an answer was not noted'));
    },
    putBody: (name, body) => blobs.put(name, body),
    getBody: (name) => blobs.get(name),
    findSnapshot: () => findSnapshot(blobs, workspaceSnapshotPrefix(record.workspace_id, record.id)),
    files: {
      revision: () => deps.log.filesRevision(record.id),
      async list() {
        const { revision, files } = await deps.log.files(record.id);
        const blobOf = (fileId: string) => fileBlobKey(record.workspace_id, record.id, fileId);
        return { revision, files: files.map(({ mount_path, file_id }) => ({ path: mount_path, blob: blobOf(file_id) })) };
      },
    },
    prewarmed,
    onLeased: (outcome, waitedMs) => deps.metrics.sandboxWait.observe(waitedMs / 1000, { outcome }),
    onWaiting({ reason, waitedMs }) {
      report.phase(`waiting for a sandbox: ${WAIT_REASON[reason]}`);
      report.line(`waiting for a sandbox since ${Math.round(waitedMs / 1000)} s: ${WAIT_REASON[reason]}`);
    },
  });

  const client = createClientExecutor();

  function hint(): void {
    if (hintSent) return;
    hintSent = true;
    // A session that has a sandbox needs no hint; a failing environment look-up is the first call's business.
    const asking =
      wantsSandbox && !used()
        ? sandboxSpec(deps.environments, record)
            .then((spec) => sendPrewarm(messaging, { session_id: record.id, workspace_id: record.workspace_id, spec }))
            .catch(() => null)
        : null;
    tellPool(asking);
  }

  return {
    get hasSandbox() {
      return used();
    },
    hint,
    async run(call, interrupt, ended, inherited) {
      if (call.gate === 'ask' || call.gate === 'client')
        return client.execute({ key: call.id, name: call.name, input: call.input }, { signal: interrupt });
      hint();
      if (call.name === 'web_search' || call.name === 'web_fetch') {
        const web = { messaging, sessionId: record.id, tools: agent.tools, seen: context.seen };
        const work = call.name === 'web_search' ? webSearch(web, call.input) : webFetch(web, call.input);
        return unlessStopped(work, { interrupt, leave: AbortSignal.any([drain.due, ended]) });
      }
      try {
        return await sandbox.execute(
          {
            ...{ key: call.id, name: call.name, input: call.input },
            resumed: inherited && mayHaveRun(call, binding),
            astray: inherited && isAstray(call, current),
          },
          { signal: interrupt, detach: AbortSignal.any([drain.begun, ended, scope.signal]) },
        );
      } catch (error) {
        if (hasCode(error, 'drained')) return 'detached';
        throw error;
      }
    },
    recorded(call) {
      if (call.gate !== 'client' && (SANDBOX_TOOLS as readonly string[]).includes(call.name))
        recordedKeys.push(sandbox.acknowledge([call.id]));
    },
    capture: () => captureOutputs(deps, record, sandbox, log),
    async park() {
      if (!used()) return;
      await Promise.all(recordedKeys);
      await sandbox.park();
    },
    async close() {
      await Promise.all(recordedKeys);
    },
  };
}
