/**
 * Listing sessions of a workspace. Each bucket has lists of its sessions by creation time, one for each filter (all, an agent, a version of
 * it) and state; the scripts change them in the call that changes the state. A page merges what the 64 buckets have behind a place, a few
 * members of each at first, and more only of those that ran out: it reads in proportion to what it answers, whatever the filter (I14).
 *
 * A page goes on from a member, never from a count: what is created or deleted meanwhile moves nothing (CONTRACT 0.4). A session whose state
 * changes while a page is made may be in it under either.
 */
import { decodeCursor, encodeCursor, invalidRequest } from '@manyhands/base';
import { SESSION_STATUSES } from '@manyhands/contract';
import { z } from 'zod';
import { BUCKETS, indexKey, sessionKeys } from '../keys.ts';
import type { SessionPage, SessionQuery } from '../log-port.ts';
import type { ScriptedRedis } from '../scripts.ts';
import { hashOf, parseSession } from '../threads/state.ts';
import type { StoredSession } from '../types.ts';
import { parseFiles } from './session-files.ts';

/** Asked of a bucket at first, beyond its share of the page, and at most at a time. */
const BUCKET_EXTRA = 2;
const BUCKET_MAX = 256;
/** Archived sessions are in lists of their own. */
const ARCHIVED = 'archived';

/** A page goes on behind a session, given by creation time and id, in one direction or the other. */
const SessionPlace = z.strictObject({ t: z.number(), i: z.string(), d: z.enum(['next', 'prev']) });
type SessionPlace = z.infer<typeof SessionPlace>;
const isSessionPlace = (value: unknown): value is SessionPlace => SessionPlace.safeParse(value).success;
const LIST = 'sessions';

interface Member {
  time: number;
  id: string;
}

function excludes(range: SessionQuery['range'], time: number): boolean {
  const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = range ?? {};
  return time <= gt || time < gte || time >= lt || time > lte;
}

/** The lists that hold what a query asks for, each session in one of them. */
function listsOf({ agentId, agentVersion, statuses, includeArchived }: SessionQuery): { filter: string; states: string[] } {
  const filter = agentId === undefined ? 'all' : agentVersion === undefined ? `agent:${agentId}` : `agent:${agentId}:${agentVersion}`;
  const states: string[] = SESSION_STATUSES.filter((status) => !statuses || statuses.has(status));
  // What is archived is terminated.
  if (includeArchived && (!statuses || statuses.has('terminated'))) states.push(ARCHIVED);
  return { filter, states };
}

/** Members of one bucket in order, read as they are wanted. */
class BucketReader {
  private members: Member[] = [];
  private next = 0;
  private ended = false;
  private place: Member | null;
  private readonly read: (place: Member | null, count: number) => Promise<Member[]>;
  constructor(place: Member | null, read: (place: Member | null, count: number) => Promise<Member[]>) {
    this.place = place;
    this.read = read;
  }
  get head(): Member | undefined {
    return this.members[this.next];
  }
  get needsMore(): boolean {
    return !this.ended && this.next === this.members.length;
  }
  async fill(count: number): Promise<void> {
    this.members = await this.read(this.place, count);
    this.next = 0;
    this.ended = this.members.length < count;
    this.place = this.members.at(-1) ?? this.place;
  }
  take(): void {
    this.next++;
  }
}

/** `touch` sees to it that sessions of 0.1.0 in this workspace are in the lists. */
export function createSessionIndex(redis: ScriptedRedis, touch: (workspaceId: string) => Promise<void>) {
  async function load(sessionId: string): Promise<StoredSession | null> {
    const [time, record, state, files] = await redis.mhGet(sessionKeys(sessionId).state);
    if (record === undefined) return null;
    return parseSession(String(record), hashOf(state as string[]), parseFiles(hashOf(files as string[])).files, Number(time));
  }

  /** Members in one direction of time, behind a place, within the range: `count` at most. */
  async function members(
    workspaceId: string,
    query: SessionQuery,
    ascending: boolean,
    place: Member | null,
    count: number,
  ): Promise<Member[]> {
    const { range } = query;
    const { filter, states } = listsOf(query);
    if (states.length === 0) return [];
    const low = range?.gt !== undefined ? `(${range.gt}` : String(range?.gte ?? '-inf');
    const high = range?.lt !== undefined ? `(${range.lt}` : String(range?.lte ?? '+inf');
    const readers = Array.from({ length: BUCKETS }, (_, bucket) => {
      const lists = states.map((state) => indexKey(bucket, workspaceId, filter, state));
      return new BucketReader(place, async (behind, wanted) => {
        const order = ascending ? 'asc' : 'desc';
        const flat = await redis.mhIndex(lists[0]!, order, low, high, behind?.time ?? '', behind?.id ?? '', wanted, ...lists);
        return Array.from({ length: flat.length / 2 }, (_unused, i) => ({ id: flat[i * 2]!, time: Number(flat[i * 2 + 1]) }));
      });
    });
    const before = (a: Member, b: Member) => (a.time - b.time || (a.id < b.id ? -1 : 1)) * (ascending ? 1 : -1) < 0;
    let share = Math.ceil(count / BUCKETS) + BUCKET_EXTRA;
    await Promise.all(readers.map((reader) => reader.fill(share)));
    const found: Member[] = [];
    while (found.length < count) {
      const dry = readers.filter((reader) => reader.needsMore);
      if (dry.length > 0) {
        share = Math.min(share * 2, BUCKET_MAX);
        await Promise.all(dry.map((reader) => reader.fill(share)));
      }
      let first: BucketReader | null = null;
      for (const reader of readers) if (reader.head && (!first?.head || before(reader.head, first.head))) first = reader;
      if (!first?.head) break;
      found.push(first.head);
      first.take();
    }
    return found;
  }

  async function list(workspaceId: string, query: SessionQuery): Promise<SessionPage> {
    const cursor = query.cursor === undefined ? null : decodeCursor(LIST, query.order, isSessionPlace, query.cursor);
    if (cursor && excludes(query.range, cursor.t))
      throw invalidRequest(
        'created_at: this filter excludes the place of the page cursor; keep it while paging, or start again without page',
      );
    await touch(workspaceId);
    const backwards = cursor?.d === 'prev';
    const ascending = (query.order === 'asc') !== backwards;
    const place = cursor && { time: cursor.t, id: cursor.i };
    const found = await members(workspaceId, query, ascending, place, query.limit + 1);
    const more = found.length > query.limit;
    const page = found.slice(0, query.limit);
    if (backwards) page.reverse();
    const edge = (member: Member | undefined, direction: 'next' | 'prev') =>
      member ? encodeCursor(LIST, query.order, { t: member.time, i: member.id, d: direction }) : null;
    const sessions = await Promise.all(page.map(({ id }) => load(id)));
    return {
      // What was deleted a moment ago is not there any more.
      sessions: sessions.filter((session) => session !== null),
      nextCursor: backwards || more ? edge(page.at(-1), 'next') : null,
      prevCursor: (backwards ? more : cursor !== null) ? edge(page[0], 'prev') : null,
    };
  }

  return { load, list };
}
