/**
 * Listing events (CONTRACT 8 I): stamped ones by position, queued ones last in arrival order; descending is the exact reverse.
 *
 * - The queued ones are read before the head of the log is, and the log up to that head. An event that is stamped in between is then seen
 *   twice and shown once, in its stamped form; read the other way round it would be missed (I2).
 * - A page costs the same wherever it is and however long the log (I14): a time is found by halving, types by their index, bodies are read
 *   for the events of the page only, and a page looks at a bounded number of entries. One that has to stop there is shorter than asked for,
 *   with a cursor; empty only for types in a log from before there was an index.
 */
import { decodeCursor, encodeCursor } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { eventIdPosition, type SessionEvent } from '@manyhands/contract';
import { z } from 'zod';
import { decodeEntries, type EntryHead, entryHead, type RawEntry } from './entry.ts';
import { sessionKeys } from './keys.ts';
import type { ScriptedRedis } from './scripts.ts';
import { type Stretch, stretchesOf } from './type-index.ts';
import type { EventQuery, LogEntry } from './types.ts';

const CHUNK = 500;
const FIRST_CHUNK_MIN = 32;
/** Entries that one page looks at; a full page of events that all were queued first needs 2000. */
const LOOK_MAX = 5_000;

/** Where a page of events ended. */
const EventPlace = z.strictObject({
  /** Last position looked at; null while only queued events were. */
  p: z.int().nullable(),
  /** Arrival of the last queued event given out; null if none was. */
  q: z.int().nullable(),
});
type EventPlace = z.infer<typeof EventPlace>;
const isEventPlace = (value: unknown): value is EventPlace => EventPlace.safeParse(value).success;
const listName = (sessionId: string) => `events:${sessionId}`;

