/** The session and thread resources as the API shows them, from what is stored. Times are those of Redis' clock. */
import { type FileResource, type Session, type SessionStatus, type SessionThread, timestamp } from '@manyhands/contract';
import type { SessionFile, StoredSession, StoredThread } from '../types.ts';
import { activeMs, type RuntimeCost, usageReport } from './usage.ts';

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms) / 1000);
}
interface Life {
  status: SessionStatus;
  created_at_ms: number;
  updated_at_ms: number;
  archived_at_ms: number | null;
  active_ms: number;
  running_since_ms: number | null;
}
function stats(life: Life, nowMs: number) {
  const endedAtMs = life.archived_at_ms ?? (life.status === 'terminated' ? life.updated_at_ms : nowMs);
  return { active_seconds: seconds(activeMs(life, nowMs)), duration_seconds: seconds(endedAtMs - life.created_at_ms) };
}
function times({ created_at_ms, updated_at_ms, archived_at_ms }: Life) {
  return {
    created_at: timestamp(created_at_ms),
    updated_at: timestamp(updated_at_ms),
    archived_at: archived_at_ms === null ? null : timestamp(archived_at_ms),
  };
}

export function toFileResource({ id, file_id, mount_path, created_at_ms }: SessionFile): FileResource {
  const created_at = timestamp(created_at_ms);
  return { type: 'file', id, file_id, mount_path, created_at, updated_at: created_at };
}

export function toSession({ record, state, files, as_of_ms }: StoredSession, runtimeCost: RuntimeCost): Session {
  return {
    type: 'session',
    id: record.id,
    status: state.status,
    title: state.title,
    agent: record.agent,
    environment_id: record.environment_id,
    vault_ids: [],
    resources: files.map(toFileResource),
    outcome_evaluations: [],
    stats: stats(state, as_of_ms),
    usage: usageReport(state.usage, activeMs(state, as_of_ms), runtimeCost),
    budget: state.budget,
    metadata: state.metadata,
    deployment_id: null,
    ...times(state),
  };
}

/** Running time costs the session, not a thread. */
export function toThread(sessionId: string, { id, agent, state, as_of_ms }: StoredThread): SessionThread {
  const { multiagent: _multiagent, ...shown } = agent;
  return {
    type: 'session_thread',
    id,
    session_id: sessionId,
    parent_thread_id: state.parent_thread_id,
    agent: shown,
    status: state.status,
    workflow_run_id: null,
    stats: { ...stats(state, as_of_ms), startup_seconds: 0 },
    usage: usageReport(state.usage, activeMs(state, as_of_ms), () => 0),
    ...times(state),
  };
}
