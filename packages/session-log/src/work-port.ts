/** The part of the log that workers use: the thread's side. */
import type { EventBody, PreviewFrame, SessionStatus, StopDetails, StopReason } from '@manyhands/contract';
import type { Checkpoint, LogEntry, NewEvent, SandboxBinding, StoredSession, StoredThread, ThreadRecord, UsageTotals } from './types.ts';

/** What a worker holds while it runs a thread. */
export interface Lease {
  sessionId: string;
  threadId: string;
  workspaceId: string;
  epoch: number;
  /** The head of the thread's log at acquisition, and the session's sequence number. */
  head: number;
  sequence: number;
  /** Workers that ended while they ran this turn, since it last made progress. */
  recoveries: number;
}

/** What a call of the agent waits for: a confirmation, or the result of a custom tool. */
export type CallWait = 'ask' | 'custom';

/** What one entry of an append is. Events of statuses are made by the log: `running` and `rescheduled` are told of the thread, and of the session
 *  where that is news to it. */
export type AppendEntry = { event: NewEvent } | { processed: number } | { status: 'running' | 'rescheduled' };

/** The end of a thread's work. The log makes the events that tell of it, and the session's if no thread is left at work. */
export interface GoIdle {
  /** `requires_action` takes the thread's calls that wait for the client. */
  stop: Exclude<StopReason, { type: 'requires_action' }> | { type: 'requires_action' };
  details?: StopDetails;
  /** The position up to which this worker knows the log: a thread that waits for its client does not rest on what it has not seen. */
  known: number;
  /** How many results of the sandbox there were when its outputs were captured. */
  captured: number;
  /** Told idle for the same reason already: only the status and the mark have to go. */
  silent?: boolean;
  /** Gives the lease back in the same call: nothing is left to do for this worker. */
  release?: boolean;
}

/** A thread that an append makes, at rest. Depth and number are the caller's to bound. */
export interface NewThread {
  record: ThreadRecord;
  eventId: string;
}
/** A message to another thread, which is given work by it. */
export interface ThreadMessage {
  to: string;
  sent: { id: string; body: Extract<EventBody, { type: 'agent.thread_message_sent' }> };
  received: { id: string; body: Extract<EventBody, { type: 'agent.thread_message_received' }> };
}

/** One fenced append: all or nothing. */
export interface AppendBatch {
  /** Events in order; `processed` names queued entries by position, which get their second appearance here. */
  entries: AppendEntry[];
  checkpoint?: Checkpoint;
  /** Model attempts that failed in a row. */
  failures?: number;
  /** The turn got further: recoveries and exceptions are counted anew. */
  progress?: boolean;
  /** What was used, to be added to the session's and the thread's totals; `list_cost_nano` null: it has no list price. */
  usage?: Partial<UsageTotals>;
  /** The binding to set, and the one that must be there. */
  sandbox?: { value: SandboxBinding; expected: SandboxBinding | null };
  /** Results of the sandbox among the entries. */
  sandboxUses?: number;
  /**
   * Calls that wait for the client's word from here on, and calls that no longer do (null). `'taken'`: the worker answers in the client's place;
   * the batch is refused with `pending` if the client was faster.
   */
  calls?: { id: string; waitsFor: CallWait | 'taken' | null }[];
  /** How the session's budget must stand for this batch: something `left` of it (or no budget), or `reached`. Refused with `budget` otherwise. */
  budget?: 'left' | 'reached';
  /** Refused with `pending` if something came that this worker does not know, and with `uncaptured` by the last thread at work. */
  idle?: GoIdle;
  /** Not for so many milliseconds should a sweep wake the thread again: the back-off of `rescheduling`. */
  waitMs?: number;
  /** The interrupt of the whole session that this child has handled. */
  interruptHandled?: number;
  threads?: NewThread[];
  messages?: ThreadMessage[];
}
export type AppendResult =
  | {
      outcome: 'applied';
      /** Where the thread's log got this append's entries: from `first` to `head`, without a gap. */
      first: number;
      head: number;
      /** In the order of `entries`; of a status, where the thread's event is. */
      positions: number[];
      sequence: number;
      /** RFC 3339; all entries have it. */
      processedAt: string;
      /** Threads that were given work and want a wake-up. */
      wakes: string[];
      sandboxUses: number;
      /** As this append left it. */
      sessionStatus: SessionStatus;
      /** Of the entry at `head`, if this append made it; otherwise ''. */
      lastId: string;
    }
  | { outcome: 'pending' }
  | { outcome: 'budget' }
  | { outcome: 'uncaptured'; sandboxUses: number }
  /** Another sandbox is bound, or none. */
  | { outcome: 'bound'; sandbox: SandboxBinding | null }
  /** Message `index` is for a thread that is not there. */
  | { outcome: 'no_receiver'; index: number };

/**
 * With a lease comes the session as it is now, the positions of the thread's queued events, and the first entries behind its checkpoint, as far
 * as they need no fetch.
 */
export interface Acquired {
  lease: Lease;
  stored: StoredSession;
  thread: StoredThread;
  queued: number[];
  entries: LogEntry[];
  /** `entries` begin behind what the caller remembers, which is the log's. */
  isRemembered: boolean;
}

/** `append` throws AppError `fenced` when another worker took over: stop quietly (I3). */
export interface SessionWriter {
  /** `nothing`: the thread has no work, and a wake-up too many does nothing. */
  acquire(
    place: { sessionId: string; threadId: string; workspaceId: string },
    workerId: string,
    ttlMs: number,
    /** The last entry of the thread's log that the caller remembers. */
    remembered?: { position: number; id: string },
  ): Promise<Acquired | { busyForMs: number } | { missing: true } | { nothing: true }>;
  /** Null when the lease is lost or was given back. `interrupt`: as in the thread's state. */
  renew(lease: Lease, ttlMs: number): Promise<{ head: number; interrupt: number } | null>;
  /**
   * A thread that has work left stays due. After an exception it is due with a back-off of at most 30 s that grows until it makes progress:
   * `unavailable` if infrastructure was away, `failed` for any other, of which the state counts how many there were in a row.
   */
  release(lease: Lease, how: 'done' | 'failed' | 'unavailable'): Promise<void>;
  /** `n` counts this epoch's appends from 1; sending the same n again applies nothing and returns the first result. */
  append(lease: Lease, n: number, batch: AppendBatch): Promise<AppendResult>;
  /** Threads that somebody should look at by now; whoever is told of one has 10 s before another is. */
  due(limitPerBucket: number): Promise<{ sessionId: string; threadId: string; workspaceId: string }[]>;
  /** Notes that the session's sandbox of this generation answered, for its other threads. */
  sandboxAnswered(sessionId: string, generation: number): Promise<void>;
  /** Milliseconds since it last answered any thread; null if that is not known. */
  sandboxSilence(sessionId: string, generation: number): Promise<number | null>;
  /** Publishes previews; never stored. */
  preview(lease: Pick<Lease, 'sessionId' | 'threadId'>, frames: PreviewFrame[]): Promise<void>;
}
