/**
 * Sessions of 0.1.0. Each is put into this version's format at first touch, in one script call; a session that nobody touches stays as it is.
 * Processes of 0.1.0 are stopped before the first of this version starts, so nothing changes the old keys meanwhile (I16).
 *
 * What 0.1.0 kept is listed in `keys.ts`. A session had one thread, so positions in its log are sequence numbers of this version.
 */
import { primaryThreadId, type SessionStatus } from '@manyhands/contract';
import { BUCKETS, bucketOf, oldDirtyKey, oldPrefix, oldWorkspaceKey, parseDeletedMember, sessionKeys } from '../keys.ts';
import { entryHead, type RawEntry } from '../log/entry.ts';
import type { ScriptedRedis } from '../scripts.ts';
import { LOG_FORMAT } from '../threads/state.ts';
import type { SandboxBinding, SessionRecord, UsageTotals } from '../types.ts';

const WORKSPACE_CHUNK = 200;
const DIRTY_CHUNK = 500;
const ATTEMPTS = 10;

export interface Legacy {
  /** Sees to it that a session of 0.1.0 is in this version's format. True if there is such a session, now in it. */
  session(sessionId: string): Promise<boolean>;
  /** Whether it is one of 0.1.0 that nobody touched yet. */
  isOld(sessionId: string): Promise<boolean>;
  /** The same for all sessions of a workspace, before it is listed for the first time. */
  workspace(workspaceId: string): Promise<void>;
  /** The same for all sessions that have work. Called once, when an installation of 0.1.0 is first opened by this version. */
  work(): Promise<number>;
}

export function createLegacy(redis: ScriptedRedis): Legacy {
  /** Workspaces that have no sessions of 0.1.0 left: none ever comes back. */
  const listed = new Set<string>();

  async function tryMigrate(sessionId: string): Promise<'done' | 'missing' | 'changed'> {
    const prefix = oldPrefix(sessionId);
    const [state, recordText] = await Promise.all([redis.hgetall(`${prefix}state`), redis.get(`${prefix}rec`)]);
    if (state['seq'] === undefined || recordText === null) return 'missing';
    const record = JSON.parse(recordText) as SessionRecord & { created_at_ms: number };
    const keys = sessionKeys(sessionId);
    const header = {
      old: prefix,
      old_dirty: [oldDirtyKey(bucketOf(sessionId)), `${sessionId}|${record.workspace_id}`],
      sequence: state['seq'],
      session: sessionFields(record, state, await toldOf(`${prefix}log`, state)),
      thread: threadFields(record, state),
      calls: await callsOf(sessionId, `${prefix}log`, state),
    };
    const code = await redis.mhMigrate(keys.state, keys.due, JSON.stringify(header));
    return code === 1 || code === 0 ? 'done' : code === -2 ? 'changed' : 'missing';
  }

  /** The last status that streams were told: what is queued and not taken up yet was not told as running. */
  async function toldOf(log: string, state: Record<string, string>): Promise<SessionStatus> {
    if (state['status'] === 'idle' || state['status'] === 'terminated') return 'idle';
    const types: Record<string, SessionStatus> = {
      'session.status_running': 'running',
      'session.status_idle': 'idle',
      'session.status_rescheduled': 'rescheduling',
    };
    let high = '+';
    for (;;) {
      const chunk: RawEntry[] = await redis.xrevrange(log, high, '-', 'COUNT', DIRTY_CHUNK);
      for (const raw of chunk) {
        const told = types[entryHead(raw).type];
        if (told) return told;
      }
      const last = chunk.at(-1);
      if (!last || chunk.length < DIRTY_CHUNK) return 'idle';
      high = `(${last[0]}`;
    }
  }

  /** Calls that wait for the client, with their place in the log. */
  async function callsOf(sessionId: string, log: string, state: Record<string, string>): Promise<string[]> {
    const waiting = new Map(Object.entries(state).flatMap(([name, kind]) => (name.startsWith('call:') ? [[name.slice(5), kind]] : [])));
    const fields: string[] = [];
    let high = '+';
    while (waiting.size > 0) {
      const chunk: RawEntry[] = await redis.xrevrange(log, high, '-', 'COUNT', DIRTY_CHUNK);
      for (const raw of chunk) {
        const { id, position } = entryHead(raw);
        const kind = waiting.get(id);
        if (kind === undefined) continue;
        waiting.delete(id);
        fields.push(id, `${kind} ${primaryThreadId(sessionId)} ${position}`);
      }
      const last = chunk.at(-1);
      if (!last || chunk.length < DIRTY_CHUNK) break;
      high = `(${last[0]}`;
    }
    return fields;
  }

  async function session(sessionId: string): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const outcome = await tryMigrate(sessionId);
      if (outcome === 'done') return true;
      // Another process may have done it between our look and now.
      if (outcome === 'missing') return (await redis.exists(sessionKeys(sessionId).state)) === 1;
    }
    return false;
  }

  return {
    session,
    isOld: async (sessionId) => (await redis.exists(`${oldPrefix(sessionId)}rec`)) === 1,
    async workspace(workspaceId) {
      if (listed.has(workspaceId)) return;
      const key = oldWorkspaceKey(workspaceId);
      for (;;) {
        const ids = await redis.zrange(key, '0', String(WORKSPACE_CHUNK - 1));
        if (ids.length === 0) break;
        await Promise.all(ids.map(session));
        await redis.zrem(key, ...ids);
      }
      listed.add(workspaceId);
    },
    async work() {
      let found = 0;
      for (let bucket = 0; bucket < BUCKETS; bucket++) {
        for (;;) {
          const members = await redis.zrange(oldDirtyKey(bucket), '0', String(DIRTY_CHUNK - 1));
          if (members.length === 0) break;
          await Promise.all(members.map((member) => session(parseDeletedMember(member).sessionId)));
          // What is not there any more leaves no mark.
          await redis.zrem(oldDirtyKey(bucket), ...members);
          found += members.length;
        }
      }
      return found;
    },
  };
}

