/**
 * The gateway's side of the log. Each change is one Lua call: a request is acknowledged only when its events, the state that goes with
 * them and the dirty mark are written together (I1, I5, I6).
 */
import { AppError } from '@manyhands/base';
import type { EventBody, SessionEvent } from '@manyhands/contract';
import { primaryThreadId, timestamp } from '@manyhands/contract';
import { answeredCall, firstAnswer, latestForm } from './answers.ts';
import { encodeBody } from './entry.ts';
import { createEventList } from './event-list.ts';
import { BUCKETS, deletedKey, dirtyMember, parseDirtyMember, sessionIndexKey, sessionKeys } from './keys.ts';
import { defineScripts } from './scripts.ts';
import { createSessionFiles, filesFields } from './session-files.ts';
import { createSessionIndex } from './session-index.ts';
import { budgetFields, initialFields } from './state.ts';
import type { SessionLog, SessionLogDeps, SessionRecord, StoredSession } from './types.ts';

const SENT_MEMORY_SECONDS = 60;
const DELETED_READABLE_SECONDS = 60;
/** By then no worker writes for a deleted session any more: its lease is long over. */
const DELETED_SETTLED_MS = 60_000;
const PLACES_MAX = 10_000;
/** What tells idle: the thread's, the usage, the session's. */
const IDLE_EVENTS = 3;
const CREATION_GIVEN_UP_MS = 30_000;

