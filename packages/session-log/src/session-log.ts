/**
 * The gateway's side of the log. Each change is one Lua call: a request is acknowledged only when its events, the state that goes with
 * them and the dirty mark are written together (I1, I5, I6).
 */
import { AppError, type Redis } from '@manyhands/base';
import type { EventBody, SessionEvent } from '@manyhands/contract';
import { primaryThreadId, timestamp } from '@manyhands/contract';
import { decodeEntries, encodeBody, type RawEntry } from './entry.ts';
import { createEventList } from './event-list.ts';
import { dirtyMember, sessionIndexKey, sessionKeys } from './keys.ts';
import { defineScripts } from './scripts.ts';
import { createSessionIndex } from './session-index.ts';
import { initialFields } from './state.ts';
import type { SessionLog, SessionLogDeps, StoredSession } from './types.ts';

const SENT_MEMORY_SECONDS = 60;
const DELETED_READABLE_SECONDS = 60;
const PLACES_MAX = 10_000;

type Change = 'done' | 'unchanged' | 'missing' | 'archived' | 'running' | 'stale';
const CHANGE_CODES: Record<number, Change> = {
  1: 'done',
  0: 'unchanged',
  [-1]: 'missing',
  [-2]: 'archived',
  [-3]: 'running',
  [-4]: 'stale',
};