function usageFields(state: Record<string, string>): Record<string, string> {
  const usage = state['usage'] ? (JSON.parse(state['usage']) as UsageTotals) : null;
  const { list_cost_nano = 0, ...counts } = usage ?? {};
  return {
    ...Object.fromEntries(Object.entries(counts).map(([name, count]) => [`usage_${name}`, String(count)])),
    usage_list_cost: String(list_cost_nano ?? 0),
    ...(list_cost_nano === null ? { unpriced: '1' } : {}),
  };
}

function sessionFields(record: SessionRecord & { created_at_ms: number }, state: Record<string, string>, told: SessionStatus) {
  const sandbox = state['sandbox'] ? (JSON.parse(state['sandbox']) as SandboxBinding) : null;
  const working = state['status'] === 'running' || state['status'] === 'rescheduling';
  return {
    format: String(LOG_FORMAT),
    sequence: state['seq'] ?? '0',
    status: state['status'] ?? 'idle',
    told,
    primary: primaryThreadId(record.id),
    workspace: record.workspace_id,
    agent: record.agent.id,
    agent_version: String(record.agent.version),
    created_at: String(record.created_at_ms),
    updated_at: state['updated_at'] ?? '',
    archived_at: state['archived_at'] ?? '',
    title: state['title'] ?? 'null',
    metadata: state['metadata'] ?? '{}',
    budget: state['budget'] ?? '',
    budget_cap: state['cap'] ?? '',
    revision: state['rev'] ?? '0',
    processed_at: state['pa'] ?? '0',
    active_ms: state['active_ms'] ?? '0',
    running_since: state['running_since'] ?? '',
    running: working ? '1' : '0',
    rescheduling: state['status'] === 'rescheduling' ? '1' : '0',
    ...usageFields(state),
    ...(sandbox
      ? {
          sandbox_generation: String(sandbox.generation),
          sandbox_id: sandbox.sandbox_id ?? '',
          sandbox_pool: sandbox.pool_id ?? '',
          sandbox_ended_at: sandbox.ended_at === undefined ? '' : String(sandbox.ended_at),
        }
      : {}),
  };
}

function threadFields(record: SessionRecord & { created_at_ms: number }, state: Record<string, string>) {
  const checkpoint = state['checkpoint'] ? (JSON.parse(state['checkpoint']) as { position: number; blob: string }) : null;
  const head = state['seq'] ?? '0';
  return {
    format: String(LOG_FORMAT),
    status: state['status'] ?? 'idle',
    agent_name: JSON.stringify(record.agent.name),
    head,
    last_own: head,
    epoch: state['epoch'] ?? '0',
    append: '0',
    // Who held it ended without giving the lease back: whoever comes next recovers the turn.
    ...(state['open'] === '1' ? { lease_worker: 'of 0.1.0', lease_until: '0' } : {}),
    created_at: String(record.created_at_ms),
    updated_at: state['updated_at'] ?? '',
    archived_at: state['archived_at'] ?? '',
    awaiting: state['parked'] === '1' ? '1' : '',
    open_calls: state['unanswered'] ?? '0',
    capped: state['capped'] ?? '',
    ...usageFields(state),
    failures: state['failures'] ?? '0',
    recoveries: state['takeovers'] ?? '0',
    running_since: state['running_since'] ?? '',
    active_ms: state['active_ms'] ?? '0',
    uncheckpointed: String(Number(head) - (checkpoint?.position ?? 0)),
    ...(checkpoint ? { checkpoint: checkpoint.blob, checkpoint_position: String(checkpoint.position) } : {}),
  };
}
