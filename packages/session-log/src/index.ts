/** Append, read, tail and fence a session. */

export { type AppendMetrics, createAppendMetrics, measureSessionLog, measureSessionWriter } from './append-metrics.ts';
export { toFileResource, toSession, toThread } from './resources.ts';
export { createSessionLog } from './session-log.ts';
export { createSessionWriter } from './session-writer.ts';
export { createTail } from './tail.ts';
export type {
  AppendBatch,
  AppendResult,
  CallWait,
  Checkpoint,
  CreateSession,
  EventQuery,
  Lease,
  LogEntry,
  NewEvent,
  NoSuchCall,
  SandboxBinding,
  SendRequest,
  SendResult,
  SessionChange,
  SessionFile,
  SessionLog,
  SessionLogDeps,
  SessionPage,
  SessionQuery,
  SessionRecord,
  SessionState,
  SessionWriter,
  StoredSession,
  Tail,
  TailSubscription,
  UsageTotals,
} from './types.ts';
export { activeMs, NO_USAGE, spentNano, usageReport } from './usage.ts';
