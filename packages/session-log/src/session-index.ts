/**
 * Listing sessions of a workspace: a sorted set of ids by creation time, filtered by what the records say. An id is added before its
 * session is created, so a crash in between leaves a member without a record; lists skip it.
 */
import { invalidRequest, type Redis } from '@manyhands/base';
import { decodeCursor, encodeCursor, SessionCursor } from './cursor.ts';
import { sessionIndexKey, sessionKeys } from './keys.ts';
import { parseState } from './state.ts';
import type { SessionPage, SessionQuery, SessionRecord, StoredSession } from './types.ts';

const CHUNK = 100;

function excludes(range: SessionQuery['range'], time: number): boolean {
  const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = range ?? {};
  return time <= gt || time < gte || time >= lt || time > lte;
}

export function createSessionIndex(redis: Redis) {
  async function load(ids: string[]): Promise<(StoredSession | null)[]> {
    if (ids.length === 0) return [];
    const pipeline = redis.pipeline();
    for (const id of ids) {
      pipeline.get(sessionKeys(id).rec);
      pipeline.hgetall(sessionKeys(id).state);
    }
    const replies = ((await pipeline.exec()) ?? []).map(([error, value]) => {
      if (error) throw error;
      return value;
    });
    return ids.map((_, index) => {
      const record = replies[index * 2] as string | null;
      const state = parseState((replies[index * 2 + 1] ?? {}) as Record<string, string>);
      return record && state ? { record: JSON.parse(record) as SessionRecord, state } : null;
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
    const min = ascending && behind ? String(behind.t) : low;
    const max = !ascending && behind ? String(behind.t) : high;
    for (let offset = 0; ; offset += CHUNK) {
      const flat = ascending
        ? await redis.zrangebyscore(key, min, max, 'WITHSCORES', 'LIMIT', offset, CHUNK)
        : await redis.zrevrangebyscore(key, max, min, 'WITHSCORES', 'LIMIT', offset, CHUNK);
      for (let i = 0; i + 1 < flat.length; i += 2) {
        const id = flat[i]!;
        const time = Number(flat[i + 1]);
        // Equal times are ordered by id, as the sorted set does.
        if (behind && time === behind.t && (ascending ? id <= behind.i : id >= behind.i)) continue;
        yield { id, time };
      }
      if (flat.length < CHUNK * 2) return;
    }
  }

  async function list(workspaceId: string, query: SessionQuery): Promise<SessionPage> {
    const cursor = query.cursor === undefined ? null : decodeCursor(SessionCursor, query.cursor, query.order);
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
      loaded.forEach((session, index) => {
        if (session && matches(query, session)) found.push({ session, time: batch[index]!.time });
      });
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
      return item ? encodeCursor({ o: query.order, t: item.time, i: item.session.record.id, d: direction }) : null;
    };
    return {
      sessions: page.map(({ session }) => session),
      nextCursor: backwards || more ? edge(-1, 'next') : null,
      prevCursor: (backwards ? more : cursor !== null) ? edge(0, 'prev') : null,
    };
  }

  return { load, list, all: (workspaceId: string) => walk(workspaceId, true, undefined, null) };
}
