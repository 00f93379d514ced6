/** Looks a session up for an identity. A session of another workspace is answered like one that does not exist (I12). */
import { notFound } from '@manyhands/base';
import { isId } from '@manyhands/contract';
import type { SessionLog, StoredSession, StoredThread } from '@manyhands/session-log';
import type { KeyIdentity } from '@manyhands/store';

const REMEMBERED_MAX = 20_000;

export interface SessionLookup {
  /** 404 for malformed, unknown and foreign ids. */
  get(identity: KeyIdentity, sessionId: string): Promise<StoredSession>;
  /**
   * Only checks that the session belongs to the workspace, usually from the cache: that never changes. A cached session may have been deleted
   * meanwhile; the operation that follows reports it.
   */
  check(identity: KeyIdentity, sessionId: string): Promise<void>;
}

export function createSessionLookup(sessionLog: SessionLog): SessionLookup {
  const workspaces = new Map<string, string>();

  async function get(identity: KeyIdentity, sessionId: string): Promise<StoredSession> {
    const stored = isId('session', sessionId) ? await sessionLog.get(sessionId) : null;
    if (!stored) {
      workspaces.delete(sessionId);
      throw notFound('session', sessionId);
    }
    if (workspaces.size >= REMEMBERED_MAX) workspaces.clear();
    workspaces.set(sessionId, stored.record.workspace_id);
    if (stored.record.workspace_id !== identity.workspace_id) throw notFound('session', sessionId);
    return stored;
  }
  return {
    get,
    async check(identity, sessionId) {
      if (workspaces.get(sessionId) !== identity.workspace_id) await get(identity, sessionId);
    },
  };
}

/** 404 for malformed, unknown and foreign ids. */
export async function findThread(sessionLog: SessionLog, stored: StoredSession, threadId: string): Promise<StoredThread> {
  const thread = isId('thread', threadId) ? await sessionLog.thread(stored, threadId) : null;
  if (!thread) throw noSuchThread(threadId);
  return thread;
}
export function noSuchThread(threadId: string) {
  return notFound('session thread', threadId);
}
