/**
 * The index of types: which types of events lie in which segment of a log, as bits that every append sets (lua/library/entries.lua). A list of a rare
 * type reads the segments that have one instead of the whole log (I14).
 *
 * Segments from before there was an index have none; what is told here may hold none of the types, what is not told certainly does not.
 */
import type { Redis } from '@manyhands/base';
import { EVENT_KINDS, type EventType } from '@manyhands/contract';

/** Stored in every log: a number is given once and never changes (contract/src/events/kinds.ts). Bit 0 says that a segment is indexed. */
export const TYPE_BITS = Object.fromEntries(Object.entries(EVENT_KINDS).map(([type, { indexBit }]) => [type, indexBit])) as Readonly<
  Record<EventType, number>
>;
const INDEXED_BIT = 0;
/** As lua/library/entries.lua has it. */
const SEGMENT_POSITIONS = 128;
const SEGMENT_BYTES = 8;
/** Segments per read: half a million events. */
const READ_SEGMENTS = 4_096;
/** Those of which nearly all are read: eight thousand events. */
const READ_SEGMENTS_ANY = 64;

export interface Stretch {
  from: number;
  to: number;
}

function segmentOf(position: number): number {
  return Math.floor((position - 1) / SEGMENT_POSITIONS);
}

/**
 * The parts of `within` that may hold events of these types, or processed events of any type (null), from its beginning or from its end on;
 * neighbours are told as one as far as they are read together.
 */
export async function* stretchesOf(
  redis: Redis,
  key: string,
  types: ReadonlySet<string> | null,
  { from, to }: Stretch,
  reverse: boolean,
): AsyncGenerator<Stretch> {
  // A type without a number is in no log.
  const bits = Object.entries(TYPE_BITS).flatMap(([type, bit]) => (!types || types.has(type) ? [bit] : []));
  const readSegments = types ? READ_SEGMENTS : READ_SEGMENTS_ANY;
  const first = segmentOf(from);
  const last = segmentOf(to);
  for (let read = 0; read <= last - first; read += readSegments) {
    let open = null as Stretch | null;
    const count = Math.min(readSegments, last - first + 1 - read);
    const start = reverse ? last - read - count + 1 : first + read;
    const index = await redis.getrangeBuffer(key, start * SEGMENT_BYTES, (start + count) * SEGMENT_BYTES - 1);
    const has = (segment: number, bit: number) =>
      ((index[(segment - start) * SEGMENT_BYTES + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) !== 0;
    for (let i = 0; i < count; i++) {
      const segment = reverse ? start + count - 1 - i : start + i;
      if (!has(segment, INDEXED_BIT) || bits.some((bit) => has(segment, bit))) {
        const low = Math.max(from, segment * SEGMENT_POSITIONS + 1);
        const high = Math.min(to, (segment + 1) * SEGMENT_POSITIONS);
        open = { from: Math.min(low, open?.from ?? low), to: Math.max(high, open?.to ?? high) };
      } else if (open) {
        yield open;
        open = null;
      }
    }
    if (open) yield open;
  }
}
