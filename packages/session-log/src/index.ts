/** Append, read, follow and fence the threads of a session. */

export { createFeed } from './feed/feed.ts';
export type { Feed, FollowOptions, Subscription } from './feed/feed-port.ts';
/** Where a session lies, for tests and tools. */
export { sessionKeys, threadKeys } from './keys.ts';
export { upgradeSessions } from './legacy/upgrade.ts';
export type {
  CreateSession,
  EventQuery,
  NoSuchCall,
  SendRequest,
  SendResult,
  SessionChange,
  SessionLog,
  SessionLogDeps,
  SessionPage,
  SessionQuery,
} from './log-port.ts';
export { toFileResource, toSession, toThread } from './resources/resources.ts';
export { activeMs, NO_USAGE, spentNano, usageReport } from './resources/usage.ts';
export { createSessionLog } from './sessions/session-log.ts';
export { LOG_FORMAT } from './threads/state.ts';
export type {
  Checkpoint,
  LogEntry,
  NewEvent,
  SandboxBinding,
  SessionFile,
  SessionRecord,
  SessionState,
  StoredSession,
  StoredThread,
  ThreadRecord,
  ThreadState,
  UsageTotals,
} from './types.ts';
export { type AppendMetrics, createAppendMetrics, measureSessionLog, measureSessionWriter } from './work/append-metrics.ts';
export { createSessionWriter } from './work/session-writer.ts';
export type {
  Acquired,
  AppendBatch,
  AppendEntry,
  AppendResult,
  CallWait,
  GoIdle,
  Lease,
  NewThread,
  SessionWriter,
  ThreadMessage,
} from './work-port.ts';
