/**
 * What one worker writes into one thread under one lease: numbered, fenced appends, one at a time, each folded into the context as soon
 * as the log has it (I3). What others wrote in between is folded before it, so that the context is the log's whoever looks. A worker that
 * lost the lease gets AppError `fenced` from the next append and stops quietly.
 */
import { AppError, type IdSource } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { EventBody, SessionStatus, StopReason } from '@manyhands/contract';
import type { AppendBatch, AppendResult, Lease, LogEntry, SessionLog, SessionWriter } from '@manyhands/session-log';
import { withAttachments } from '../context/attachments.ts';
import { type Context, fold, type HiddenFacts } from '../context/context.ts';
import { waitingCalls } from '../tools/open-calls.ts';
import type { Inbox } from './inbox.ts';

export type JournalEntry =
  | { id?: string; body: EventBody; hidden?: HiddenFacts }
  /** A queued event is taken up. */
  | { processed: LogEntry }
  /** Told of the thread, and of its session where that is news to it. */
  | { status: 'running' | 'rescheduled' };

type Rest = Omit<AppendBatch, 'entries'>;
export type Refused = Exclude<AppendResult, { outcome: 'applied' }>;
export type Written = { ids: string[] } | { refused: Refused };

export interface Journal {
  /** The head of the log as this worker knows it. */
  readonly head: number;
  /** Results of the sandbox that the session has, as far as this worker knows. */
  readonly sandboxUses: number;
  /** Of the last entry, if this worker made it; '' otherwise. */
  readonly lastId: string;
  /** The lease was given back with the last append. */
  readonly released: boolean;
  /** The session's status as this worker's last append left it; null before. */
  readonly sessionStatus: SessionStatus | null;
  /** Appends that the log took. */
  readonly appends: number;
  /** One of them told progress. */
  readonly progressed: boolean;
  /** The last of them put the thread to rest. */
  readonly atRest: boolean;
  mintEventId(): string;
  /** Appends, or says why the log took nothing. The ids are in the order of the entries; '' for a status. */
  append(entries: JournalEntry[], rest?: Rest): Promise<Written>;
  /** The log told how many there are. */
  learnUses(uses: number): void;
  /** Folds what others wrote and this worker has not seen. */
  catchUp(): Promise<void>;
}

const READ_PAGE = 500;

