/**
 * Listing sessions of a workspace: a sorted set of ids by creation time, filtered by what the records say. An id is added before its
 * session is created, so a crash in between leaves a member without a record; lists skip it, and drop it once it is old.
 *
 * A page goes on from a member, never from a count: what is created or deleted meanwhile moves nothing (CONTRACT 0.4).
 */
import { type Clock, decodeCursor, encodeCursor, invalidRequest, type Redis } from '@manyhands/base';
import { z } from 'zod';
import { sessionIndexKey, sessionKeys } from './keys.ts';
import { parseFiles } from './session-files.ts';
import { parseState } from './state.ts';
import type { SessionPage, SessionQuery, SessionRecord, StoredSession } from './types.ts';

const CHUNK = 100;
/** Far longer than a creation may take. */
const CREATION_MS = 60_000;

/** A page goes on behind a session, given by creation time and id, in one direction or the other. */
const SessionPlace = z.strictObject({ t: z.number(), i: z.string(), d: z.enum(['next', 'prev']) });
type SessionPlace = z.infer<typeof SessionPlace>;
const isSessionPlace = (value: unknown): value is SessionPlace => SessionPlace.safeParse(value).success;
const LIST = 'sessions';

function excludes(range: SessionQuery['range'], time: number): boolean {
  const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = range ?? {};
  return time <= gt || time < gte || time >= lt || time > lte;
}

export function createSessionIndex(redis: Redis, clock: Clock) {
  async function load(ids: string[]): Promise<(StoredSession | null)[]> {
    if (ids.length === 0) return [];
    const pipeline = redis.pipeline();
    // The state first: a record that changed in between then comes with an older revision, never with one that it does not have yet.
    for (const id of ids) {
      pipeline.hgetall(sessionKeys(id).state);
      pipeline.get(sessionKeys(id).rec);
      pipeline.hgetall(sessionKeys(id).files);
    }
    const replies = ((await pipeline.exec()) ?? []).map(([error, value]) => {
      if (error) throw error;
      return value;
    });
    return ids.map((_, index) => {
      const state = parseState((replies[index * 3] ?? {}) as Record<string, string>);
      const record = replies[index * 3 + 1] as string | null;
      const { files } = parseFiles((replies[index * 3 + 2] ?? {}) as Record<string, string>);
      return record && state ? { record: JSON.parse(record) as SessionRecord, state, files } : null;
    });
  }

  function matches(query: SessionQuery, { record, state }: StoredSession): boolean {
    if (!query.includeArchived && state.archived_at_ms !== null) return false;
    if (query.agentId !== undefined && record.agent.id !== query.agentId) return false;
    if (query.agentVersion !== undefined && record.agent.version !== query.agentVersion) return false;
    return !query.statuses || query.statuses.has(state.status);
  }

  /** Members in one direction of time, strictly behind (time, id), within the range. */
  async function* walk(
    workspaceId: string,
    ascending: boolean,
    range: SessionQuery['range'],
    behind: { t: number; i: string } | null,
  ): AsyncGenerator<{ id: string; time: number }> {
    const key = sessionIndexKey(workspaceId);
    const low = range?.gt !== undefined ? `(${range.gt}` : String(range?.gte ?? '-inf');
    const high = range?.lt !== undefined ? `(${range.lt}` : String(range?.lte ?? '+inf');
    let place = behind;
    let limit = CHUNK;
    for (;;) {
      const min = ascending && place ? String(place.t) : low;
      const max = !ascending && place ? String(place.t) : high;
      const flat = ascending
        ? await redis.zrangebyscore(key, min, max, 'WITHSCORES', 'LIMIT', 0, limit)
        : await redis.zrevrangebyscore(key, max, min, 'WITHSCORES', 'LIMIT', 0, limit);
      const start = place;
      for (let i = 0; i + 1 < flat.length; i += 2) {
        const id = flat[i]!;
        const time = Number(flat[i + 1]);
        // Equal times are ordered by id, as the sorted set does.
        if (start && time === start.t && (ascending ? id <= start.i : id >= start.i)) continue;
        place = { t: time, i: id };
        yield { id, time };
      }
      if (flat.length < limit * 2) return;
      // A chunk of nothing but sessions of one millisecond, seen before: the next has to reach beyond them.
      limit = place === start ? limit * 2 : CHUNK;
    }
  }

  async function list(workspaceId: string, query: SessionQuery): Promise<SessionPage> {
    const cursor = query.cursor === undefined ? null : decodeCursor(LIST, query.order, isSessionPlace, query.cursor);
    if (cursor && excludes(query.range, cursor.t))
      throw invalidRequest(
        'created_at: this filter excludes the place of the page cursor; keep it while paging, or start again without page',
      );
    const backwards = cursor?.d === 'prev';
    const ascending = (query.order === 'asc') !== backwards;
    const found: { session: StoredSession; time: number }[] = [];
    let batch: { id: string; time: number }[] = [];
    const flush = async () => {
      const loaded = await load(batch.map(({ id }) => id));
      const strays: string[] = [];
      loaded.forEach((session, index) => {
        const { id, time } = batch[index]!;
        if (session && matches(query, session)) found.push({ session, time });
        if (!session && time < clock.now() - CREATION_MS) strays.push(id);
      });
      if (strays.length > 0) await redis.zrem(sessionIndexKey(workspaceId), ...strays);
      batch = [];
    };
    for await (const member of walk(workspaceId, ascending, query.range, cursor)) {
      batch.push(member);
      if (batch.length === CHUNK) await flush();
      if (found.length > query.limit) break;
    }
    if (found.length <= query.limit) await flush();

    const more = found.length > query.limit;
    const page = found.slice(0, query.limit);
    if (backwards) page.reverse();
    const edge = (at: number, direction: 'next' | 'prev') => {
      const item = page.at(at);
      return item ? encodeCursor(LIST, query.order, { t: item.time, i: item.session.record.id, d: direction }) : null;
    };
    return {
      sessions: page.map(({ session }) => session),
      nextCursor: backwards || more ? edge(-1, 'next') : null,
      prevCursor: (backwards ? more : cursor !== null) ? edge(0, 'prev') : null,
    };
  }

  return { load, list };
}
