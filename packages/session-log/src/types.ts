/**
 * What is stored of a session, for those who use it. A session has threads: the primary one, and perhaps children. Each thread has a log (a
 * Redis Stream), a state that changes with it in the same Lua call, a list of queued events, and a lease that says which worker may write.
 *
 * Terms: a *position* is a 1-based integer, the order of a thread's log; a *sequence number* counts the entries of all threads of a session,
 * so that there is one total order. An event that waits for the thread's worker is first *queued* (an entry of its own, told once on streams
 * with `processed_at: null`), later *marked processed* (a second entry with the same id, told again). Lists show it once, at the position of its
 * processed form; those still queued come last, in arrival order (CONTRACT 8 I). A *copy* is an entry of a child that the primary's log
 * shows, too: listed and streamed there, never folded into a context, never run.
 */
import type { Budget, EventBody, SessionAgent, SessionEvent, SessionStatus } from '@manyhands/contract';

/** What a session is. Only the tools of its agent ever change, and only while it is idle. The agent is that of the primary thread. */
export interface SessionRecord {
  id: string;
  workspace_id: string;
  agent: SessionAgent;
  environment_id: string;
}
/** What a child is. */
export interface ThreadRecord {
  id: string;
  agent: SessionAgent;
}

/** Where a session's sandbox is. `generation` counts leases, so that a late answer of an older sandbox is refused. */
export interface SandboxBinding {
  pool_id: string | null;
  sandbox_id: string | null;
  generation: number;
  /** The sequence number when the last sandbox was given up: calls that were asked for before it ran there, if at all. */
  ended_at?: number;
}
/** How far the context is folded: everything up to `position` is in the blob. */
export interface Checkpoint {
  position: number;
  blob: string;
}

/** Plain sums. */
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

/** What changes with the logs of a session, in the same Lua call. Times are milliseconds on Redis' clock. */
export interface SessionState {
  /** The last sequence number. */
  sequence: number;
  /** Any running thread makes it running. */
  status: SessionStatus;
  primary_thread_id: string;
  /** How many threads there are beside the primary one. */
  children: number;
  title: string | null;
  metadata: Record<string, string>;
  created_at_ms: number;
  updated_at_ms: number;
  archived_at_ms: number | null;
  usage: UsageTotals;
  budget: Budget | null;
  /** Milliseconds of work up to `running_since_ms`, from which on some thread works. */
  active_ms: number;
  running_since_ms: number | null;
  sandbox: SandboxBinding | null;
  /** Results of sandboxes that its threads have appended. */
  sandbox_uses: number;
  /** Changes with every update by a client; guards read-modify-write. */
  revision: number;
}

/** What changes with a thread's log, in the same Lua call. */
export interface ThreadState {
  /** The last position of its log. */
  head: number;
  status: SessionStatus;
  parent_thread_id: string | null;
  created_at_ms: number;
  updated_at_ms: number;
  archived_at_ms: number | null;
  checkpoint: Checkpoint | null;
  /** Entries of its own behind the checkpoint, about. */
  uncheckpointed: number;
  /** Model attempts that failed in a row. */
  failures: number;
  /** Runs that ended with an exception in a row, unavailable infrastructure aside. */
  exceptions: number;
  /** The sequence number of an interrupt of the whole session that this child has not handled yet; 0 for none. */
  interrupt: number;
  usage: UsageTotals;
  active_ms: number;
  running_since_ms: number | null;
  /** W3C trace context of what gave it work last. */
  traceparent: string | null;
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
  /** When this was so, on Redis' clock. */
  as_of_ms: number;
}
export interface StoredThread {
  id: string;
  agent: SessionAgent;
  state: ThreadState;
  as_of_ms: number;
}

/** One entry of a thread's log. `hidden` is for the harness only (thinking blocks, model ids); it is never shown. */
export interface LogEntry {
  position: number;
  sequence: number;
  kind: 'queued' | 'event';
  event: SessionEvent;
  hidden: unknown;
  /** For a processed event: the position of its queued form. */
  arrival: number | null;
  /** For a copy: the thread it is of. */
  copyOf: string | null;
}

export interface NewEvent {
  id: string;
  body: EventBody;
  hidden?: unknown;
}
