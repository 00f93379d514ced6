/**
 * What the session log is, for those who use it. One session = one Redis Stream (its events in order), one state hash that changes with
 * it in the same Lua call, a list of queued client events, and a lease that says which worker may write.
 *
 * Terms: a *position* is a 1-based integer, the order of the log. An event that a client sent is first *queued* (an entry of its own, told
 * once on streams with `processed_at: null`), later *stamped* (a second entry with the same id, told again). Lists show it once, at the
 * position of its stamped form; still unstamped ones come last, in arrival order (CONTRACT 8 I).
 */
import type { Clock, IdSource, Logger, Redis } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type {
  Budget,
  ClientEventBody,
  EventBody,
  EventType,
  PreviewFrame,
  SessionAgent,
  SessionEvent,
  SessionStatus,
} from '@manyhands/contract';

/** What a session is. Times are milliseconds. Only the tools of its agent ever change, and only while it is idle. */
export interface SessionRecord {
  id: string;
  workspace_id: string;
  agent: SessionAgent;
  environment_id: string;
  created_at_ms: number;
}

/** Where a session's sandbox is. `generation` counts leases, so that a late answer of an older sandbox is refused. */
export interface SandboxBinding {
  pool_id: string | null;
  sandbox_id: string | null;
  generation: number;
  /** The head of the log when the last sandbox was given up: calls that were asked for after it never were in one. */
  ended_at?: number;
}
/** How far the context is folded: everything up to `position` is in the blob. */
export interface Checkpoint {
  position: number;
  blob: string;
}

/** Plain sums over the session. */
export interface UsageTotals {
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_5m: number;
  cache_creation_1h: number;
  web_search_requests: number;
  web_fetch_requests: number;
  /** Of all requests, without running time; null once something was used that has no list price. */
  list_cost_nano: number | null;
}

/** What changes with the log, in the same Lua call. */
export interface SessionState {
  head: number;
  status: SessionStatus;
  epoch: number;
  title: string | null;
  metadata: Record<string, string>;
  updated_at_ms: number;
  archived_at_ms: number | null;
  usage: UsageTotals;
  budget: Budget | null;
  /** Milliseconds of work in turns that ended; the running one counts from `running_since_ms`. */
  active_ms: number;
  running_since_ms: number | null;
  checkpoint: Checkpoint | null;
  sandbox: SandboxBinding | null;
  /** Workers that took this turn over since it last made progress. */
  takeovers: number;
  /** Model attempts that failed in a row. */
  failures: number;
  /** Changes with every update by a client; guards read-modify-write. */
  revision: number;
}
/** A file that is mounted in a session; `file_id` is the session's own copy. Times are milliseconds. */
export interface SessionFile {
  id: string;
  file_id: string;
  mount_path: string;
  created_at_ms: number;
}
export interface StoredSession {
  record: SessionRecord;
  state: SessionState;
  /** Oldest first. A worker asks for them by themselves, since they may change while it works. */
  files: SessionFile[];
}

/** One entry of the stream. `hidden` is for the harness only (thinking blocks, model ids); it is never shown. */
export interface LogEntry {
  position: number;
  kind: 'queued' | 'event';
  event: SessionEvent;
  hidden: unknown;
  /** For a stamped event: the position of its queued form. */
  arrival: number | null;
}

export interface NewEvent {
  id: string;
  body: EventBody;
  hidden?: unknown;
}

export interface CreateSession {
  record: SessionRecord;
  title: string | null;
  metadata: Record<string, string>;
  budget: Budget | null;
  files?: SessionFile[];
  initialEvents: ClientEventBody[];
}

export interface SessionChange {
  title?: string | null;
  metadata?: Record<string, string>;
  agent?: SessionAgent;
  /** Null takes it away. */
  budget?: Budget | null;
}

export type SendResult =
  /** `startsWork`: a worker is wanted, to run a turn or to fold a log that went on without one. */
  | { outcome: 'stored'; events: SessionEvent[]; startsWork: boolean }
  /** The same request was stored before (CONTRACT 8 K); nothing was appended. */
  | { outcome: 'repeated'; events: SessionEvent[] }
  | { outcome: 'missing' }
  | { outcome: 'archived' }
  /** The session is at its budget: event `index` is of a kind that is not taken then. Nothing was stored. */
  | { outcome: 'capped'; index: number }
  /** Event `index` is a message, and the session is parked: it waits for answers to these calls. Nothing was stored. */
  | { outcome: 'waiting'; index: number; calls: string[] }
  /** Event `index` answers what is no call that waits for such an answer. Nothing was stored. */
  | { outcome: 'no_such_call'; index: number; call: string; why: NoSuchCall };

