/**
 * Stream entries to log entries and back. Bodies over 64 KiB live in the blob store and the entry holds their key; the blob is durable
 * before the entry is (DESIGN 5).
 */
import { AppError } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { type EventBody, type SessionEvent, timestamp } from '@manyhands/contract';
import type { LogEntry } from './types.ts';

export const INLINE_EVENT_MAX_BYTES = 64 * 1024;

/** The body field of an entry: `['b', json]` or `['r', blob key]`. The event's type stands in a field of its own. */
export async function encodeBody(
  blobs: BlobStore,
  workspaceId: string,
  sessionId: string,
  eventId: string,
  body: EventBody,
): Promise<[string, string]> {
  const { type: _type, ...rest } = body;
  const json = JSON.stringify(rest);
  if (json.length <= INLINE_EVENT_MAX_BYTES && Buffer.byteLength(json) <= INLINE_EVENT_MAX_BYTES) return ['b', json];
  const key = `${workspaceId}/${sessionId}/events/${eventId}`;
  await blobs.put(key, Buffer.from(json));
  return ['r', key];
}

export type RawEntry = [id: string, fields: string[]];

/** What an entry says without its body. */
export interface EntryHead {
  position: number;
  kind: LogEntry['kind'];
  id: string;
  type: string;
  /** `processed_at` in milliseconds; null while queued. */
  time: number | null;
  arrival: number | null;
  raw: RawEntry;
}

function fieldsOf(raw: RawEntry): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < raw[1].length; i += 2) fields.set(raw[1][i]!, raw[1][i + 1]!);
  return fields;
}

export function entryHead(raw: RawEntry, fields: ReadonlyMap<string, string> = fieldsOf(raw)): EntryHead {
  const time = fields.get('p') ?? '';
  const arrival = fields.get('a') ?? '';
  return {
    position: Number.parseInt(raw[0], 10),
    kind: fields.get('k') === 'q' ? 'queued' : 'event',
    id: fields.get('i') ?? '',
    type: fields.get('t') ?? '',
    time: time === '' ? null : Number(time),
    arrival: arrival === '' ? null : Number(arrival),
    raw,
  };
}

/** Reads an entry; a body in the blob store is fetched. */
export async function decodeEntry(blobs: BlobStore, raw: RawEntry): Promise<LogEntry> {
  const fields = fieldsOf(raw);
  const { position, kind, id, type, time, arrival } = entryHead(raw, fields);
  const reference = fields.get('r');
  let json = fields.get('b');
  if (reference !== undefined) {
    const blob = await blobs.get(reference);
    if (!blob) throw new AppError('internal', `the body of event ${id} is missing from the blob store`);
    json = blob.toString('utf8');
  }
  const hidden = fields.get('x') ?? '';
  return {
    position,
    kind,
    event: { id, type, processed_at: time === null ? null : timestamp(time), ...(JSON.parse(json ?? '{}') as object) } as SessionEvent,
    hidden: hidden === '' ? null : JSON.parse(hidden),
    arrival,
  };
}

export async function decodeEntries(blobs: BlobStore, raw: RawEntry[]): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for (const item of raw) entries.push(await decodeEntry(blobs, item));
  return entries;
}