export function createSessionLog({ redis: connection, blobs, clock, ids }: SessionLogDeps): SessionLog {
  const redis = defineScripts(connection);
  const events = createEventList(redis, blobs);
  const index = createSessionIndex(redis);

  async function get(sessionId: string): Promise<StoredSession | null> {
    return (await index.load([sessionId]))[0] ?? null;
  }

  /**
   * Where sessions are that this process wrote to lately: the workspace never changes, and a head that is behind only makes the search for
   * an event id a little longer. It saves a round trip per send.
   */
  const places = new Map<string, { workspaceId: string; head: number }>();
  async function placeOf(sessionId: string): Promise<{ workspaceId: string; head: number } | null> {
    const known = places.get(sessionId);
    if (known) return known;
    const stored = await get(sessionId);
    if (!stored) return null;
    const place = { workspaceId: stored.record.workspace_id, head: stored.state.head };
    if (places.size >= PLACES_MAX) places.delete(places.keys().next().value!);
    places.set(sessionId, place);
    return place;
  }

  /** Ids minted and bodies stored for a batch; the head is what we know of the log's position. */
  async function prepare(
    workspaceId: string,
    sessionId: string,
    head: number,
    bodies: EventBody[],
  ): Promise<{ ids: string[]; flat: string[] }> {
    const minted = bodies.map(() => ids.eventId(head));
    const flat: string[] = [];
    for (const [i, body] of bodies.entries()) {
      const [field, text] = await encodeBody(blobs, workspaceId, sessionId, minted[i]!, body);
      flat.push(minted[i]!, body.type, field, text);
    }
    return { ids: minted, flat };
  }

  async function change(
    sessionId: string,
    what: 'update' | 'archive' | 'delete',
    revision: number,
    fields: string[],
    bodies: EventBody[],
    head: number,
  ): Promise<Change> {
    const keys = sessionKeys(sessionId);
    const flat = bodies.flatMap((body) => {
      const { type, ...rest } = body;
      return [ids.eventId(head), type, JSON.stringify(rest)];
    });
    const code = await redis.mhChange(
      keys.state,
      keys.log,
      keys.rec,
      keys.queue,
      clock.now(),
      what,
      revision,
      DELETED_READABLE_SECONDS,
      fields.length,
      ...fields,
      ...flat,
    );
    const result = CHANGE_CODES[code];
    if (!result) throw new AppError('internal', `${what} answered ${code}`);
    return result;
  }

  return {
    ...events,
    get,
    list: index.list,

    async create({ record, title, metadata, initialEvents }) {
      const keys = sessionKeys(record.id);
      const { flat } = await prepare(record.workspace_id, record.id, 0, initialEvents);
      const fields = initialFields(title, metadata, record.created_at_ms);
      await redis.zadd(sessionIndexKey(record.workspace_id), record.created_at_ms, record.id);
      await redis.mhCreate(
        keys.rec,
        keys.state,
        keys.log,
        keys.queue,
        keys.dirty,
        JSON.stringify(record),
        record.created_at_ms,
        dirtyMember(record.id, record.workspace_id),
        fields.length,
        ...fields,
        ...flat,
      );
      return { startsWork: initialEvents.length > 0 };
    },

    async send({ sessionId, bodies, digest, isRetry }) {
      const place = await placeOf(sessionId);
      if (!place) return { outcome: 'missing' };
      const { workspaceId } = place;
      const keys = sessionKeys(sessionId);
      const { ids: minted, flat } = await prepare(workspaceId, sessionId, place.head, bodies);
      const reply = await redis.mhSend(
        keys.state,
        keys.log,
        keys.queue,
        keys.dirty,
        keys.sent(digest),
        clock.now(),
        dirtyMember(sessionId, workspaceId),
        isRetry ? 1 : 0,
        SENT_MEMORY_SECONDS,
        ...flat,
      );
      if (reply[0] === -1) {
        places.delete(sessionId);
        return { outcome: 'missing' };
      }
      if (reply[0] === -2) return { outcome: 'archived' };
      if (reply[0] === 2) {
        const entries = await entriesAt(redis, keys.log, String(reply[1]).split(','));
        const decoded = await decodeEntries(blobs, entries);
        return { outcome: 'repeated', events: decoded.map(({ event }) => event) };
      }
      place.head = Math.max(place.head, Number(reply[2]));
      const answer: SessionEvent[] = bodies.map((body, i) => {
        const time = reply[3 + i * 2];
        return { id: minted[i]!, ...body, processed_at: time === '' || time === undefined ? null : timestamp(Number(time)) };
      });
      return { outcome: 'stored', events: answer, startsWork: reply[1] === 1 };
    },

    async update(sessionId, revision, { title, metadata }) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const fields = ['updated_at', String(clock.now())];
      if (title !== undefined) fields.push('title', JSON.stringify(title));
      if (metadata !== undefined) fields.push('metadata', JSON.stringify(metadata));
      const body: EventBody = {
        type: 'session.updated',
        ...(title === undefined ? {} : { title }),
        ...(metadata === undefined ? {} : { metadata }),
      };
      const result = await change(sessionId, 'update', revision, fields, [body], stored.state.head);
      return result === 'done' ? 'updated' : (result as 'stale' | 'missing' | 'archived');
    },

    async archive(sessionId) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const now = String(clock.now());
      const bodies: EventBody[] = [
        { type: 'session.thread_status_terminated', session_thread_id: primaryThreadId(sessionId), agent_name: stored.record.agent.name },
        { type: 'session.status_terminated' },
      ];
      const result = await change(
        sessionId,
        'archive',
        0,
        ['status', 'terminated', 'archived_at', now, 'updated_at', now],
        bodies,
        stored.state.head,
      );
      return result === 'done' || result === 'unchanged' ? 'archived' : (result as 'running' | 'missing');
    },

    async delete(sessionId) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const result = await change(sessionId, 'delete', 0, ['status', 'deleted'], [{ type: 'session.deleted' }], stored.state.head);
      if (result !== 'done') return result as 'running' | 'missing';
      await redis.zrem(sessionIndexKey(stored.record.workspace_id), sessionId);
      await blobs.deletePrefix(`${stored.record.workspace_id}/${sessionId}/`);
      return 'deleted';
    },

    async countByEnvironment(workspaceId, environmentId) {
      let count = 0;
      let batch: string[] = [];
      const flush = async () => {
        for (const session of await index.load(batch)) if (session?.record.environment_id === environmentId) count++;
        batch = [];
      };
      for await (const { id } of index.all(workspaceId)) {
        batch.push(id);
        if (batch.length === 200) await flush();
      }
      await flush();
      return count;
    },
  };
}

async function entriesAt(redis: Redis, log: string, positions: string[]): Promise<RawEntry[]> {
  const pipeline = redis.pipeline();
  for (const position of positions) pipeline.xrange(log, `${position}-0`, `${position}-0`);
  return ((await pipeline.exec()) ?? []).flatMap(([error, found]) => {
    if (error) throw error;
    return found as RawEntry[];
  });
}