/** Why an answer is refused: there is no such call, it is of another kind, it was not asked for, or it is over without an answer. */
export type NoSuchCall = 'unknown' | 'other_kind' | 'not_asked' | 'over';

export interface SendRequest {
  sessionId: string;
  bodies: ClientEventBody[];
  /** Digest over key, session and body; a retry with the same digest within 60 s appends nothing. */
  digest: string;
  /** The client says that it is trying again (`x-stainless-retry-count` above 0). */
  isRetry: boolean;
}

export interface EventQuery {
  limit: number;
  order: 'asc' | 'desc';
  types?: ReadonlySet<string> | undefined;
  /** Compared with `processed_at`, milliseconds; queued events have none and match only without a range. */
  range?: { gt?: number; gte?: number; lt?: number; lte?: number } | undefined;
  /** As given out before; a cursor of another order is refused with AppError wire invalid_request_error. */
  cursor?: string | undefined;
}
export interface SessionQuery {
  limit: number;
  order: 'asc' | 'desc';
  agentId?: string | undefined;
  agentVersion?: number | undefined;
  statuses?: ReadonlySet<SessionStatus> | undefined;
  includeArchived: boolean;
  range?: { gt?: number; gte?: number; lt?: number; lte?: number } | undefined;
  cursor?: string | undefined;
}
export interface SessionPage {
  sessions: StoredSession[];
  nextCursor: string | null;
  prevCursor: string | null;
}

/** The part of the log that gateways use. Every call is safe to repeat. */
export interface SessionLog {
  create(session: CreateSession): Promise<{ startsWork: boolean }>;
  /** Null for a session that never was or is deleted. The caller checks the workspace. */
  get(sessionId: string): Promise<StoredSession | null>;
  list(workspaceId: string, query: SessionQuery): Promise<SessionPage>;
  /**
   * Makes the changes and appends `session.updated` with them. `stale`: somebody else changed the session since `revision`. `running`: its
   * agent changes only while it is idle. `wants_worker`: it stopped at its budget and has work again, or its log is long unfolded.
   */
  update(
    sessionId: string,
    revision: number,
    change: SessionChange,
  ): Promise<'updated' | 'wants_worker' | 'stale' | 'missing' | 'archived' | 'running'>;
  /** `taken`: another file is mounted at this path, above or below it. Retries with the same id add nothing. */
  addFile(
    sessionId: string,
    file: SessionFile,
  ): Promise<{ outcome: 'added' | 'missing' | 'archived' | 'too_many' } | { outcome: 'taken'; path: string }>;
  removeFile(sessionId: string, resourceId: string): Promise<'removed' | 'unknown' | 'missing' | 'archived'>;
  /** What a sandbox of the session has to have mounted now. The revision changes with every change; 0: there never was a file. */
  filesRevision(sessionId: string): Promise<number>;
  files(sessionId: string): Promise<{ revision: number; files: SessionFile[] }>;
  archive(sessionId: string): Promise<'archived' | 'running' | 'missing'>;
  /** Appends `session.deleted`, ends the session's keys after a minute (so that readers see it) and its blobs at once. */
  delete(sessionId: string): Promise<'deleted' | 'running' | 'missing'>;
  /**
   * Ends what deleted sessions left: because whoever deleted them died half-way, or because a worker still wrote. To be called now and then,
   * by any number of processes. Resolves to how many sessions were finished.
   */
  finishDeletes(alsoEnd?: (workspaceId: string, sessionId: string) => Promise<void>): Promise<number>;
  send(request: SendRequest): Promise<SendResult>;
  listEvents(sessionId: string, query: EventQuery): Promise<{ events: SessionEvent[]; nextCursor: string | null }>;
  /** Entries behind `after`, oldest first, bodies resolved. */
  read(sessionId: string, after: number, limit: number): Promise<LogEntry[]>;
  /** Client events that no worker took up yet, in arrival order; `positions` if the caller knows which. */
  pending(sessionId: string, positions?: number[]): Promise<LogEntry[]>;
  /** Position of the first appearance of an event, or null. */
  findEvent(sessionId: string, eventId: string): Promise<number | null>;
  /** Which of these sessions there are. */
  existing(sessionIds: string[]): Promise<ReadonlySet<string>>;
}

