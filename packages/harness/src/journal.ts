/**
 * What one worker writes into one session under one lease: numbered, fenced appends, one at a time, each folded into the context as soon
 * as the log has it (I3). A worker that lost the lease gets AppError `fenced` from the next append and stops quietly.
 */
import { AppError, type IdSource } from '@manyhands/base';
import type { EventBody } from '@manyhands/contract';
import type { AppendBatch, Lease, LogEntry, SessionWriter } from '@manyhands/session-log';
import { type Context, fold, type HiddenFacts } from './context.ts';
import type { Inbox } from './inbox.ts';

export type JournalEntry = { id?: string; body: EventBody; hidden?: HiddenFacts } | { stamp: LogEntry };

export interface Journal {
  /** The head of the log as this worker knows it. */
  readonly head: number;
  mintEventId(): string;
  /** Appends; false when `goIdle` was asked and something is queued. The minted ids come back in order. */
  append(entries: JournalEntry[], rest?: Omit<AppendBatch, 'entries'>): Promise<string[] | false>;
}

export function createJournal(deps: { writer: SessionWriter; ids: IdSource }, lease: Lease, context: Context, inbox: Inbox): Journal {
  let n = 0;
  let head = lease.head;
  let last: Promise<unknown> = Promise.resolve();

  async function write(entries: JournalEntry[], rest: Omit<AppendBatch, 'entries'>): Promise<string[] | false> {
    const ids = entries.map((entry) => ('stamp' in entry ? entry.stamp.event.id : (entry.id ?? deps.ids.eventId(head))));
    const batch: AppendBatch = {
      ...rest,
      entries: entries.map((entry, i) =>
        'stamp' in entry ? { stamp: entry.stamp.position } : { event: { id: ids[i]!, body: entry.body, hidden: entry.hidden } },
      ),
    };
    const result = await deps.writer.append(lease, n + 1, batch);
    if (result.outcome === 'pending') return false;
    n++;
    head = result.head;
    for (const [i, entry] of entries.entries()) {
      const body = 'stamp' in entry ? entry.stamp.event : entry.body;
      fold(context, {
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
  rest: Omit<AppendBatch, 'entries' | 'goIdle'> = {},
): Promise<string[]> {
  const ids = await journal.append(entries, rest);
  if (ids === false) throw new AppError('internal', 'an append without goIdle was refused as pending');
  return ids;
}
