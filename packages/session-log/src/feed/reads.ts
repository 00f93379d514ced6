/**
 * Reading logs for followers, bounded and shared (I14, I15):
 *
 * - A page is at most PAGE_ENTRIES entries and PAGE_BYTES of what is in them; READS_AT_ONCE pages are read at once in the process.
 * - A body in a blob is fetched by itself, when a follower has come to it: what a follower holds is one page and one body. Bodies that are
 *   fetched at once come to BODIES_AT_ONCE_BYTES. They do not count as reads of Redis, so that a slow store delays those who need it alone.
 * - Followers of a thread that are at the same position share the page, and of one body the fetch, while it is under way. All of them get
 *   the same objects, so that what is made of an entry can be kept by the object.
 */
import { AppError, withinMs } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import {
  decodeBodiless,
  decodeEntries,
  decodeInline,
  entryBytes,
  entryHead,
  INLINE_EVENT_MAX_BYTES,
  positionOf,
  type RawEntry,
} from '../log/entry.ts';
import type { ScriptedRedis } from '../scripts.ts';
import type { LogEntry } from '../types.ts';
import { createLimit } from './limit.ts';
import type { Watch } from './watch.ts';

const PAGE_ENTRIES = 200;
const PAGE_BYTES = 1024 * 1024;
const READS_AT_ONCE = 16;
const BODIES_AT_ONCE_BYTES = 64 * 1024 * 1024;
/** What a body may have whose size is not told, as in entries of 0.1.0. */
const UNTOLD_BODY_BYTES = 5 * 1024 * 1024;
/** A fetch that takes longer is given up and tried again, so that it does not keep its share for ever. */
const BODY_MS = 30_000;

/** What the watch said when a read began. */
type Began = Readonly<Pick<Watch, 'doubts' | 'news'>>;

/** Entries behind a position, as they were at some moment after the read began. */
export interface Page {
  readonly began: Began;
  readonly length: number;
  /** The entries from `index` on that need no fetch, or the one at `index` with its body: at least one. `bodies` as the follower has it. */
  part(index: number, bodies: 'all' | 'queued'): LogEntry[] | Promise<LogEntry[]>;
}
export interface Reads {
  page(watch: Watch, after: number): Promise<Page>;
}
/** Null while it waits for its turn. */
interface Request {
  began: Began | null;
}

function isFresh({ began }: Request, { doubts, news }: Watch): boolean {
  return !began || (began.doubts === doubts && began.news === news);
}

export function createReads(redis: ScriptedRedis, blobs: BlobStore): Reads {
  const reading = createLimit(READS_AT_ONCE);
  const fetching = createLimit(BODIES_AT_ONCE_BYTES);
  /** What is under way. */
  const pages = new Map<string, { request: Request; page: Promise<Page> }>();
  const bodies = new Map<string, Promise<LogEntry>>();

  function body(log: string, raw: RawEntry): Promise<LogEntry> {
    const name = `${log} ${raw[0]}`;
    let fetch = bodies.get(name);
    if (!fetch) {
      fetch = fetching(bodyBytes(raw), async () => {
        const [entry] = await withinMs(decodeEntries(blobs, [raw]), BODY_MS);
        return entry!;
      }).finally(() => bodies.delete(name));
      bodies.set(name, fetch);
    }
    return fetch;
  }

  function pageOf(log: string, raw: readonly RawEntry[], began: Began): Page {
    const decoded: (LogEntry | null)[] = [];
    /** Null for an entry whose body has to be fetched. */
    function inline(index: number, bodies: 'all' | 'queued'): LogEntry | null {
      decoded[index] ??= decodeSafely(raw[index]!);
      return decoded[index] ?? (bodies === 'queued' ? decodeBodiless(raw[index]!) : null);
    }
    return {
      began,
      length: raw.length,
      part(index, bodies) {
        const first = inline(index, bodies);
        if (!first) return body(log, raw[index]!).then((entry) => [entry]);
        const entries = [first];
        for (let i = index + 1; i < raw.length; i++) {
          const next = unlessDamaged(() => inline(i, bodies));
          if (!next) break;
          entries.push(next);
        }
        return entries;
      },
    };
  }

  return {
    page(watch, after) {
      const { log } = watch.keys;
      const name = `${log} ${after}`;
      const known = pages.get(name);
      // One that began before the latest news would have to be followed by another.
      if (known && isFresh(known.request, watch)) return known.page;
      const request: Request = { began: null };
      const page = (async () => {
        try {
          return await reading(1, async () => {
            request.began = { doubts: watch.doubts, news: watch.news };
            const raw = await redis.mhRead(log, after + 1, '+', PAGE_ENTRIES, PAGE_BYTES, 'asc');
            return pageOf(log, raw, request.began);
          });
        } finally {
          if (pages.get(name)?.request === request) pages.delete(name);
        }
      })();
      pages.set(name, { request, page });
      return page;
    },
  };
}

/** A body that is in a blob is larger than any in an entry. */
function bodyBytes(raw: RawEntry): number {
  const bytes = entryBytes(entryHead(raw));
  return bytes > INLINE_EVENT_MAX_BYTES ? bytes : UNTOLD_BODY_BYTES;
}
/** Like `decodeInline`; what is no entry is told as such. */
export function decodeSafely(raw: RawEntry): LogEntry | null {
  try {
    return decodeInline(raw);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('internal', `the entry at position ${positionOf(raw)} of a log is damaged`, { cause: error });
  }
}
function unlessDamaged<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch {
    return null;
  }
}
