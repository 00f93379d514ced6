/**
 * What one wake-up of one thread works with. It lives as long as the lease; nothing in it outlives the worker, since everything that
 * counts is in the log (DESIGN 3).
 */
import type { Clock, IdSource, Logger, Messaging, Scope } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { SessionAgent } from '@manyhands/contract';
import type { ModelClient, PriceTable } from '@manyhands/model';
import type { Feed, Lease, SessionLog, SessionRecord, SessionWriter, ThreadState } from '@manyhands/session-log';
import type { EnvironmentStore, FileStore } from '@manyhands/store';
import type { TurnReport } from '@manyhands/turn-queue';
import type { Context } from '../context/context.ts';
import type { ContextMemory } from '../context/context-memory.ts';
import type { HarnessMetrics } from '../metrics.ts';
import type { ToolRouter } from '../tools/tool-router.ts';
import type { Inbox } from './inbox.ts';
import type { Journal } from './journal.ts';

export interface HarnessSettings {
  workerId: string;
  /** Upper bound of an answer, in tokens. */
  maxTokens: number;
  /** Answers in a row that may call tools before a turn is given up. */
  toolRounds: number;
  /** Model attempts in a row before a turn is given up. */
  modelAttempts: number;
  /** First and longest wait between them, in milliseconds. */
  retryBaseMs: number;
  retryCapMs: number;
  /** What a model answer under way gets at the end of the process, in milliseconds. */
  drainMs: number;
}

export interface HarnessDeps {
  log: SessionLog;
  writer: SessionWriter;
  feed: Feed;
  blobs: BlobStore;
  environments: EnvironmentStore;
  files: FileStore;
  model: ModelClient;
  /** Tokens that prompt and answer of a model may have together. */
  contextWindow: (model: string) => number;
  prices: PriceTable;
  messaging: Messaging;
  contexts: ContextMemory;
  /** Wakes threads that were given work. Best effort: a sweep finds what is lost (I5). */
  wake(place: Pick<Lease, 'sessionId' | 'workspaceId'>, threadIds: readonly string[]): void;
  clock: Clock;
  ids: IdSource;
  logger: Logger;
  metrics: HarnessMetrics;
  settings: HarnessSettings;
}

export interface Turn {
  deps: HarnessDeps;
  lease: Lease;
  record: SessionRecord;
  /** The thread's. */
  agent: SessionAgent;
  /** The thread's, as read when the lease was taken; the fields below go on from there. */
  state: ThreadState;
  context: Context;
  journal: Journal;
  inbox: Inbox;
  tools: ToolRouter;
  report: TurnReport;
  log: Logger;
  /** Everything that is started for this turn hangs in it. */
  scope: Scope;
  failures: number;
  /** When the thread was given this work, on this process's clock; null if that is not known. */
  startedMs: number | null;
  /** Numbers the previews of this epoch. */
  nextPreviewNumber: () => number;
  /** Position of the last checkpoint. */
  checkpointed: number;
  /** Calls that were open when this worker came and that nothing held back: an earlier worker may have started them. */
  inherited: ReadonlySet<string>;
  /** Calls that this worker found to wait for the client. */
  awaited: Set<string>;
  /** The scope's: fires when the lease is lost. Stop at once, write nothing. */
  lost: AbortSignal;
  drain: Drain;
}

/** The end of the process, in two steps. */
export interface Drain {
  /** Fires first: hand over at the next safe point. A call in a sandbox is left to run on; what cannot be left may end. */
  begun: AbortSignal;
  /** Fires when the time for that is over: give up what still runs here, so that the next worker does it again. */
  due: AbortSignal;
}

export function checkLost(turn: Turn): void {
  turn.lost.throwIfAborted();
}
