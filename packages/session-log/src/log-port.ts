/** The part of the log that gateways use: the session's side. */
import type { Clock, IdSource, Logger, Redis } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { Budget, ClientEventBody, SessionAgent, SessionEvent, SessionStatus } from '@manyhands/contract';
import type { LogEntry, SessionFile, SessionRecord, StoredSession, StoredThread } from './types.ts';

export interface SessionLogDeps {
  redis: Redis;
  blobs: BlobStore;
  clock: Clock;
  ids: IdSource;
  log: Logger;
  /** List price of an hour of work, in nano-dollars. */
  hourNano: number;
}

export interface CreateSession {
  record: SessionRecord;
  title: string | null;
  metadata: Record<string, string>;
  budget: Budget | null;
  files?: SessionFile[];
  initialEvents: ClientEventBody[];
  /** When this process began with it, on its own clock: a creation that took too long is given up. */
  begunAtMs: number;
}

export interface SessionChange {
  title?: string | null;
  metadata?: Record<string, string>;
  agent?: SessionAgent;
  /** Null takes it away. */
  budget?: Budget | null;
}

export type SendResult =
  /** `wakes`: threads that want a worker, to run a turn or to fold a log that went on without one. */
  | { outcome: 'stored'; events: SessionEvent[]; wakes: string[] }
  /** The same request was stored before (CONTRACT 8 K); nothing was appended. */
  | { outcome: 'repeated'; events: SessionEvent[] }
  | { outcome: 'missing' }
  | { outcome: 'archived' }
  /** The session is at its budget: event `index` is of a kind that is not taken then. Nothing was stored. */
  | { outcome: 'capped'; index: number }
  /** Event `index` is a message, and the primary thread waits for answers to these calls. Nothing was stored. */
  | { outcome: 'waiting'; index: number; calls: string[] }
  /** Event `index` answers what is no call that waits for such an answer. Nothing was stored. */
  | { outcome: 'no_such_call'; index: number; call: string; why: NoSuchCall }
  /** Event `index` is for a thread that the session does not have. Nothing was stored. */
  | { outcome: 'no_such_thread'; index: number };

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
  /** Only with `agentId`. */
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

/** Every call is safe to repeat. `threadId` is the primary thread's where it is left out. */
export interface SessionLog {
  create(session: CreateSession): Promise<{ wakes: string[] }>;
  /** Null for a session that never was or is deleted. The caller checks the workspace. */
  get(sessionId: string): Promise<StoredSession | null>;
  list(workspaceId: string, query: SessionQuery): Promise<SessionPage>;
  /** Null for a thread that the session does not have. */
  thread(stored: StoredSession, threadId: string): Promise<StoredThread | null>;
  /** The primary thread first, then the others as they were made. */
  threads(stored: StoredSession): Promise<StoredThread[]>;
  /**
   * Makes the changes and appends `session.updated` with them. `stale`: somebody else changed the session since `revision`. `running`: its
   * agent changes only while it is idle. `wakes`: threads that stopped at the budget and have work again, or whose log is to be folded.
   */
  update(
    sessionId: string,
    revision: number,
    change: SessionChange,
  ): Promise<{ outcome: 'updated'; wakes: string[] } | { outcome: 'stale' | 'missing' | 'archived' | 'running' }>;
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
  listEvents(sessionId: string, query: EventQuery, threadId?: string): Promise<{ events: SessionEvent[]; nextCursor: string | null }>;
  /** Entries behind `after`, oldest first, bodies resolved; fewer than asked for where they are large, none only at the end. */
  read(sessionId: string, after: number, limit: number, threadId?: string): Promise<LogEntry[]>;
  /** Events that no worker took up yet, in arrival order; `positions` if the caller knows which. */
  pending(sessionId: string, positions?: number[], threadId?: string): Promise<LogEntry[]>;
  /** Position of the first appearance of an event in a thread's log, or null. */
  findEvent(sessionId: string, eventId: string, threadId?: string): Promise<number | null>;
  /** Which of these sessions there are. */
  existing(sessionIds: string[]): Promise<ReadonlySet<string>>;
}
