/**
 * What one wake-up of one session works with. It lives as long as the lease; nothing in it outlives the worker, since everything that
 * counts is in the log (DESIGN 3).
 */
import type { Clock, IdSource, Logger, Messaging } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { SessionUsage } from '@manyhands/contract';
import type { ModelClient } from '@manyhands/model';
import type { Lease, SessionLog, SessionRecord, SessionState, SessionWriter, Tail } from '@manyhands/session-log';
import type { EnvironmentStore } from '@manyhands/store';
import type { TurnReport } from '@manyhands/turn-queue';
import type { Context } from './context.ts';
import type { Inbox } from './inbox.ts';
import type { Journal } from './journal.ts';
import type { ToolRouter } from './tool-router.ts';

export interface HarnessSettings {
  workerId: string;
  /** Upper bound of an answer, in tokens. */
  maxTokens: number;
  /** Model attempts in a row before a turn is given up. */
  modelAttempts: number;
  /** First and longest wait between them, in milliseconds. */
  retryBaseMs: number;
  retryCapMs: number;
}

export interface HarnessDeps {
  log: SessionLog;
  writer: SessionWriter;
  tail: Tail;
  blobs: BlobStore;
  environments: EnvironmentStore;
  model: ModelClient;
  messaging: Messaging;
  clock: Clock;
  ids: IdSource;
  logger: Logger;
  settings: HarnessSettings;
}

export interface Turn {
  deps: HarnessDeps;
  lease: Lease;
  record: SessionRecord;
  /** As read after the lease was taken; the fields below go on from there. */
  state: SessionState;
  context: Context;
  journal: Journal;
  inbox: Inbox;
  tools: ToolRouter;
  report: TurnReport;
  log: Logger;
  usage: SessionUsage;
  failures: number;
  /** Numbers the previews of this epoch. */
  nextPreviewNumber: () => number;
  /** Position of the last checkpoint. */
  checkpointed: number;
  /** Calls that were open when this worker came: an earlier worker may have started them. */
  inherited: ReadonlySet<string>;
  /** Fires when the lease is lost: stop at once, write nothing. */
  lost: AbortSignal;
  /** Fires when the process is to end: hand over at the next safe point. */
  drain: AbortSignal;
}

export function checkLost(turn: Turn): void {
  turn.lost.throwIfAborted();
}