export function createEventList(redis: ScriptedRedis, blobs: BlobStore) {
  async function range(sessionId: string, { from, to }: Stretch, limit: number, reverse = false): Promise<RawEntry[]> {
    const { log } = sessionKeys(sessionId);
    const low = `${from}-0`;
    const high = Number.isFinite(to) ? `${to}-0` : '+';
    const raw = reverse ? await redis.xrevrange(log, high, low, 'COUNT', limit) : await redis.xrange(log, low, high, 'COUNT', limit);
    return raw as RawEntry[];
  }
  /** The entries of a stretch, chunk by chunk, of which the first are small: most readers stop soon. */
  async function* entries(sessionId: string, stretch: Stretch, firstChunk: number, reverse = false): AsyncGenerator<EntryHead> {
    let { from, to } = stretch;
    for (let count = firstChunk; from <= to; count *= 2) {
      const limit = Math.min(count, CHUNK);
      const chunk = (await range(sessionId, { from, to }, limit, reverse)).map((raw) => entryHead(raw));
      yield* chunk;
      if (chunk.length < limit) return;
      if (reverse) to = chunk.at(-1)!.position - 1;
      else from = chunk.at(-1)!.position + 1;
    }
  }

  /** The entries at these positions. */
  async function at(sessionId: string, positions: readonly (number | string)[]): Promise<RawEntry[]> {
    if (positions.length === 0) return [];
    const { log } = sessionKeys(sessionId);
    const pipeline = redis.pipeline();
    for (const position of positions) pipeline.xrange(log, `${position}-0`, `${position}-0`);
    return ((await pipeline.exec()) ?? []).flatMap(([error, found]) => {
      if (error) throw error;
      return found as RawEntry[];
    });
  }
  const readAt = async (sessionId: string, positions: readonly (number | string)[]): Promise<LogEntry[]> =>
    decodeEntries(blobs, await at(sessionId, positions));
  async function pending(sessionId: string, known?: number[]): Promise<LogEntry[]> {
    return readAt(sessionId, known ?? (await redis.lrange(sessionKeys(sessionId).queue, 0, -1)));
  }
  /** What is queued, and then the head of the log. */
  async function ends(sessionId: string): Promise<{ queued: EntryHead[]; head: number }> {
    const keys = sessionKeys(sessionId);
    const replies = ((await redis.pipeline().lrange(keys.queue, 0, -1).hget(keys.state, 'seq').exec()) ?? []).map(([error, reply]) => {
      if (error) throw error;
      return reply;
    });
    const queued = await at(sessionId, replies[0] as string[]);
    return { queued: queued.map((raw) => entryHead(raw)), head: Number(replies[1] ?? 0) };
  }

  /** Where the events of these times are: processed_at never goes back. */
  async function timesWithin(sessionId: string, { from, to }: Stretch, bounds: NonNullable<EventQuery['range']>): Promise<Stretch> {
    const { log } = sessionKeys(sessionId);
    const find = (time: number | undefined, what: 'from' | 'after', otherwise: number) =>
      time === undefined ? otherwise : redis.mhFindTime(log, time, what);
    const [gt, gte, lt, lte] = await Promise.all([
      find(bounds.gt, 'after', from),
      find(bounds.gte, 'from', from),
      find(bounds.lt, 'from', to + 1),
      find(bounds.lte, 'after', to + 1),
    ]);
    return { from: Math.max(from, gt, gte), to: Math.min(to, lt - 1, lte - 1) };
  }

  /** The entries that a query may be about, in its order, behind the cursor and up to the head. */
  async function* candidates(sessionId: string, query: EventQuery, head: number, after: number | null): AsyncGenerator<EntryHead> {
    const reverse = query.order === 'desc';
    const open = reverse ? { from: 1, to: Math.min(head, (after ?? head + 1) - 1) } : { from: (after ?? 0) + 1, to: head };
    const within = query.range ? await timesWithin(sessionId, open, query.range) : open;
    if (within.from > within.to) return;
    const { types } = query;
    const stretches = types ? stretchesOf(redis, sessionKeys(sessionId).types, types, within, reverse) : [within];
    const firstChunk = types ? CHUNK : Math.max(query.limit + 1, FIRST_CHUNK_MIN);
    for await (const stretch of stretches) yield* entries(sessionId, stretch, firstChunk, reverse);
  }

  function matches({ types, range: bounds }: EventQuery, { type, time }: EntryHead): boolean {
    if (types && !types.has(type)) return false;
    if (!bounds) return true;
    const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = bounds;
    return time !== null && time > gt && time >= gte && time < lt && time <= lte;
  }

  async function listEvents(sessionId: string, query: EventQuery): Promise<{ events: SessionEvent[]; nextCursor: string | null }> {
    const cursor = query.cursor === undefined ? null : decodeCursor(listName(sessionId), query.order, isEventPlace, query.cursor);
    let position = cursor?.p ?? null;
    let arrival = cursor?.q ?? null;
    const page: EntryHead[] = [];
    let more = false;
    /** Takes one event; false when the page is full and there is one more. */
    const take = (entry: EntryHead, mark: () => void): boolean => {
      if (!matches(query, entry)) return true;
      if (page.length === query.limit) {
        more = true;
        return false;
      }
      page.push(entry);
      mark();
      return true;
    };
    /** Takes what is stamped; false when the page ends there. */
    const takeStamped = async (head: number, skip: (arrival: number) => boolean): Promise<boolean> => {
      let looked = 0;
      let edge = position;
      for await (const entry of candidates(sessionId, query, head, position)) {
        if (++looked > LOOK_MAX && (page.length > 0 || query.types)) {
          position = edge;
          more = true;
          return false;
        }
        edge = entry.position;
        if (entry.kind !== 'event' || (entry.arrival !== null && skip(entry.arrival))) continue;
        const taken = take(entry, () => {
          position = entry.position;
        });
        if (!taken) return false;
      }
      return true;
    };

    const { queued, head } = await ends(sessionId);
    if (query.order === 'asc') {
      const seen = new Set<number>();
      let open = await takeStamped(head, (arrived) => {
        seen.add(arrived);
        // Given out on an earlier page as queued.
        return arrival !== null && arrived <= arrival;
      });
      for (const entry of queued) {
        if (!open) break;
        if (seen.has(entry.position) || (arrival !== null && entry.position <= arrival)) continue;
        open = take(entry, () => {
          arrival = entry.position;
        });
      }
    } else {
      const given = new Set<number>();
      let open = true;
      for (const entry of position === null ? queued.toReversed() : []) {
        if (!open) break;
        if (arrival !== null && entry.position >= arrival) continue;
        open = take(entry, () => {
          arrival = entry.position;
          given.add(entry.position);
        });
      }
      if (open) await takeStamped(head, (arrived) => given.has(arrived) || (arrival !== null && arrived >= arrival));
    }
    const events = await decodeEntries(
      blobs,
      page.map(({ raw }) => raw),
    );
    return {
      events: events.map(({ event }) => event),
      nextCursor: more ? encodeCursor(listName(sessionId), query.order, { p: position, q: arrival }) : null,
    };
  }

  /** An event id carries the head seen when it was minted, so its first appearance is a short scan forward. */
  async function findEvent(sessionId: string, eventId: string): Promise<number | null> {
    const minted = eventIdPosition(eventId);
    if (minted === null) return null;
    const behind = { from: minted + 1, to: Number.POSITIVE_INFINITY };
    for await (const { id, position } of entries(sessionId, behind, FIRST_CHUNK_MIN)) if (id === eventId) return position;
    return null;
  }

  return {
    listEvents,
    findEvent,
    pending,
    readAt,
    read: async (sessionId: string, after: number, limit: number) =>
      decodeEntries(blobs, await range(sessionId, { from: after + 1, to: Number.POSITIVE_INFINITY }, limit)),
  };
}
