/**
 * The gateway's side of the log. Each change is one Lua call: a request is acknowledged only when its events, the state that goes with
 * them and the due marks are written together (I1, I5, I6).
 */
import { AppError, currentTrace } from '@manyhands/base';
import { type ClientEventBody, type EventBody, primaryThreadId, type SessionEvent, timestamp } from '@manyhands/contract';
import { LRUCache } from 'lru-cache';
import { BUCKETS, deletedKey, parseDeletedMember, sessionKeys } from '../keys.ts';
import { createLegacy } from '../legacy/legacy.ts';
import { answeredCall, firstAnswer, latestForm } from '../log/answers.ts';
import { eventHeader, type StoredBody, storeBody } from '../log/entry.ts';
import { createEventList } from '../log/event-list.ts';
import type { SendResult, SessionLog, SessionLogDeps } from '../log-port.ts';
import { defineScripts } from '../scripts.ts';
import { budgetFields, hashOf, LOG_FORMAT, parseRecord, parseThreadState } from '../threads/state.ts';
import type { SessionRecord, StoredSession, StoredThread, ThreadRecord } from '../types.ts';
import { createSessionFiles, filesFields } from './session-files.ts';
import { createSessionIndex } from './session-index.ts';

const SENT_MEMORY_SECONDS = 60;
const DELETED_READABLE_SECONDS = 60;
/** By then no worker writes for a deleted session any more: its lease is long over. */
const DELETED_SETTLED_MS = 60_000;
const PLACES_MAX = 10_000;
/** What tells idle: the thread's, the usage, the session's. */
const IDLE_EVENTS = 3;
const CREATION_GIVEN_UP_MS = 30_000;
/** Threads that came between a look and an archive: each round sees one more. */
const ARCHIVE_ROUNDS = 10;

type Refusal = 'unchanged' | 'missing' | 'archived' | 'running' | 'stale' | 'threads';
const REFUSALS: Record<number, Refusal> = {
  0: 'unchanged',
  [-1]: 'missing',
  [-2]: 'archived',
  [-3]: 'running',
  [-4]: 'stale',
  [-5]: 'threads',
};

interface Prepared {
  id: string;
  type: EventBody['type'];
  stored: StoredBody;
}
function listed(csv: string | number | undefined): string[] {
  return csv === undefined || csv === '' ? [] : String(csv).split(',');
}
function headerOf({ id, type, stored }: Prepared) {
  return eventHeader(id, type, stored);
}

