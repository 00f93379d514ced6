/**
 * Where a call goes: to the session's sandbox, or to a tool that runs on the server. A sandbox is hinted for as soon as the turn starts
 * and demanded by the first call only; the model never waits for it (I8).
 */
import { AppError, hasCode, type Logger } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { enabledTools, SANDBOX_TOOLS, type SandboxSpec, type ToolOutcome, workspaceSnapshotKey } from '@manyhands/contract';
import { createSandboxHand, sendHint } from '@manyhands/hands';
import type { SandboxBinding, SessionRecord } from '@manyhands/session-log';
import type { EnvironmentStore } from '@manyhands/store';
import type { OpenCall } from './context.ts';
import { appendAll, type Journal } from './journal.ts';
import type { HarnessDeps } from './turn.ts';
import { webFetch, webSearch } from './web-tools.ts';

export interface ToolRouter {
  /** Tells a pool that a sandbox will probably be wanted; once, and after the model was asked. */
  hint(): void;
  /** Runs a call; 'detached' when the worker has to leave and the call runs on without it. */
  run(call: OpenCall, interrupt: AbortSignal, inherited: boolean): Promise<ToolOutcome | 'detached'>;
  /** The result is in the log. */
  recorded(call: OpenCall): void;
  /** The session is idle. */
  park(): Promise<void>;
  close(): Promise<void>;
}

export interface ToolRouterOptions {
  deps: HarnessDeps;
  record: SessionRecord;
  journal: Journal;
  binding: SandboxBinding | null;
  drain: AbortSignal;
  lost: AbortSignal;
  log: Logger;
  onWaiting: (text: string) => void;
}

/** What a session's sandbox has to be. Environments are not deleted while a session refers to them. */
export async function sandboxSpec(environments: EnvironmentStore, record: SessionRecord): Promise<SandboxSpec> {
  const environment = await environments.get(record.workspace_id, record.environment_id);
  if (!environment) throw new AppError('internal', `environment ${record.environment_id} of the session is gone`);
  return { environment_id: environment.id, networking: environment.config.networking };
}

async function findSnapshot(blobs: BlobStore, key: string): Promise<string | null> {
  for await (const found of blobs.list(key)) if (found === key) return key;
  return null;
}

/** A fetch changes nothing, so an interrupt need not wait for it. */
function unlessInterrupted(work: Promise<ToolOutcome>, interrupt: AbortSignal): Promise<ToolOutcome> {
  return new Promise((resolve, reject) => {
    const text = 'Tool execution was interrupted before completion. Please retry.';
    const stop = () => resolve({ is_error: true, content: [{ type: 'text', text }] });
    if (interrupt.aborted) stop();
    interrupt.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => interrupt.removeEventListener('abort', stop));
  });
}

export function createToolRouter({ deps, record, journal, binding, drain, lost, log, onWaiting }: ToolRouterOptions): ToolRouter {
  const enabled = enabledTools(record.agent.tools);
  const wantsSandbox = SANDBOX_TOOLS.some((tool) => enabled.has(tool));
  const { messaging, blobs, clock } = deps;
  const key = workspaceSnapshotKey(record.workspace_id, record.id);
  const leave = AbortSignal.any([drain, lost]);
  const recordedKeys: Promise<void>[] = [];
  let used = binding?.sandbox_id != null;

  let tellPool: (poolId: string | null | Promise<string | null>) => void = () => {};
  const hinted = new Promise<string | null>((resolve) => {
    tellPool = resolve;
  });
  let hintSent = false;

  const hand = createSandboxHand({
    messaging,
    clock,
    log,
    workspaceId: record.workspace_id,
    sessionId: record.id,
    spec: () => sandboxSpec(deps.environments, record),
    binding,
    async saveBinding(next) {
      await appendAll(journal, [], { state: { sandbox: next } });
      used = next.sandbox_id !== null;
    },
    putBody: (name, body) => blobs.put(name, body),
    getBody: (name) => blobs.get(name),
    findSnapshot: () => findSnapshot(blobs, key),
    hinted,
    onWaiting: (wait) => onWaiting(`waiting for a sandbox: ${JSON.stringify(wait)}`),
  });

  function hint(): void {
    if (hintSent) return;
    hintSent = true;
    // A session that has a sandbox needs no hint; a failing environment look-up is the first call's business.
    const asking =
      wantsSandbox && !used
        ? sandboxSpec(deps.environments, record)
            .then((spec) => sendHint(messaging, { session_id: record.id, workspace_id: record.workspace_id, spec }))
            .catch(() => null)
        : null;
    tellPool(asking);
  }

  return {
    hint,
    async run(call, interrupt, inherited) {
      hint();
      if (call.name === 'web_search') return webSearch();
      if (call.name === 'web_fetch') return unlessInterrupted(webFetch(messaging, record.id, call.input), interrupt);
      try {
        return await hand.execute(
          { key: call.id, name: call.name, input: call.input, resumed: inherited },
          { signal: interrupt, detach: leave },
        );
      } catch (error) {
        if (hasCode(error, 'drained')) return 'detached';
        throw error;
      }
    },
    recorded(call) {
      if ((SANDBOX_TOOLS as readonly string[]).includes(call.name)) recordedKeys.push(hand.acknowledge([call.id]));
    },
    async park() {
      if (!used) return;
      await Promise.all(recordedKeys);
      await hand.park(key);
    },
    async close() {
      await Promise.all(recordedKeys);
    },
  };
}