/** What a worker holds while it runs a session. */
export interface Lease {
  sessionId: string;
  workspaceId: string;
  epoch: number;
  /** The head of the log at acquisition. */
  head: number;
  takeovers: number;
}

/** What a call of the agent waits for: a confirmation, or the result of a custom tool. */
export type CallWait = 'ask' | 'custom';

/** One fenced append: all or nothing. */
export interface AppendBatch {
  /** Events in order; `stamp` names queued entries by position, which get their second appearance here. */
  entries: ({ event: NewEvent } | { stamp: number })[];
  /** State that changes with it. Only the named fields change. */
  state?: Partial<{
    status: SessionStatus;
    usage: UsageTotals;
    /** With every idle: what was spent by then, in nano-dollars. */
    spentNano: number;
    /** The turn stopped at the budget: it goes on as soon as that is raised or taken away. */
    capped: boolean;
    activeMs: number;
    runningSinceMs: number | null;
    checkpoint: Checkpoint;
    sandbox: SandboxBinding | null;
    takeovers: number;
    failures: number;
  }>;
  /**
   * Calls that wait for the client's word from here on, and calls that no longer do. `'taken'`: the worker answers in the client's place;
   * the batch is refused with `pending` if the client was faster.
   */
  calls?: { id: string; waitsFor: CallWait | 'taken' | null }[];
  /**
   * What the session spent, in nano-dollars, and how its budget must stand for this batch: something `left` of it (or no budget), or
   * `reached`. Refused with `budget` otherwise: clients may change a budget at any time.
   */
  budget?: { spentNano: number; must: 'left' | 'reached' };
  /** Clears the dirty mark, but only if nothing is queued; otherwise the whole batch is refused with `pending`. */
  goIdle?: boolean;
  /**
   * The same for a session whose calls wait for its client: messages may stay queued, and it is refused with `pending` if the log is not at
   * this head any more.
   */
  parkAt?: number;
  /** Not before this time (milliseconds) should a sweep wake the session again: the back-off of `rescheduling`. */
  wakeAtMs?: number;
}
export type AppendResult =
  /** `positions` in the order of `entries`; `processedAt` is the RFC 3339 stamp they all got. */
  { outcome: 'applied'; positions: number[]; head: number; processedAt: string } | { outcome: 'pending' } | { outcome: 'budget' };

/** The part of the log that workers use. `append` throws AppError `fenced` when another worker took over: stop quietly (I3). */
export interface SessionWriter {
  /** With the lease comes the session as it is now, the positions of its queued client events, and the first entries behind its checkpoint. */
  acquire(
    sessionId: string,
    workerId: string,
    ttlMs: number,
  ): Promise<{ lease: Lease; stored: StoredSession; queued: number[]; entries: LogEntry[] } | { busyForMs: number } | { missing: true }>;
  /** False when the lease is lost. */
  renew(lease: Lease, workerId: string, ttlMs: number): Promise<boolean>;
  /** `handover`: work is left; the session stays dirty and due at once. */
  release(lease: Lease, handover: boolean): Promise<void>;
  /** `n` counts this epoch's appends from 1; sending the same n again applies nothing and returns the first result. */
  append(lease: Lease, n: number, batch: AppendBatch): Promise<AppendResult>;
  /** Dirty sessions that no live worker holds and that have been due for `settleMs`: a wake-up on its way is not overtaken. */
  due(limitPerBucket: number, settleMs: number): Promise<{ sessionId: string; workspaceId: string }[]>;
  /** Publishes previews; never stored. */
  preview(sessionId: string, frames: PreviewFrame[]): Promise<void>;
}

/** Follows sessions through one blocking reader per process. */
export interface Tail {
  /**
   * Delivers every entry behind `after`, in order, none twice, until closed. `onEntries` returns a promise when it cannot take more
   * (back-pressure): this subscriber is then read for by itself until it caught up, and holds nobody else up.
   */
  subscribe(sessionId: string, after: number, onEntries: (entries: LogEntry[]) => void | Promise<void>): TailSubscription;
  /** Delivers previews as they are published. */
  subscribePreviews(sessionId: string, onFrames: (frames: PreviewFrame[]) => void): TailSubscription;
  close(): Promise<void>;
}
export interface TailSubscription {
  close(): void;
}

export interface SessionLogDeps {
  redis: Redis;
  blobs: BlobStore;
  clock: Clock;
  ids: IdSource;
  log: Logger;
}
export type { EventType };