type Change = 'done' | 'wants_worker' | 'unchanged' | 'missing' | 'archived' | 'running' | 'stale';
const CHANGE_CODES: Record<number, Change> = {
  2: 'wants_worker',
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
  const index = createSessionIndex(redis, clock);

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
    { record, state }: StoredSession,
    what: 'update' | 'archive' | 'delete',
    fields: string[],
    bodies: EventBody[],
    newRecord?: SessionRecord,
  ): Promise<Change> {
    const keys = sessionKeys(record.id);
    const { flat } = await prepare(record.workspace_id, record.id, state.head, bodies);
    const code = await redis.mhChange(
      keys.state,
      keys.log,
      keys.rec,
      keys.queue,
      keys.deleted,
      keys.dirty,
      keys.types,
      clock.now(),
      what,
      state.revision,
      DELETED_READABLE_SECONDS,
      dirtyMember(record.id, record.workspace_id),
      newRecord ? JSON.stringify(newRecord) : '',
      fields.length,
      ...fields,
      ...flat,
    );
    const result = CHANGE_CODES[code];
    if (!result) throw new AppError('internal', `${what} answered ${code}`);
    return result;
  }

  /** What lies outside the session's bucket. */
  async function deleteRest(workspaceId: string, sessionId: string): Promise<void> {
    await redis.zrem(sessionIndexKey(workspaceId), sessionId);
    await redis.del(sessionKeys(sessionId).files);
    await blobs.deletePrefix(`${workspaceId}/${sessionId}/`);
  }

  return {
    ...events,
    ...createSessionFiles(redis, clock),
    get,
    list: index.list,

    async create({ record, title, metadata, budget, files = [], initialEvents }) {
      const keys = sessionKeys(record.id);
      const { flat } = await prepare(record.workspace_id, record.id, 0, initialEvents);
      const fields = initialFields(title, metadata, budget, record.created_at_ms);
      // What takes an id without a session for a stray waits longer than this.
      if (clock.now() - record.created_at_ms > CREATION_GIVEN_UP_MS) throw new AppError('unavailable', 'creating a session took too long');
      await redis.zadd(sessionIndexKey(record.workspace_id), record.created_at_ms, record.id);
      await redis.mhCreate(
        keys.rec,
        keys.state,
        keys.log,
        keys.queue,
        keys.dirty,
        keys.files,
        keys.types,
        JSON.stringify(record),
        record.created_at_ms,
        dirtyMember(record.id, record.workspace_id),
        ...counted(filesFields(files)),
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
      let mintedAt = place.head;
      let { ids: minted, flat } = await prepare(workspaceId, sessionId, mintedAt, bodies);
      /** Where the log has the answer already, by place in the request. */
      const known = new Map<number, number>();
      const ask = () =>
        redis.mhSend(
          keys.state,
          keys.log,
          keys.queue,
          keys.dirty,
          keys.sent(digest),
          keys.types,
          clock.now(),
          dirtyMember(sessionId, workspaceId),
          isRetry ? 1 : 0,
          SENT_MEMORY_SECONDS,
          Array.from({ length: IDLE_EVENTS }, () => ids.eventId(mintedAt)).join(),
          mintedAt,
          ...bodies.flatMap((body, i) => [...flat.slice(i * 4, i * 4 + 4), answeredCall(body) ?? '', known.get(i) ?? '']),
        );
      let reply = await ask();
      // Each round either ends or learns something: where the log is by now, or of one more answer that was given before.
      while (reply[0] === -3 || reply[0] === -6) {
        if (reply[0] === -6) {
          mintedAt = place.head = Number(reply[1]);
          minted = bodies.map(() => ids.eventId(mintedAt));
          // Bodies that were stored keep their keys.
          flat = flat.map((value, i) => (i % 4 === 0 ? minted[i / 4]! : value));
          reply = await ask();
          continue;
        }
        const index = Number(reply[1]);
        const body = bodies[index]!;
        const given = await firstAnswer(events.read, sessionId, body);
        if ('why' in given) return { outcome: 'no_such_call', index, call: answeredCall(body) ?? '', why: given.why };
        known.set(index, given.position);
        reply = await ask();
      }
      if (reply[0] === -4) return { outcome: 'waiting', index: Number(reply[1]), calls: String(reply[2]).split(',') };
      if (reply[0] === -5) return { outcome: 'capped', index: Number(reply[1]) };
      if (reply[0] === -1) {
        places.delete(sessionId);
        return { outcome: 'missing' };
      }
      if (reply[0] === -2) return { outcome: 'archived' };
      if (reply[0] === 2) {
        const decoded = await events.readAt(sessionId, String(reply[1]).split(','));
        return { outcome: 'repeated', events: decoded.map(({ event }) => event) };
      }
      const answer: SessionEvent[] = [];
      for (const [i, body] of bodies.entries()) {
        const position = Number(reply[2 + i * 2]);
        const time = reply[3 + i * 2];
        if (time === 'stored') {
          answer.push((await latestForm(events.read, sessionId, position)).event);
          continue;
        }
        place.head = Math.max(place.head, position);
        answer.push({ id: minted[i]!, ...body, processed_at: time === '' || time === undefined ? null : timestamp(Number(time)) });
      }
      return { outcome: 'stored', events: answer, startsWork: reply[1] === 1 };
    },

    async update(sessionId, revision, { title, metadata, agent, budget }) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const { record, state } = stored;
      if (state.revision !== revision) return 'stale';
      const fields = ['updated_at', String(clock.now())];
      if (title !== undefined) fields.push('title', JSON.stringify(title));
      if (metadata !== undefined) fields.push('metadata', JSON.stringify(metadata));
      if (budget !== undefined) fields.push(...Object.entries(budgetFields(budget)).flat());
      const body: EventBody = {
        type: 'session.updated',
        ...(title === undefined ? {} : { title }),
        // Cleared metadata is not told, as the API has it.
        ...(metadata === undefined || Object.keys(metadata).length === 0 ? {} : { metadata }),
        ...(agent === undefined ? {} : { agent }),
        ...(budget === undefined ? {} : { budget }),
      };
      const result = await change(stored, 'update', fields, [body], agent && { ...record, agent });
      return result === 'done' ? 'updated' : (result as 'wants_worker' | 'stale' | 'missing' | 'archived' | 'running');
    },

    async archive(sessionId) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const now = String(clock.now());
      const bodies: EventBody[] = [
        { type: 'session.thread_status_terminated', session_thread_id: primaryThreadId(sessionId), agent_name: stored.record.agent.name },
        { type: 'session.status_terminated' },
      ];
      const result = await change(stored, 'archive', ['status', 'terminated', 'archived_at', now, 'updated_at', now], bodies);
      return result === 'done' || result === 'unchanged' ? 'archived' : (result as 'running' | 'missing');
    },

    async delete(sessionId) {
      const stored = await get(sessionId);
      if (!stored) return 'missing';
      const result = await change(stored, 'delete', ['status', 'deleted'], [{ type: 'session.deleted' }]);
      if (result !== 'done') return result as 'running' | 'missing';
      await deleteRest(stored.record.workspace_id, sessionId);
      return 'deleted';
    },

    async finishDeletes(alsoEnd) {
      const before = clock.now() - DELETED_SETTLED_MS;
      const pipeline = redis.pipeline();
      for (let bucket = 0; bucket < BUCKETS; bucket++) pipeline.zrangebyscore(deletedKey(bucket), '-inf', before);
      const found = (await pipeline.exec()) ?? [];
      let finished = 0;
      for (const [bucket, [error, members]] of found.entries()) {
        if (error) throw error;
        for (const member of members as string[]) {
          const { sessionId, workspaceId } = parseDirtyMember(member);
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
      const pipeline = redis.pipeline();
      for (const id of sessionIds) pipeline.exists(sessionKeys(id).rec);
      const found = (await pipeline.exec()) ?? [];
      return new Set(
        sessionIds.filter((_, i) => {
          const [error, exists] = found[i] ?? [null, 0];
          if (error) throw error;
          return exists === 1;
        }),
      );
    },
  };
}

function counted(values: string[]): (string | number)[] {
  return [values.length, ...values];
}
