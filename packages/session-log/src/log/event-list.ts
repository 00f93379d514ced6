/**
 * Listing events of a thread (CONTRACT 8 I): processed ones by position, queued ones last in arrival order; descending is the exact reverse.
 *
 * - What is queued and the head of the log are read at one moment: every event is in one of the two. Ascending pages go on where the log was
 *   left, and leave out what they gave out as queued. Descending ones list what there was when the first of them was made: what was queued
 *   then and is processed by now has its place among the queued ones. So no event is missed, and none is shown twice (I2).
 * - A page costs the same wherever it is and however long the log (I14): a time is found by halving, types by their index, bodies are read
 *   for the events of the page only, and a page looks at a bounded number of entries and bytes. One that has to stop there is shorter than
 *   asked for, with a cursor; empty only for types in a log from before there was an index.
 * - The primary's list shows what is queued for its children and is answered by clients, too: `shown` beside the queue.
 */
import { decodeCursor, encodeCursor } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { eventIdSequence, isShownQueued, primaryThreadId, type SessionEvent } from '@manyhands/contract';
import { z } from 'zod';
import { type ThreadKeys, threadKeys } from '../keys.ts';
import type { EventQuery } from '../log-port.ts';
import type { ScriptedRedis } from '../scripts.ts';
import type { LogEntry } from '../types.ts';
import { BODIES_MAX_BYTES, decodeEntries, type EntryHead, entryBytes, entryHead, positionOf, type RawEntry } from './entry.ts';
import { type Stretch, stretchesOf } from './type-index.ts';

const CHUNK = 500;
const FIRST_CHUNK_MIN = 32;
/** Entries that one page looks at; a full page of events that all were queued first needs 2000. */
const LOOK_MAX = 5_000;

/** Entries that are worth a look at the index of types first. */
const INDEX_WORTH = 512;

/** Where a page of events ended. */
const EventPlace = z.strictObject({
  /** Last position looked at; null while only queued events were. */
  p: z.int().nullable(),
  /** Arrival of the last queued event given out; null if none was. */
  q: z.int().nullable(),
  /** While a descending list is among the queued events: the head when it began, and how many were queued then that it has not given out. */
  h: z.int().optional(),
  c: z.int().optional(),
});
type EventPlace = z.infer<typeof EventPlace>;
const isEventPlace = (value: unknown): value is EventPlace => EventPlace.safeParse(value).success;
/** What cursors are bound to; the primary thread's has the name that 0.1.0 gave it. */
const listName = (sessionId: string, threadId: string) => `events:${threadId === primaryThreadId(sessionId) ? sessionId : threadId}`;

/** A read of a log, in entries and bytes of what is in them; their bodies in blobs are bounded where they are fetched. */
const READ_MAX_BYTES = 4 * 1024 * 1024;

