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
  ClientEventBody,
  EventBody,
  EventType,
  PreviewFrame,
  SessionAgent,
  SessionEvent,
  SessionStatus,
  SessionUsage,
} from '@manyhands/contract';

/** What never changes in a session's life. Times are milliseconds. */
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
}
/** How far the context is folded: everything up to `position` is in the blob. */
export interface Checkpoint {
  position: number;
  blob: string;
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
  usage: SessionUsage;
  /** Milliseconds of work in turns that ended; the running one counts from `running_since_ms`. */
  active_ms: number;
  running_since_ms: number | null;
  checkpoint: Checkpoint | null;
  sandbox: SandboxBinding | null;
  /** Workers that took this turn over since it last made progress. */
  takeovers: number;
  /** Model attempts that failed in a row. */
  failures: number;
  /** Changes with every title or metadata update; guards read-modify-write. */
  revision: number;
}
export interface StoredSession {
  record: SessionRecord;
  state: SessionState;
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
  initialEvents: ClientEventBody[];
}

export type SendResult =
  | { outcome: 'stored'; events: SessionEvent[]; startsWork: boolean }
  /** The same request was stored before (CONTRACT 8 K); nothing was appended. */
  | { outcome: 'repeated'; events: SessionEvent[] }
  | { outcome: 'missing' }
  | { outcome: 'archived' };

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
  /** Sets title and metadata and appends `session.updated` with what changed. `stale`: somebody else changed it since `revision`. */
  update(
    sessionId: string,
    revision: number,
    change: { title?: string | null; metadata?: Record<string, string> },
  ): Promise<'updated' | 'stale' | 'missing' | 'archived'>;
  archive(sessionId: string): Promise<'archived' | 'running' | 'missing'>;
  /** Appends `session.deleted`, ends the session's keys after a minute (so that readers see it) and its blobs at once. */
  delete(sessionId: string): Promise<'deleted' | 'running' | 'missing'>;
  send(request: SendRequest): Promise<SendResult>;
  listEvents(sessionId: string, query: EventQuery): Promise<{ events: SessionEvent[]; nextCursor: string | null }>;
  /** Entries behind `after`, oldest first, bodies resolved. */
  read(sessionId: string, after: number, limit: number): Promise<LogEntry[]>;
  /** Client events that no worker took up yet, in arrival order; `positions` if the caller knows which. */
  pending(sessionId: string, positions?: number[]): Promise<LogEntry[]>;
  /** Position of the first appearance of an event, or null. */
  findEvent(sessionId: string, eventId: string): Promise<number | null>;
  /** How many sessions of a workspace refer to an environment (deletion guard). */
  countByEnvironment(workspaceId: string, environmentId: string): Promise<number>;
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

/** One fenced append: all or nothing. */
export interface AppendBatch {
  /** Events in order; `stamp` names queued entries by position, which get their second appearance here. */
  entries: ({ event: NewEvent } | { stamp: number })[];
  /** State that changes with it. Only the named fields change. */
  state?: Partial<{
    status: SessionStatus;
    usage: SessionUsage;
    activeMs: number;
    runningSinceMs: number | null;
    checkpoint: Checkpoint;
    sandbox: SandboxBinding | null;
    takeovers: number;
    failures: number;
  }>;
  /** Clears the dirty mark, but only if nothing is queued; otherwise the whole batch is refused with `pending`. */
  goIdle?: boolean;
  /** Not before this time (milliseconds) should a sweep wake the session again: the back-off of `rescheduling`. */
  wakeAtMs?: number;
}
export type AppendResult =
  /** `positions` in the order of `entries`; `processedAt` is the RFC 3339 stamp they all got. */
  { outcome: 'applied'; positions: number[]; head: number; processedAt: string } | { outcome: 'pending' };

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
