/**
 * What one worker writes into one session under one lease: numbered, fenced appends, one at a time, each folded into the context as soon
 * as the log has it (I3). What clients wrote in between is folded before it, so that the context is the log's whoever looks. A worker that lost the lease gets AppError `fenced` from the next append and stops quietly.
 */
import { AppError, type IdSource } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { EventBody } from '@manyhands/contract';
import type { AppendBatch, Lease, LogEntry, SessionLog, SessionWriter } from '@manyhands/session-log';
import { withAttachments } from './attachments.ts';
import { type Context, fold, type HiddenFacts } from './context.ts';
import type { Inbox } from './inbox.ts';

export type JournalEntry = { id?: string; body: EventBody; hidden?: HiddenFacts } | { stamp: LogEntry };

export interface Journal {
  /** The head of the log as this worker knows it. */
  readonly head: number;
  mintEventId(): string;
  /** Appends; false when the log knows of something that this worker does not (`pending`), or its budget does not stand as asked. The minted ids come back in order. */
  append(entries: JournalEntry[], rest?: Omit<AppendBatch, 'entries'>): Promise<string[] | false>;
  /** Folds what clients wrote and this worker has not seen. */
  catchUp(): Promise<void>;
}

const READ_PAGE = 500;

export function createJournal(
  deps: { log: SessionLog; writer: SessionWriter; blobs: BlobStore; ids: IdSource },
  lease: Lease,
  context: Context,
  inbox: Inbox,
): Journal {
  let n = 0;
  let head = lease.head;
  let last: Promise<unknown> = Promise.resolve();

  async function foldIn(entry: LogEntry): Promise<void> {
    fold(context, await withAttachments(deps.blobs, lease, entry));
  }
  /** Positions have no gaps, so what is missing is known without asking. */
  async function foldUpTo(last: number): Promise<void> {
    while (context.position < last) {
      const entries = await deps.log.read(lease.sessionId, context.position, Math.min(READ_PAGE, last - context.position));
      if (entries.length === 0) return;
      for (const entry of entries) await foldIn(entry);
    }
  }

  async function write(entries: JournalEntry[], rest: Omit<AppendBatch, 'entries'>): Promise<string[] | false> {
    const ids = entries.map((entry) => ('stamp' in entry ? entry.stamp.event.id : (entry.id ?? deps.ids.eventId(head))));
    const batch: AppendBatch = {
      ...rest,
      entries: entries.map((entry, i) =>
        'stamp' in entry ? { stamp: entry.stamp.position } : { event: { id: ids[i]!, body: entry.body, hidden: entry.hidden } },
      ),
    };
    const result = await deps.writer.append(lease, n + 1, batch);
    if (result.outcome !== 'applied') return false;
    n++;
    head = result.head;
    const [firstPosition] = result.positions;
    if (firstPosition !== undefined) await foldUpTo(firstPosition - 1);
    for (const [i, entry] of entries.entries()) {
      const body = 'stamp' in entry ? entry.stamp.event : entry.body;
      await foldIn({
        position: result.positions[i] ?? head,
        kind: 'event',
        event: { ...body, id: ids[i]!, processed_at: result.processedAt },
        hidden: 'stamp' in entry ? null : (entry.hidden ?? null),
        arrival: 'stamp' in entry ? entry.stamp.position : null,
      });
      if ('stamp' in entry) inbox.taken(entry.stamp);
    }
    return ids;
  }

  return {
    get head() {
      return head;
    },
    mintEventId: () => deps.ids.eventId(head),
    catchUp() {
      const next = last.then(() => foldUpTo(Number.POSITIVE_INFINITY));
      last = next.catch(() => {});
      return next;
    },
    append(entries, rest = {}) {
      const next = last.then(() => write(entries, rest));
      last = next.catch(() => {});
      return next;
    },
  };
}

/** Appends where nothing can refuse it. */
export async function appendAll(
  journal: Journal,
  entries: JournalEntry[],
  rest: Omit<AppendBatch, 'entries' | 'goIdle' | 'parkAt' | 'budget'> = {},
): Promise<string[]> {
  const ids = await journal.append(entries, rest);
  if (ids === false) throw new AppError('internal', 'an append that nothing can refuse was refused');
  return ids;
}
