/** Append, read, tail and fence a session. */

export { toSession, toThread } from './resources.ts';
export { createSessionLog } from './session-log.ts';
export { createSessionWriter } from './session-writer.ts';
export { createTail } from './tail.ts';
export type {
  AppendBatch,
  AppendResult,
  Checkpoint,
  CreateSession,
  EventQuery,
  Lease,
  LogEntry,
  NewEvent,
  SandboxBinding,
  SendRequest,
  SendResult,
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
} from './types.ts';
