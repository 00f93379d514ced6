/**
 * Records of all stored resources: a JSON record per id and two indexes, changed together by one script (no WATCH, no locks).
 *
 * An update reads, computes and swaps: the swap happens only if the record is still what was read, otherwise it is tried again on the new
 * state. Each failed try means that another one succeeded, so the loop ends. All calls may be sent twice (a connection that broke after the
 * server applied a command): the second sending changes nothing and answers the same.
 *
 * Indexes are ordered by `<created ms>:<id>`, all with score 0: pages start exactly behind a member, whatever was added or removed between.
 */
import { decodeCursor, encodeCursor, type Redis } from '@manyhands/base';
import { type Page, timestamp } from '@manyhands/contract';
import { keys, RECORD_KINDS, type RecordKind } from './keys.ts';
import { contended, MS_DIGITS, memberOf, padded, readRecord, type StoredRecord, SWAP_ATTEMPTS, writeRecord } from './record-text.ts';
import { createReferences, type References } from './references.ts';
import { loadScript } from './script.ts';

const createScript = loadScript('kit/create-record');
const swapScript = loadScript('kit/swap-record');

/** A page starts behind a member of the index. */
const isMember = (value: unknown): value is string => typeof value === 'string';

export interface ListQuery {
  limit: number;
  cursor?: string | undefined;
  includeInactive: boolean;
  /** Inclusive bounds of `created_at`, milliseconds. */
  range?: { gte?: number; lte?: number } | undefined;
}
export interface Swap<T> {
  record: T;
  /** Takes the record out of the active index. */
  deactivate?: boolean;
  /** Keeps the new record in the history under this field. */
  history?: { key: string; field: string };
}

export interface Records<T extends StoredRecord> extends References {
  create(workspaceId: string, record: T, history?: { key: string; field: string }): Promise<'created' | 'exists'>;
  get(workspaceId: string, id: string): Promise<T | null>;
  /** `change` returns null for "leave it as it is". Resolves to the record as it then is, or null if there is none. */
  update(workspaceId: string, id: string, change: (current: T) => Swap<T> | null): Promise<T | null>;
  /** Newest first. */
  list(workspaceId: string, query: ListQuery): Promise<Page<T>>;
}

export function createRecords<T extends StoredRecord>(redis: Redis, kind: RecordKind): Records<T> {
  const parse = (id: string, text: string) => readRecord<T>(text, `the stored ${RECORD_KINDS[kind].name} ${id}`);
  async function read(workspaceId: string, id: string): Promise<{ text: string; record: T } | null> {
    const text = await redis.get(keys.record(kind, workspaceId, id));
    return text === null ? null : { text, record: parse(id, text) };
  }

  return {
    ...createReferences(redis, kind, read),
    async create(workspaceId, record, history) {
      const place = [keys.record(kind, workspaceId, record.id), keys.index(kind, workspaceId), keys.activeIndex(kind, workspaceId)];
      const values = [writeRecord(record), memberOf(record)];
      if (history) {
        place.push(history.key);
        values.push(history.field);
      }
      return (await createScript.run(redis, place, values)) as 'created' | 'exists';
    },
    async get(workspaceId, id) {
      return (await read(workspaceId, id))?.record ?? null;
    },
    async update(workspaceId, id, change) {
      for (let attempt = 0; attempt < SWAP_ATTEMPTS; attempt++) {
        const current = await read(workspaceId, id);
        if (!current) return null;
        const swap = change(current.record);
        if (!swap) return current.record;
        const place = [keys.record(kind, workspaceId, id), keys.activeIndex(kind, workspaceId)];
        const values = [current.text, writeRecord(swap.record), swap.deactivate ? memberOf(swap.record) : ''];
        if (swap.history) {
          place.push(swap.history.key);
          values.push(swap.history.field);
        }
        const outcome = await swapScript.run(redis, place, values);
        if (outcome === 'swapped') return swap.record;
        if (outcome === 'missing') return null;
      }
      throw contended();
    },
    async list(workspaceId, query) {
      const index = query.includeInactive ? keys.index(kind, workspaceId) : keys.activeIndex(kind, workspaceId);
      const after = query.cursor === undefined ? null : decodeCursor(kind, 'desc', isMember, query.cursor);
      let upper = '+';
      if (query.range?.lte !== undefined) upper = `(${padded(query.range.lte + 1)}`;
      // The lower of the two bounds wins; both are members or prefixes of members, which sort as text.
      if (after !== null && (upper === '+' || after < upper.slice(1))) upper = `(${after}`;
      const lower = query.range?.gte === undefined ? '-' : `[${padded(query.range.gte)}`;
      const members = await redis.zrange(index, upper, lower, 'BYLEX', 'REV', 'LIMIT', 0, query.limit + 1);
      const page = members.slice(0, query.limit);
      const ids = page.map((member) => member.slice(MS_DIGITS + 1));
      const texts = ids.length === 0 ? [] : await redis.mget(ids.map((id) => keys.record(kind, workspaceId, id)));
      const last = page.at(-1);
      return {
        // A record deleted between the two reads is left out.
        data: texts.flatMap((text, i) => (text === null ? [] : [parse(ids[i] ?? '', text)])),
        next_page: members.length > query.limit && last !== undefined ? encodeCursor(kind, 'desc', last) : null,
      };
    },
  };
}

/** A time of change that is never before the last one, so that `updated_at` only grows. */
export function laterTimestamp(nowMs: number, previous: string): string {
  return timestamp(Math.max(nowMs, Date.parse(previous)));
}
