/** The session and thread resources as the API shows them, from what is stored. */
import { type FileResource, primaryThreadId, type Session, type SessionThread, timestamp } from '@manyhands/contract';
import type { SessionFile, StoredSession } from './types.ts';
import { activeMs, type RuntimeCost, usageReport } from './usage.ts';

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms) / 1000);
}
function stats({ record, state }: StoredSession, nowMs: number) {
  const endedAtMs = state.archived_at_ms ?? (state.status === 'terminated' ? state.updated_at_ms : nowMs);
  return {
    active_seconds: seconds(activeMs(state, nowMs)),
    duration_seconds: seconds(endedAtMs - record.created_at_ms),
  };
}

export function toFileResource({ id, file_id, mount_path, created_at_ms }: SessionFile): FileResource {
  const created_at = timestamp(created_at_ms);
  return { type: 'file', id, file_id, mount_path, created_at, updated_at: created_at };
}

export function toSession(stored: StoredSession, nowMs: number, runtimeCost: RuntimeCost): Session {
  const { record, state } = stored;
  return {
    type: 'session',
    id: record.id,
    status: state.status,
    title: state.title,
    agent: record.agent,
    environment_id: record.environment_id,
    vault_ids: [],
    resources: stored.files.map(toFileResource),
    outcome_evaluations: [],
    stats: stats(stored, nowMs),
    usage: usageReport(state.usage, activeMs(state, nowMs), runtimeCost),
    budget: state.budget,
    metadata: state.metadata,
    deployment_id: null,
    created_at: timestamp(record.created_at_ms),
    updated_at: timestamp(state.updated_at_ms),
    archived_at: state.archived_at_ms === null ? null : timestamp(state.archived_at_ms),
  };
}

/** A single-agent session has one thread, the primary one; it shares the session's life. */
export function toThread(stored: StoredSession, nowMs: number): SessionThread {
  const session = toSession(stored, nowMs, () => 0);
  const { multiagent: _multiagent, ...agent } = session.agent;
  return {
    type: 'session_thread',
    id: primaryThreadId(session.id),
    session_id: session.id,
    parent_thread_id: null,
    agent,
    status: session.status,
    workflow_run_id: null,
    stats: { ...session.stats, startup_seconds: 0 },
    usage: session.usage,
    created_at: session.created_at,
    updated_at: session.updated_at,
    archived_at: session.archived_at,
  };
}