export function createSessionLog(deps: SessionLogDeps): SessionLog {
  const { blobs, clock, ids, hourNano } = deps;
  const redis = defineScripts(deps.redis);
  const legacy = createLegacy(redis);
  const events = createEventList(redis, blobs);
  const index = createSessionIndex(redis, legacy.workspace);

  async function get(sessionId: string): Promise<StoredSession | null> {
    return (await index.load(sessionId)) ?? ((await legacy.session(sessionId)) ? index.load(sessionId) : null);
  }

  /**
   * Where sessions are that this process wrote to lately: the workspace never changes, and a sequence number that is behind only makes the
   * search for an event id a little longer. It saves a round trip per send.
   */
  const places = new LRUCache<string, { workspaceId: string; sequence: number }>({ max: PLACES_MAX });
  async function placeOf(sessionId: string): Promise<{ workspaceId: string; sequence: number } | null> {
    const known = places.get(sessionId);
    if (known) return known;
    const stored = await get(sessionId);
    if (!stored) return null;
    const place = { workspaceId: stored.record.workspace_id, sequence: stored.state.sequence };
    places.set(sessionId, place);
    return place;
  }

  /** Ids minted and bodies stored for a batch. */
  async function prepare(workspaceId: string, sessionId: string, sequence: number, bodies: EventBody[]): Promise<Prepared[]> {
    const prepared: Prepared[] = [];
    for (const body of bodies) {
      const id = ids.eventId(sequence);
      prepared.push({ id, type: body.type, stored: await storeBody(blobs, workspaceId, sessionId, id, body) });
    }
    return prepared;
  }

  interface ChangeOptions {
    what: 'update' | 'archive' | 'delete';
    fields?: Record<string, string>;
    body?: EventBody;
    record?: SessionRecord;
    threads?: { id: string; event: string }[];
  }
  async function change(
    { record, state }: StoredSession,
    { what, fields = {}, body, record: newRecord, threads = [] }: ChangeOptions,
  ): Promise<{ outcome: 'done'; wakes: string[] } | { outcome: Refusal }> {
    const keys = sessionKeys(record.id);
    const [event] = await prepare(record.workspace_id, record.id, state.sequence, body ? [body] : []);
    const header = {
      what,
      revision: String(state.revision),
      readable_seconds: DELETED_READABLE_SECONDS,
      rate: hourNano,
      fields,
      agent: newRecord !== undefined,
      threads,
      ...(event ? { event: headerOf(event) } : {}),
    };
    const [code, wakes] = await redis.mhChange(
      keys.state,
      keys.due,
      keys.deleted,
      JSON.stringify(header),
      newRecord ? JSON.stringify({ ...newRecord, format: LOG_FORMAT }) : '',
      event?.stored.text ?? '',
    );
    if (code === 1) return { outcome: 'done', wakes: listed(wakes) };
    const refusal = REFUSALS[Number(code)];
    if (!refusal) throw new AppError('internal', `${what} answered ${code}`);
    return { outcome: refusal };
  }

  async function readThreads(stored: StoredSession, wanted: string[]): Promise<StoredThread[]> {
    const [time, ...rest] = await redis.mhGetThread(sessionKeys(stored.record.id).state, ...wanted);
    return Array.from({ length: rest.length / 3 }, (_, i) => rest.slice(i * 3, i * 3 + 3)).flatMap(([id, flat, record]) => {
      const state = parseThreadState(hashOf(flat as string[]));
      if (!state) return [];
      const { agent } = record === '' ? stored.record : parseRecord<ThreadRecord>('the record of a thread', String(record));
      return [{ id: String(id), agent, state, as_of_ms: Number(time) }];
    });
  }

  /** What lies outside the session's slot, and its files. */
  async function deleteRest(workspaceId: string, sessionId: string): Promise<void> {
    await redis.del(sessionKeys(sessionId).files);
    await blobs.deletePrefix(`${workspaceId}/${sessionId}/`);
  }

  async function send(sessionId: string, bodies: ClientEventBody[], digest: string, isRetry: boolean): Promise<SendResult> {
    const place = await placeOf(sessionId);
    if (!place) return { outcome: 'missing' };
    const keys = sessionKeys(sessionId);
    let minted = place.sequence;
    let prepared = await prepare(place.workspaceId, sessionId, minted, bodies);
    /** Where the log has the answer already, by place in the request. */
    const known = new Map<number, number>();
    const answers = bodies.filter((body) => answeredCall(body) !== null).length;
    const ask = () => {
      const header = {
        is_retry: isRetry,
        remember_seconds: SENT_MEMORY_SECONDS,
        rate: hourNano,
        ids: Array.from({ length: IDLE_EVENTS * answers }, () => ids.eventId(minted)),
        minted,
        events: bodies.map((body, i) => ({
          ...headerOf(prepared[i]!),
          call: answeredCall(body) ?? undefined,
          answered_at: known.get(i),
          ...(body.type === 'user.interrupt' ? { thread: body.session_thread_id ?? '' } : {}),
        })),
        traceparent: currentTrace() ?? undefined,
      };
      return redis.mhSend(keys.state, keys.due, keys.sent(digest), JSON.stringify(header), ...prepared.map(({ stored }) => stored.text));
    };
    let reply = await ask();
    // Each round either ends or learns something: where the log is by now, or of one more answer that was given before.
    while (reply[0] === -3 || reply[0] === -6) {
      if (reply[0] === -6) {
        minted = place.sequence = Number(reply[1]);
        // Bodies that were stored keep their keys.
        prepared = prepared.map((event) => ({ ...event, id: ids.eventId(minted) }));
        reply = await ask();
        continue;
      }
      const i = Number(reply[1]);
      const body = bodies[i]!;
      const given = await firstAnswer(events, sessionId, body);
      if ('why' in given) return { outcome: 'no_such_call', index: i, call: answeredCall(body) ?? '', why: given.why };
      known.set(i, given.position);
      reply = await ask();
    }
    const [code, second, third] = reply;
    if (code === -4) return { outcome: 'waiting', index: Number(second), calls: listed(third) };
    if (code === -5) return { outcome: 'capped', index: Number(second) };
    if (code === -7) return { outcome: 'no_such_thread', index: Number(second) };
    if (code === -2) return { outcome: 'archived' };
    if (code === 2) {
      const decoded = await events.readAt(sessionId, primaryThreadId(sessionId), listed(second));
      return { outcome: 'repeated', events: decoded.map(({ event }) => event) };
    }
    if (code !== 1) {
      places.delete(sessionId);
      return { outcome: 'missing' };
    }
    const answer: SessionEvent[] = [];
    for (const [i, body] of bodies.entries()) {
      const position = Number(reply[2 + i * 2]);
      const time = reply[3 + i * 2];
      if (time === 'stored') {
        answer.push((await latestForm(events, sessionId, position)).event);
        continue;
      }
      place.sequence = Math.max(place.sequence, position);
      answer.push({ id: prepared[i]!.id, ...body, processed_at: time === '' || time === undefined ? null : timestamp(Number(time)) });
    }
    return { outcome: 'stored', events: answer, wakes: listed(second) };
  }

  return {
    ...events,
    ...createSessionFiles(redis, legacy.session),
    get,
    list: index.list,
    thread: async (stored, threadId) => (await readThreads(stored, [threadId]))[0] ?? null,
    threads: (stored) => readThreads(stored, []),

    async create({ record, title, metadata, budget, files = [], initialEvents, begunAtMs }) {
      const keys = sessionKeys(record.id);
      const prepared = await prepare(record.workspace_id, record.id, 0, initialEvents);
      // What takes an id without a session for a stray waits longer than this.
      if (clock.now() - begunAtMs > CREATION_GIVEN_UP_MS) throw new AppError('unavailable', 'creating a session took too long');
      const primary = primaryThreadId(record.id);
      const header = {
        workspace: record.workspace_id,
        agent: record.agent.id,
        agent_version: String(record.agent.version),
        primary,
        agent_name: JSON.stringify(record.agent.name),
        title: JSON.stringify(title),
        metadata: JSON.stringify(metadata),
        ...budgetFields(budget),
        files: filesFields(files),
        traceparent: currentTrace() ?? undefined,
        events: prepared.map(headerOf),
      };
      await redis.mhCreate(
        keys.state,
        keys.due,
        JSON.stringify(header),
        JSON.stringify({ ...record, format: LOG_FORMAT }),
        ...prepared.map(({ stored }) => stored.text),
      );
      return { wakes: initialEvents.length > 0 ? [primary] : [] };
    },

    async send({ sessionId, bodies, digest, isRetry }) {
      const result = await send(sessionId, bodies, digest, isRetry);
      if (result.outcome !== 'missing' || !(await legacy.session(sessionId))) return result;
      return send(sessionId, bodies, digest, isRetry);
    },

    async update(sessionId, revision, { title, metadata, agent, budget }) {
      const stored = await get(sessionId);
      if (!stored) return { outcome: 'missing' };
      const { record, state } = stored;
      if (state.revision !== revision) return { outcome: 'stale' };
      const fields: Record<string, string> = {
        ...(title === undefined ? {} : { title: JSON.stringify(title) }),
        ...(metadata === undefined ? {} : { metadata: JSON.stringify(metadata) }),
        ...(budget === undefined ? {} : budgetFields(budget)),
      };
      const body: EventBody = {
        type: 'session.updated',
        ...(title === undefined ? {} : { title }),
        // Cleared metadata is not told, as the API has it.
        ...(metadata === undefined || Object.keys(metadata).length === 0 ? {} : { metadata }),
        ...(agent === undefined ? {} : { agent }),
        ...(budget === undefined ? {} : { budget }),
      };
      const result = await change(stored, { what: 'update', fields, body, ...(agent ? { record: { ...record, agent } } : {}) });
      if (result.outcome === 'done') return { outcome: 'updated', wakes: result.wakes };
      return { outcome: result.outcome as 'stale' | 'missing' | 'archived' | 'running' };
    },

    async archive(sessionId) {
      for (let round = 0; round < ARCHIVE_ROUNDS; round++) {
        const stored = await get(sessionId);
        if (!stored) return 'missing';
        const threads = (await readThreads(stored, [])).map(({ id }) => ({ id, event: ids.eventId(stored.state.sequence) }));
        const { outcome } = await change(stored, { what: 'archive', threads, body: { type: 'session.status_terminated' } });
        if (outcome === 'done' || outcome === 'unchanged') return 'archived';
        if (outcome !== 'threads') return outcome as 'running' | 'missing';
      }
      throw new AppError('unavailable', 'threads are being made faster than the session can be archived');
    },

    async delete(sessionId) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const { outcome } = await change(stored, { what: 'delete', body: { type: 'session.deleted' } });
      if (outcome !== 'done') return outcome as 'running' | 'missing';
      await deleteRest(stored.record.workspace_id, sessionId);
      return 'deleted';
    },

    async finishDeletes(alsoEnd) {
      const [seconds] = await redis.time();
      const before = Number(seconds) * 1000 - DELETED_SETTLED_MS;
      const found = await Promise.all(
        Array.from({ length: BUCKETS }, (_, bucket) => redis.zrangebyscore(deletedKey(bucket), '-inf', before, 'LIMIT', 0, 100)),
      );
      let finished = 0;
      for (const [bucket, members] of found.entries()) {
        for (const member of members) {
          const { sessionId, workspaceId } = parseDeletedMember(member);
          await deleteRest(workspaceId, sessionId);
          await alsoEnd?.(workspaceId, sessionId);
          // Last, so that a crash leaves the member for the next call.
          await redis.zrem(deletedKey(bucket), member);
          finished++;
        }
      }
      return finished;
    },

    async existing(sessionIds) {
      const found = await Promise.all(
        sessionIds.map(async (id) => (await redis.exists(sessionKeys(id).record)) === 1 || (await legacy.isOld(id))),
      );
      return new Set(sessionIds.filter((_, i) => found[i]));
    },
  };
}
