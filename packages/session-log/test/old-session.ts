/** Sessions as 0.1.0 stored them, made by hand: its keys, state fields and entries. */
import { randomIds } from '@manyhands/base';
import { type EventBody, primaryThreadId } from '@manyhands/contract';
import { bucketOf, oldDirtyKey, oldPrefix, oldWorkspaceKey } from '../src/keys.ts';
import { TYPE_BITS } from '../src/log/type-index.ts';
import { AGENT, type LogFixture, WORKSPACE } from './log-fixture.ts';

/** When the first of its events happened; each later one a second after the one before. */
export const OLD_MS = Date.parse('2026-05-01T12:00:00Z');

/** An entry: an event, an event that waits, or the processed form of what waits at a position. */
export type OldEntry =
  | { event: EventBody; id?: string; hidden?: object; blob?: string }
  | { queued: EventBody; id?: string }
  | { stamp: number };

export interface OldSession {
  id: string;
  threadId: string;
  /** Ids of the entries, by position. */
  ids: string[];
}

export interface OldOptions {
  workspaceId?: string;
  agentId?: string;
  createdAtMs?: number;
  entries?: OldEntry[];
  /** Fields of its state, beside what follows from the entries. */
  state?: Record<string, string | number>;
  /** Marked as having work, to be looked at from then on. */
  dirtyMs?: number;
  files?: { id: string; file_id: string; mount_path: string; created_at_ms: number }[];
  /** As a worker that was killed left it. */
  leased?: boolean;
}

const USAGE = {
  input_tokens: 10,
  output_tokens: 20,
  cache_read_input_tokens: 30,
  cache_creation_5m: 40,
  cache_creation_1h: 0,
  web_search_requests: 0,
  web_fetch_requests: 0,
  list_cost_nano: 5_000_000,
};

export async function makeOldSession({ redis }: Pick<LogFixture, 'redis'>, options: OldOptions = {}): Promise<OldSession> {
  const { workspaceId = WORKSPACE, agentId = AGENT.id, createdAtMs = OLD_MS, entries = [], state = {}, files = [] } = options;
  const id = randomIds.id('session');
  const key = (name: string) => oldPrefix(id) + name;
  const record = {
    id,
    workspace_id: workspaceId,
    agent: { ...AGENT, id: agentId },
    environment_id: 'env_test',
    created_at_ms: createdAtMs,
  };
  const ids: string[] = [];
  const queue = new Set<number>();
  const pipeline = redis.pipeline();
  const bodies: EventBody[] = [];
  for (const [i, entry] of entries.entries()) {
    const position = i + 1;
    const of = 'stamp' in entry ? entry.stamp : position;
    const body = 'stamp' in entry ? bodies[entry.stamp - 1]! : 'event' in entry ? entry.event : entry.queued;
    const eventId = 'stamp' in entry ? ids[entry.stamp - 1]! : (entry.id ?? randomIds.eventId(i));
    bodies.push(body);
    ids.push(eventId);
    const waits = 'queued' in entry;
    if (waits) queue.add(position);
    queue.delete('stamp' in entry ? of : 0);
    const { type, ...rest } = body;
    const blob = 'event' in entry ? entry.blob : undefined;
    pipeline.xadd(
      key('log'),
      `${position}-0`,
      ...['i', eventId, 't', type, 'k', waits ? 'q' : 'e', 'p', waits ? '' : `${timeOf(position)}`],
      ...(blob === undefined ? ['b', JSON.stringify(rest)] : ['r', blob]),
      ...['x', 'event' in entry && entry.hidden ? JSON.stringify(entry.hidden) : '', 'a', 'stamp' in entry ? `${of}` : ''],
    );
    const segment = Math.floor(i / 128) * 64;
    if (i % 128 === 0) pipeline.setbit(key('types'), segment, 1);
    if (!waits) pipeline.setbit(key('types'), segment + TYPE_BITS[type], 1);
  }
  const fields = {
    seq: entries.length,
    status: 'idle',
    epoch: 3,
    n: 2,
    res: '',
    pa: timeOf(entries.length),
    rev: 0,
    title: '"old"',
    metadata: '{"kept":"yes"}',
    updated_at: timeOf(entries.length),
    archived_at: '',
    usage: JSON.stringify(USAGE),
    budget: '',
    cap: '',
    spent: 5_000_000,
    capped: '',
    active_ms: 2_500,
    running_since: '',
    checkpoint: '',
    sandbox: '',
    takeovers: 0,
    failures: 0,
    open: options.leased ? 1 : 0,
    ...state,
  };
  pipeline.hset(key('state'), fields);
  pipeline.set(key('rec'), JSON.stringify(record));
  if (queue.size > 0) pipeline.rpush(key('queue'), ...queue);
  if (files.length > 0) pipeline.hset(key('files'), '#', files.length, ...files.flatMap((file) => [file.id, JSON.stringify(file)]));
  if (options.leased) pipeline.set(key('lease'), 'worker-1', 'PX', 5_000);
  if (options.dirtyMs !== undefined) pipeline.zadd(oldDirtyKey(bucketOf(id)), options.dirtyMs, `${id}|${workspaceId}`);
  for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
  // Another slot, as it was.
  await redis.zadd(oldWorkspaceKey(workspaceId), createdAtMs, id);
  return { id, threadId: primaryThreadId(id), ids };
}

function timeOf(position: number): number {
  return OLD_MS + position * 1_000;
}

export const say = (text: string): EventBody => ({ type: 'user.message', content: [{ type: 'text', text }] });
export const said = (text: string): EventBody => ({ type: 'agent.message', content: [{ type: 'text', text }] });
const stop = (stop_reason: Extract<EventBody, { type: 'session.status_idle' }>['stop_reason']): OldEntry[] => [
  { event: { type: 'session.thread_status_idle', session_thread_id: 'sthr_old', agent_name: AGENT.name, stop_reason, stop_details: null } },
  { event: { type: 'session.status_idle', stop_reason, stop_details: null } },
];
/** A turn that was answered. */
export const TURN: OldEntry[] = [
  { queued: say('hello') },
  { event: { type: 'session.status_running' } },
  { stamp: 1 },
  { event: said('hi'), hidden: { model: 'm' } },
  ...stop({ type: 'end_turn' }),
];
/** Two calls of custom tools, the first of which is answered; a third that was not asked for. Calls are at 3, 4 and 5. */
export function awaitingEntries(asked: string, open: string): OldEntry[] {
  const use = (name: string): EventBody => ({ type: 'agent.custom_tool_use', name, input: {} });
  return [
    { queued: say('look it up') },
    { stamp: 1 },
    { event: use('one'), id: asked },
    { event: use('two'), id: open },
    ...stop({ type: 'requires_action', event_ids: [asked, open] }),
    { event: { type: 'user.custom_tool_result', custom_tool_use_id: asked, content: [{ type: 'text', text: 'one' }] } },
    ...stop({ type: 'requires_action', event_ids: [open] }),
  ];
}
export const AWAITING = (open: string) => ({ parked: 1, unanswered: 1, [`call:${open}`]: 'custom', parked_at: '9 0' });
export const CAP = { type: 'limit', max_list_cost: { amount: '1', currency: 'USD' } } as const;
export const CAPPED = {
  budget: JSON.stringify(CAP),
  cap: 10_000_000,
  spent: 11_000_000,
  capped: 1,
  usage: JSON.stringify({ ...USAGE, list_cost_nano: 11_000_000 }),
};
