/** Updating a session (SE-3): read, compute, write if nobody changed it since; a change of nothing writes nothing. */
import { isDeepStrictEqual } from 'node:util';
import { AppError, conflict, invalidRequest, notFound } from '@manyhands/base';
import { METADATA_MAX_KEYS, mergeMetadata, type SessionUpdate } from '@manyhands/contract';
import type { SessionLog, StoredSession } from '@manyhands/session-log';

/** Each lost round means that another update won; this many in a row means that something else is wrong. */
const ROUNDS = 100;

export function sessionArchived(sessionId: string) {
  return conflict(`session ${sessionId} is archived and read-only`);
}

function changesOf({ state }: StoredSession, wanted: SessionUpdate): { title?: string | null; metadata?: Record<string, string> } {
  const changes: { title?: string | null; metadata?: Record<string, string> } = {};
  if (wanted.title !== undefined && wanted.title !== state.title) changes.title = wanted.title;
  const metadata = mergeMetadata(state.metadata, wanted.metadata);
  const count = Object.keys(metadata).length;
  if (count > METADATA_MAX_KEYS)
    throw invalidRequest(`metadata: at most ${METADATA_MAX_KEYS} keys; with this change there would be ${count}, delete some with null`);
  if (!isDeepStrictEqual(metadata, state.metadata)) changes.metadata = metadata;
  return changes;
}

/** `find` reads the session anew, or throws 404. */
export async function changeSession(log: SessionLog, find: () => Promise<StoredSession>, wanted: SessionUpdate): Promise<StoredSession> {
  for (let round = 0; round < ROUNDS; round++) {
    const stored = await find();
    const { id } = stored.record;
    if (stored.state.archived_at_ms !== null) throw sessionArchived(id);
    if (stored.state.status === 'terminated') throw invalidRequest(`session ${id} is terminated and can no longer be changed`);
    const changes = changesOf(stored, wanted);
    if (Object.keys(changes).length === 0) return stored;
    const outcome = await log.update(id, stored.state.revision, changes);
    if (outcome === 'updated') return find();
    if (outcome === 'missing') throw notFound('session', id);
    if (outcome === 'archived') throw sessionArchived(id);
  }
  throw new AppError('unavailable', 'too many concurrent updates of one session');
}