export function createEventList(redis: ScriptedRedis, blobs: BlobStore) {
  async function range(keys: ThreadKeys, { from, to }: Stretch, limit: number, reverse = false): Promise<RawEntry[]> {
    const end = Number.isFinite(to) ? to : '+';
    return redis.mhRead(keys.log, from, end, limit, READ_MAX_BYTES, reverse ? 'desc' : 'asc');
  }
  /** The entries of a stretch, chunk by chunk, of which the first are small: most readers stop soon. */
  async function* entries(keys: ThreadKeys, stretch: Stretch, firstChunk: number, reverse = false): AsyncGenerator<EntryHead> {
    let { from, to } = stretch;
    for (let count = firstChunk; from <= to; count *= 2) {
      const chunk = (await range(keys, { from, to }, Math.min(count, CHUNK), reverse)).map((raw) => entryHead(raw));
      yield* chunk;
      const last = chunk.at(-1);
      if (!last) return;
      if (reverse) to = last.position - 1;
      else from = last.position + 1;
    }
  }

  /** The entries at these positions. */
  async function at(keys: ThreadKeys, positions: readonly (number | string)[]): Promise<RawEntry[]> {
    const found = await Promise.all(positions.map((position) => redis.xrange(keys.log, `${position}-0`, `${position}-0`)));
    return found.flat() as RawEntry[];
  }
  const readAt = async (sessionId: string, threadId: string, positions: readonly (number | string)[]): Promise<LogEntry[]> =>
    decodeEntries(blobs, await at(threadKeys(sessionId, threadId), positions), Number.POSITIVE_INFINITY);
  async function pending(sessionId: string, known?: number[], threadId = primaryThreadId(sessionId)): Promise<LogEntry[]> {
    return readAt(sessionId, threadId, known ?? (await redis.lrange(threadKeys(sessionId, threadId).queue, 0, -1)));
  }
  /** The head of the log and what is queued, in arrival order. */
  async function ends(keys: ThreadKeys): Promise<{ head: number; queued: number[] }> {
    const [head, queue, shown] = await redis.mhEnds(keys.state);
    return { head, queued: [...queue, ...shown].map(Number).sort((a, b) => a - b) };
  }
  /** The entries at these positions that are shown before they are processed, read as they are wanted; some may be known in a later form. */
  async function* queuedEntries(
    keys: ThreadKeys,
    positions: readonly number[],
    later: ReadonlyMap<number, EntryHead> = new Map(),
  ): AsyncGenerator<EntryHead> {
    for (let i = 0; i < positions.length; i += FIRST_CHUNK_MIN) {
      const part = positions.slice(i, i + FIRST_CHUNK_MIN);
      const raw = await at(
        keys,
        part.filter((position) => !later.has(position)),
      );
      const heads = new Map(raw.map((entry) => [positionOf(entry), entryHead(entry)]));
      for (const position of part) {
        const entry = later.get(position) ?? heads.get(position);
        if (entry && isShownQueued(entry.type)) yield entry;
      }
    }
  }
  /** What was queued at `began` in front of `before`, and is processed by now: `count` entries by arrival. */
  async function processedSince(
    keys: ThreadKeys,
    began: number,
    head: number,
    before: number,
    count: number,
  ): Promise<Map<number, EntryHead>> {
    const found = new Map<number, EntryHead>();
    if (count <= 0) return found;
    for await (const entry of entries(keys, { from: began + 1, to: head }, FIRST_CHUNK_MIN)) {
      if (entry.kind !== 'event' || entry.arrival === null || entry.arrival > began || entry.arrival >= before) continue;
      found.set(entry.arrival, entry);
      if (found.size === count) break;
    }
    return found;
  }

  /** Where the events of these times are: processed_at never goes back. */
  async function timesWithin({ log }: ThreadKeys, { from, to }: Stretch, bounds: NonNullable<EventQuery['range']>): Promise<Stretch> {
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
  async function* candidates(keys: ThreadKeys, query: EventQuery, head: number, after: number | null): AsyncGenerator<EntryHead> {
    const reverse = query.order === 'desc';
    const open = reverse ? { from: 1, to: Math.min(head, (after ?? head + 1) - 1) } : { from: (after ?? 0) + 1, to: head };
    const within = query.range ? await timesWithin(keys, open, query.range) : open;
    if (within.from > within.to) return;
    const { types } = query;
    // Without types only what is queued is passed over.
    const short = !types && within.to - within.from < INDEX_WORTH;
    const stretches = short ? [within] : stretchesOf(redis, keys.types, types ?? null, within, reverse);
    const firstChunk = types ? CHUNK : Math.max(query.limit + 1, FIRST_CHUNK_MIN);
    for await (const stretch of stretches) yield* entries(keys, stretch, firstChunk, reverse);
  }

  function matches({ types, range: bounds }: EventQuery, { type, time }: EntryHead): boolean {
    if (types && !types.has(type)) return false;
    if (!bounds) return true;
    const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = bounds;
    return time !== null && time > gt && time >= gte && time < lt && time <= lte;
  }

  async function listEvents(
    sessionId: string,
    query: EventQuery,
    threadId = primaryThreadId(sessionId),
  ): Promise<{ events: SessionEvent[]; nextCursor: string | null }> {
    const keys = threadKeys(sessionId, threadId);
    const cursor = query.cursor === undefined ? null : decodeCursor(listName(sessionId, threadId), query.order, isEventPlace, query.cursor);
    let position = cursor?.p ?? null;
    let arrival = cursor?.q ?? null;
    const page: EntryHead[] = [];
    /** Where a page would go on behind each of its events. */
    const marks: EventPlace[] = [];
    let more = false;
    let bytes = 0;
    /** Takes one event; false when the page is full and there is one more. */
    const take = (entry: EntryHead, mark: () => void): boolean => {
      if (!matches(query, entry)) return true;
      bytes += entryBytes(entry);
      if (page.length === query.limit || (page.length > 0 && bytes > BODIES_MAX_BYTES)) {
        more = true;
        return false;
      }
      page.push(entry);
      mark();
      marks.push({ p: position, q: arrival });
      return true;
    };
    /** Takes what is processed up to `last`; false when the page ends there. */
    const takeProcessed = async (last: number, skip: (entry: EntryHead) => boolean): Promise<boolean> => {
      let looked = 0;
      let edge = position;
      for await (const entry of candidates(keys, query, last, position)) {
        if (++looked > LOOK_MAX && (page.length > 0 || query.types)) {
          position = edge;
          more = true;
          return false;
        }
        edge = entry.position;
        if (entry.kind !== 'event' || skip(entry)) continue;
        const taken = take(entry, () => {
          position = entry.position;
        });
        if (!taken) return false;
      }
      return true;
    };
    /** Takes what was queued; false when the page ends there. What is queued has no time, so that it matches no range. */
    const takeQueued = async (positions: readonly number[], later?: ReadonlyMap<number, EntryHead>): Promise<boolean> => {
      if (query.range) return true;
      for await (const entry of queuedEntries(keys, positions, later)) {
        const taken = take(entry, () => {
          arrival = entry.arrival ?? entry.position;
        });
        if (!taken) return false;
      }
      return true;
    };

    const { queued, head } = await ends(keys);
    /** Of a descending list: its beginning, and what was queued then and was not given out before this page. */
    let began = head;
    let toGive: number[] = [];
    if (query.order === 'asc') {
      const given = arrival ?? 0;
      // Given out on an earlier page as queued.
      const skip = (entry: EntryHead) => entry.arrival !== null && entry.arrival <= given && isShownQueued(entry.type);
      if (await takeProcessed(head, skip)) {
        position = head;
        await takeQueued(queued.filter((place) => place > given));
      }
    } else if (position === null) {
      began = cursor?.h ?? head;
      const before = arrival ?? Number.POSITIVE_INFINITY;
      const still = queued.filter((place) => place <= began && place < before);
      const later = await processedSince(keys, began, head, before, (cursor?.c ?? still.length) - still.length);
      toGive = [...still, ...later.keys()].sort((a, b) => b - a);
      if (await takeQueued(toGive, later)) await takeProcessed(began, () => false);
    } else await takeProcessed(head, () => false);
    const events = await decodeEntries(
      blobs,
      page.map(({ raw }) => raw),
      BODIES_MAX_BYTES,
    );
    const last = marks[events.length - 1];
    if (events.length < page.length && last) {
      // The bodies are too much for one page: it ends earlier, where its last event is.
      more = true;
      position = last.p;
      arrival = last.q;
    }
    const place: EventPlace = { p: position, q: arrival };
    if (query.order === 'desc' && position === null) {
      const last = arrival ?? Number.POSITIVE_INFINITY;
      Object.assign(place, { h: began, c: toGive.filter((one) => one < last).length });
    }
    return {
      events: events.map(({ event }) => event),
      nextCursor: more ? encodeCursor(listName(sessionId, threadId), query.order, place) : null,
    };
  }

  /**
   * An event id carries the sequence number seen when it was minted, so its first appearance is found by halving and a short scan forward,
   * in the log of any thread.
   */
  async function findEvent(sessionId: string, eventId: string, threadId = primaryThreadId(sessionId)): Promise<number | null> {
    const minted = eventIdSequence(eventId);
    if (minted === null) return null;
    const keys = threadKeys(sessionId, threadId);
    const behind = { from: await redis.mhFindSequence(keys.log, minted), to: Number.POSITIVE_INFINITY };
    for await (const { id, position } of entries(keys, behind, FIRST_CHUNK_MIN)) if (id === eventId) return position;
    return null;
  }

  return {
    listEvents,
    findEvent,
    pending,
    readAt,
    read: async (sessionId: string, after: number, limit: number, threadId = primaryThreadId(sessionId)) =>
      decodeEntries(blobs, await range(threadKeys(sessionId, threadId), { from: after + 1, to: Number.POSITIVE_INFINITY }, limit)),
  };
}
