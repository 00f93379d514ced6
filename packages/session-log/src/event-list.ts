/**
 * Listing events (CONTRACT 8 I): stamped ones by position, queued ones last in arrival order; descending is the exact reverse.
 *
 * The queued ones are read before the log is. An event that is stamped in between is then seen twice and shown once, in its stamped
 * form; read the other way round it would be missed (I2).
 */
import { decodeCursor, encodeCursor, type Redis } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { eventIdPosition, type SessionEvent } from '@manyhands/contract';
import { z } from 'zod';
import { decodeEntries, type RawEntry } from './entry.ts';
import { sessionKeys } from './keys.ts';
import type { EventQuery, LogEntry } from './types.ts';

const CHUNK = 500;

/** Where a page of events ended. */
const EventPlace = z.strictObject({
  /** Last position given out; null while only queued events were. */
  p: z.int().nullable(),
  /** Arrival of the last queued event given out; null if none was. */
  q: z.int().nullable(),
});
type EventPlace = z.infer<typeof EventPlace>;
const isEventPlace = (value: unknown): value is EventPlace => EventPlace.safeParse(value).success;
const listName = (sessionId: string) => `events:${sessionId}`;

export function createEventList(redis: Redis, blobs: BlobStore) {
  async function range(sessionId: string, from: number, to: number | null, limit: number, reverse: boolean): Promise<LogEntry[]> {
    const { log } = sessionKeys(sessionId);
    const low = `${from}-0`;
    const high = to === null ? '+' : `${to}-0`;
    const raw = reverse ? await redis.xrevrange(log, high, low, 'COUNT', limit) : await redis.xrange(log, low, high, 'COUNT', limit);
    return decodeEntries(blobs, raw as RawEntry[]);
  }

  async function pending(sessionId: string, known?: number[]): Promise<LogEntry[]> {
    const keys = sessionKeys(sessionId);
    const positions = known ?? (await redis.lrange(keys.queue, 0, -1));
    if (positions.length === 0) return [];
    const pipeline = redis.pipeline();
    for (const position of positions) pipeline.xrange(keys.log, `${position}-0`, `${position}-0`);
    const raw = ((await pipeline.exec()) ?? []).flatMap(([error, found]) => {
      if (error) throw error;
      return found as RawEntry[];
    });
    return decodeEntries(blobs, raw);
  }

  function matches(query: EventQuery, event: SessionEvent): boolean {
    if (query.types && !query.types.has(event.type)) return false;
    const bounds = query.range;
    if (!bounds) return true;
    if (event.processed_at === null) return false;
    const time = Date.parse(event.processed_at);
    return (
      (bounds.gt === undefined || time > bounds.gt) &&
      (bounds.gte === undefined || time >= bounds.gte) &&
      (bounds.lt === undefined || time < bounds.lt) &&
      (bounds.lte === undefined || time <= bounds.lte)
    );
  }
  /** True when no entry further on in this direction can match any more: processed_at never goes back. */
  function beyond(query: EventQuery, entry: LogEntry): boolean {
    if (entry.event.processed_at === null || !query.range) return false;
    const time = Date.parse(entry.event.processed_at);
    const { gt, gte, lt, lte } = query.range;
    if (query.order === 'asc') return (lt !== undefined && time >= lt) || (lte !== undefined && time > lte);
    return (gt !== undefined && time <= gt) || (gte !== undefined && time < gte);
  }

  /** Stamped entries in the order of the query, behind the cursor, chunk by chunk. */
  async function* stamped(sessionId: string, query: EventQuery, after: number | null): AsyncGenerator<LogEntry> {
    const reverse = query.order === 'desc';
    let edge = after;
    for (;;) {
      const from = reverse ? 1 : (edge ?? 0) + 1;
      const to = reverse ? (edge === null ? null : edge - 1) : null;
      if (to !== null && to < 1) return;
      const chunk = await range(sessionId, from, to, CHUNK, reverse);
      for (const entry of chunk) {
        edge = entry.position;
        if (entry.kind !== 'event') continue;
        if (beyond(query, entry)) return;
        yield entry;
      }
      if (chunk.length < CHUNK) return;
    }
  }

  async function listEvents(sessionId: string, query: EventQuery): Promise<{ events: SessionEvent[]; nextCursor: string | null }> {
    const cursor = query.cursor === undefined ? null : decodeCursor(listName(sessionId), query.order, isEventPlace, query.cursor);
    let position = cursor?.p ?? null;
    let arrival = cursor?.q ?? null;
    const events: SessionEvent[] = [];
    let more = false;
    /** Takes one event; false when the page is full and there is one more. */
    const take = (entry: LogEntry, mark: () => void): boolean => {
      if (!matches(query, entry.event)) return true;
      if (events.length === query.limit) {
        more = true;
        return false;
      }
      events.push(entry.event);
      mark();
      return true;
    };

    const queued = await pending(sessionId);
    if (query.order === 'asc') {
      const seen = new Set<number>();
      let open = true;
      for await (const entry of stamped(sessionId, query, position)) {
        if (entry.arrival !== null) {
          seen.add(entry.arrival);
          // Given out on an earlier page as queued.
          if (arrival !== null && entry.arrival <= arrival) continue;
        }
        open = take(entry, () => {
          position = entry.position;
        });
        if (!open) break;
      }
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
      if (position === null) {
        for (const entry of queued.toReversed()) {
          if (!open) break;
          if (arrival !== null && entry.position >= arrival) continue;
          open = take(entry, () => {
            arrival = entry.position;
            given.add(entry.position);
          });
        }
      }
      if (open) {
        for await (const entry of stamped(sessionId, query, position)) {
          if (entry.arrival !== null && (given.has(entry.arrival) || (arrival !== null && entry.arrival >= arrival))) continue;
          open = take(entry, () => {
            position = entry.position;
          });
          if (!open) break;
        }
      }
    }
    return { events, nextCursor: more ? encodeCursor(listName(sessionId), query.order, { p: position, q: arrival }) : null };
  }

  /** An event id carries the head seen when it was minted, so its first appearance is a short scan forward. */
  async function findEvent(sessionId: string, eventId: string): Promise<number | null> {
    let edge = eventIdPosition(eventId);
    while (edge !== null) {
      const chunk = await range(sessionId, edge + 1, null, CHUNK, false);
      const found = chunk.find((entry) => entry.event.id === eventId);
      if (found) return found.position;
      edge = chunk.length < CHUNK ? null : (chunk.at(-1)?.position ?? null);
    }
    return null;
  }

  return {
    listEvents,
    findEvent,
    pending,
    read: (sessionId: string, after: number, limit: number) => range(sessionId, after + 1, null, limit, false),
  };
}
