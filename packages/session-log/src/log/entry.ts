/**
 * Stream entries to log entries and back. Bodies over 64 KiB live in the blob store and the entry holds their key and size; the blob is
 * durable before the entry is (DESIGN 5).
 *
 * A body in a blob is fetched by who needs it, never in a loop that others share. `decodeEntries` stops where the bodies it fetched exceed a
 * bound, so that a page of images costs what it may and not what it holds.
 */
import { AppError } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { type EventBody, type SessionEvent, timestamp } from '@manyhands/contract';
import { checkFormat } from '../threads/state.ts';
import type { LogEntry } from '../types.ts';

export const INLINE_EVENT_MAX_BYTES = 64 * 1024;
/** Bodies of one page or one read, together: at least one entry, whatever its size. */
export const BODIES_MAX_BYTES = 8 * 1024 * 1024;

/** A body as an entry holds it: JSON without its type, or the key of a blob with it. */
export interface StoredBody {
  text: string;
  blob: boolean;
  size: number;
}

export async function storeBody(
  blobs: BlobStore,
  workspaceId: string,
  sessionId: string,
  eventId: string,
  body: EventBody,
): Promise<StoredBody> {
  const { type: _type, ...rest } = body;
  const json = JSON.stringify(rest);
  const size = Buffer.byteLength(json);
  if (size <= INLINE_EVENT_MAX_BYTES) return { text: json, blob: false, size };
  const key = `${workspaceId}/${sessionId}/events/${eventId}`;
  await blobs.put(key, Buffer.from(json));
  return { text: key, blob: true, size };
}

/** What a script's header says of an event; its body follows as an argument of its own. */
export function eventHeader(id: string, type: string, { blob, size }: StoredBody) {
  return blob ? { id, type, blob, size } : { id, type };
}

export type RawEntry = [id: string, fields: string[]];

/** What an entry says without its body. */
export interface EntryHead {
  position: number;
  sequence: number;
  kind: LogEntry['kind'];
  id: string;
  type: string;
  /** `processed_at` in milliseconds; null while queued. */
  time: number | null;
  arrival: number | null;
  copyOf: string | null;
  raw: RawEntry;
}

function fieldsOf(raw: RawEntry): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < raw[1].length; i += 2) fields.set(raw[1][i]!, raw[1][i + 1]!);
  return fields;
}

export function positionOf(raw: RawEntry): number {
  return Number.parseInt(raw[0], 10);
}

/** The bytes of an entry and of its body in a blob, as far as it tells them: 0.1.0 kept no sizes of blobs. */
export function entryBytes({ raw: [, fields] }: EntryHead): number {
  let bytes = 0;
  for (let i = 0; i + 1 < fields.length; i += 2) bytes += fields[i] === 'z' ? Number(fields[i + 1]) : fields[i + 1]!.length;
  return bytes;
}

export function entryHead(raw: RawEntry, fields: ReadonlyMap<string, string> = fieldsOf(raw)): EntryHead {
  checkFormat('an entry of a session log', fields.get('v'));
  const time = fields.get('p') ?? '';
  const arrival = fields.get('a') ?? '';
  const position = positionOf(raw);
  const sequence = fields.get('s');
  return {
    position,
    // 0.1.0 had one thread, whose positions were the order of the session.
    sequence: sequence === undefined ? position : Number(sequence),
    kind: fields.get('k') === 'q' ? 'queued' : 'event',
    id: fields.get('i') ?? '',
    type: fields.get('t') ?? '',
    time: time === '' ? null : Number(time),
    arrival: arrival === '' ? null : Number(arrival),
    copyOf: fields.get('c') ?? null,
    raw,
  };
}

function entryOf(head: EntryHead, fields: ReadonlyMap<string, string>, json: string): LogEntry {
  const { position, sequence, kind, id, type, time, arrival, copyOf } = head;
  const hidden = fields.get('x') ?? '';
  const body = JSON.parse(json) as { session_thread_id?: string | null };
  return {
    position,
    sequence,
    kind,
    event: {
      id,
      type,
      processed_at: time === null ? null : timestamp(time),
      ...body,
      // What the primary's log shows of a child names it; what is about a thread names that one itself.
      ...(copyOf === null ? {} : { session_thread_id: body.session_thread_id ?? copyOf }),
    } as SessionEvent,
    hidden: hidden === '' ? null : JSON.parse(hidden),
    arrival,
    copyOf,
  };
}

/** An entry whose body is in it; null for one whose body has to be fetched. */
export function decodeInline(raw: RawEntry): LogEntry | null {
  const fields = fieldsOf(raw);
  return fields.has('r') ? null : entryOf(entryHead(raw, fields), fields, fields.get('b') ?? '{}');
}

/** An entry that is not queued, without its body; null for one that is. */
export function decodeBodiless(raw: RawEntry): LogEntry | null {
  const fields = fieldsOf(raw);
  const head = entryHead(raw, fields);
  return head.kind === 'queued' ? null : entryOf(head, fields, '{}');
}

/** Reads an entry and tells the bytes of its body; a body in the blob store is fetched. */
async function decodeEntry(blobs: BlobStore, raw: RawEntry): Promise<{ entry: LogEntry; bytes: number }> {
  const fields = fieldsOf(raw);
  const head = entryHead(raw, fields);
  const reference = fields.get('r');
  if (reference === undefined) {
    const json = fields.get('b') ?? '{}';
    return { entry: entryOf(head, fields, json), bytes: json.length };
  }
  const blob = await blobs.get(reference);
  if (!blob) throw new AppError('internal', `the body of event ${head.id} is missing from the blob store`);
  try {
    return { entry: entryOf(head, fields, blob.toString('utf8')), bytes: blob.byteLength };
  } catch (error) {
    throw new AppError('internal', `the body of event ${head.id} in the blob store is damaged`, { cause: error });
  }
}

/** Decodes entries in order until their bodies exceed a bound: at least one, and what is left out is read by the next call. */
export async function decodeEntries(blobs: BlobStore, raw: readonly RawEntry[], maxBytes = BODIES_MAX_BYTES): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  let total = 0;
  for (const item of raw) {
    const { entry, bytes } = await decodeEntry(blobs, item);
    total += bytes;
    if (entries.length > 0 && total > maxBytes) break;
    entries.push(entry);
  }
  return entries;
}