export function createJournal(
  deps: {
    log: SessionLog;
    writer: SessionWriter;
    blobs: BlobStore;
    ids: IdSource;
    wake?(lease: Lease, threadIds: readonly string[]): void;
  },
  lease: Lease,
  context: Context,
  inbox: Inbox,
  uses: number,
): Journal {
  let n = 0;
  let head = lease.head;
  let sandboxUses = uses;
  let sessionStatus: SessionStatus | null = null;
  let released = false;
  let lastId = '';
  let progressed = false;
  let atRest = false;
  let last: Promise<unknown> = Promise.resolve();

  async function foldIn(entry: LogEntry): Promise<void> {
    fold(context, await withAttachments(deps.blobs, lease, entry));
  }
  /** Positions have no gaps, so what is missing is known without asking. */
  async function foldUpTo(last: number): Promise<void> {
    while (context.position < last) {
      const limit = Math.min(READ_PAGE, last - context.position);
      const entries = await deps.log.read(lease.sessionId, context.position, limit, lease.threadId);
      if (entries.length === 0) return;
      // The inbox knows all that the context is folded up to: a thread never rests on what it has passed over.
      inbox.arrived(entries);
      for (const entry of entries) await foldIn(entry);
    }
  }
  const mint = () => deps.ids.eventId(lease.sequence);

  function batchOf(entries: JournalEntry[], ids: string[]): AppendBatch['entries'] {
    return entries.map((entry, i) => {
      if ('processed' in entry) return { processed: entry.processed.position };
      if ('status' in entry) return entry;
      return { event: { id: ids[i]!, body: entry.body, hidden: entry.hidden } };
    });
  }
  /** What the log made of an entry, as far as a context is concerned. */
  function asLogged(entry: JournalEntry, id: string, position: number, processedAt: string): LogEntry {
    const place = { position, sequence: position, kind: 'event', copyOf: null } as const;
    if ('processed' in entry) {
      const { event, position: arrival } = entry.processed;
      return { ...place, event: { ...event, processed_at: processedAt }, hidden: null, arrival };
    }
    const body = 'status' in entry ? statusBody(entry.status) : entry.body;
    const hidden = 'status' in entry ? null : (entry.hidden ?? null);
    return { ...place, event: { ...body, id, processed_at: processedAt } as LogEntry['event'], hidden, arrival: null };
  }
  function statusBody(status: 'running' | 'rescheduled'): EventBody {
    return { type: `session.thread_status_${status}`, session_thread_id: lease.threadId, agent_name: '' };
  }
  function idleEntry({ stop, details = null }: NonNullable<Rest['idle']>, position: number, processedAt: string): LogEntry {
    const stop_reason: StopReason =
      stop.type === 'requires_action' ? { type: stop.type, event_ids: waitingCalls(context).map(({ id }) => id) } : stop;
    const body = {
      type: 'session.thread_status_idle',
      session_thread_id: lease.threadId,
      agent_name: '',
      stop_reason,
      stop_details: details,
    };
    const event = { ...body, id: '', processed_at: processedAt } as LogEntry['event'];
    return { position, sequence: position, kind: 'event', copyOf: null, hidden: null, arrival: null, event };
  }

  async function write(entries: JournalEntry[], rest: Rest): Promise<Written> {
    const ids = entries.map((entry) => {
      if ('processed' in entry) return entry.processed.event.id;
      return 'status' in entry ? '' : (entry.id ?? mint());
    });
    const result = await deps.writer.append(lease, n + 1, { ...rest, entries: batchOf(entries, ids) });
    if (result.outcome !== 'applied') return { refused: result };
    n++;
    head = result.head;
    sandboxUses = result.sandboxUses;
    sessionStatus = result.sessionStatus;
    released = rest.idle?.release === true;
    if (result.lastId !== '') lastId = result.lastId;
    progressed ||= rest.progress === true;
    atRest = rest.idle !== undefined;
    if (result.wakes.length > 0) deps.wake?.(lease, result.wakes);
    if (rest.interruptHandled) inbox.sessionHandled(rest.interruptHandled);
    // An append without entries says nothing about what others wrote up to the head.
    if (result.head < result.first) return { ids };
    // What the log made of this append lies in one piece.
    await foldUpTo(result.first - 1);
    for (const [i, entry] of entries.entries()) {
      await foldIn(asLogged(entry, ids[i]!, result.positions[i] ?? head, result.processedAt));
      if ('processed' in entry) inbox.taken(entry.processed);
    }
    // The end of a turn is the last of it: behind it are only the session's own events.
    if (rest.idle && !rest.idle.silent) fold(context, idleEntry(rest.idle, Math.max(context.position + 1, head), result.processedAt));
    context.position = Math.max(context.position, head);
    return { ids };
  }

  return {
    get head() {
      return head;
    },
    get sandboxUses() {
      return sandboxUses;
    },
    get lastId() {
      return lastId;
    },
    get released() {
      return released;
    },
    get sessionStatus() {
      return sessionStatus;
    },
    get appends() {
      return n;
    },
    get progressed() {
      return progressed;
    },
    get atRest() {
      return atRest;
    },
    mintEventId: mint,
    learnUses(known) {
      sandboxUses = Math.max(sandboxUses, known);
    },
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

/** For an append: it handles this interrupt of the whole session; 0 for none. */
export function handled(interrupt: number): Pick<AppendBatch, 'interruptHandled'> {
  return interrupt > 0 ? { interruptHandled: interrupt } : {};
}

/** Appends where nothing can refuse it. */
export async function appendAll(journal: Journal, entries: JournalEntry[], rest: Omit<Rest, 'idle' | 'budget'> = {}): Promise<string[]> {
  const written = await journal.append(entries, rest);
  if ('refused' in written) throw new AppError('internal', `an append that nothing can refuse was refused: ${written.refused.outcome}`);
  return written.ids;
}
