/** References to records: a record that a session refers to is not deleted. One index per record, of who refers to it and since when. */
import type { Redis } from '@manyhands/base';
import { keys, type RecordKind } from './keys.ts';
import { contended, memberOf, RECORD_FORMAT, type StoredRecord, SWAP_ATTEMPTS } from './record-text.ts';
import { loadScript } from './script.ts';

const deleteScript = loadScript('kit/delete-record');
const claimScript = loadScript('kit/claim-record');
const REFERRING_ASKED = 200;

export interface Referring {
  first: { id: string; sinceMs: number }[];
  count: number;
}
export interface References {
  /** Records that `by` refers to the record, which is then not deleted; refused for an archived record. */
  claim(workspaceId: string, id: string, by: string, nowMs: number): Promise<'claimed' | 'missing' | 'archived'>;
  release(workspaceId: string, id: string, by: string): Promise<void>;
  /**
   * `gone` is called, perhaps several times, with the first of those that refer to the record: it answers which of them no longer exist, or
   * throws to refuse. False if there is no such record.
   */
  delete(workspaceId: string, id: string, gone: (referring: Referring) => Promise<string[]>): Promise<boolean>;
}

/** `read` answers the record as it is stored, or throws for one of a newer format. */
export function createReferences(
  redis: Redis,
  kind: RecordKind,
  read: (workspaceId: string, id: string) => Promise<{ text: string; record: StoredRecord } | null>,
): References {
  return {
    async claim(workspaceId, id, by, nowMs) {
      const place = [keys.record(kind, workspaceId, id), keys.referring(kind, workspaceId, id)];
      const values = [by, String(nowMs), String(RECORD_FORMAT)];
      const outcome = (await claimScript.run(redis, place, values)) as 'claimed' | 'missing' | 'archived' | 'newer';
      if (outcome !== 'newer') return outcome;
      // Throws for the newer format.
      await read(workspaceId, id);
      throw contended();
    },
    async release(workspaceId, id, by) {
      await redis.zrem(keys.referring(kind, workspaceId, id), by);
    },
    async delete(workspaceId, id, gone) {
      const referringKey = keys.referring(kind, workspaceId, id);
      const place = [keys.record(kind, workspaceId, id), keys.index(kind, workspaceId), keys.activeIndex(kind, workspaceId), referringKey];
      for (let attempt = 0; attempt < SWAP_ATTEMPTS; attempt++) {
        const current = await read(workspaceId, id);
        if (!current) return false;
        const flat = await redis.zrangebyscore(referringKey, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, REFERRING_ASKED);
        const first = flat.flatMap((by, i) => (i % 2 === 0 ? [{ id: by, sinceMs: Number(flat[i + 1]) }] : []));
        const dropped = first.length === 0 ? [] : await gone({ first, count: await redis.zcard(referringKey) });
        const outcome = await deleteScript.run(redis, place, [current.text, memberOf(current.record), ...dropped]);
        if (outcome === 'deleted') return true;
      }
      throw contended();
    },
  };
}
