/** The session and thread resources as the API shows them, from what is stored. */
import { primaryThreadId, type Session, type SessionThread, timestamp } from '@manyhands/contract';
import type { StoredSession } from './types.ts';

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms) / 1000);
}
function stats({ record, state }: StoredSession, nowMs: number) {
  const running = state.running_since_ms === null ? 0 : nowMs - state.running_since_ms;
  return {
    active_seconds: seconds(state.active_ms + running),
    duration_seconds: seconds((state.archived_at_ms ?? nowMs) - record.created_at_ms),
  };
}

export function toSession(stored: StoredSession, nowMs: number): Session {
  const { record, state } = stored;
  const { active_seconds, duration_seconds } = stats(stored, nowMs);
  return {
    type: 'session',
    id: record.id,
    status: state.status,
    title: state.title,
    agent: record.agent,
    environment_id: record.environment_id,
    vault_ids: [],
    resources: [],
    outcome_evaluations: [],
    stats: { active_seconds, duration_seconds },
    usage: { ...state.usage, active_seconds },
    budget: null,
    metadata: state.metadata,
    deployment_id: null,
    created_at: timestamp(record.created_at_ms),
    updated_at: timestamp(state.updated_at_ms),
    archived_at: state.archived_at_ms === null ? null : timestamp(state.archived_at_ms),
  };
}

/** A single-agent session has one thread, the primary one; it shares the session's life. */
export function toThread(stored: StoredSession, nowMs: number): SessionThread {
  const session = toSession(stored, nowMs);
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
