/** Updating a session (SE-3): read, compute, write if nobody changed it since; a change of nothing writes nothing. */
import { isDeepStrictEqual } from 'node:util';
import { AppError, conflict, invalidRequest, notFound } from '@manyhands/base';
import { METADATA_MAX_KEYS, mergeMetadata, resolveTools, type SessionUpdate } from '@manyhands/contract';
import type { SessionChange, StoredSession } from '@manyhands/session-log';
import type { GatewayDeps } from '../../deps.ts';
import { budgetChange } from './session-budget.ts';

/** Each lost round means that another update won; this many in a row have another cause than contention. */
const ROUNDS = 100;

export function stillRunning(sessionId: string, wish: string) {
  return invalidRequest(`session ${sessionId} is running and ${wish}; send a user.interrupt and wait until it is idle`);
}
export function sessionArchived(sessionId: string) {
  return conflict(`session ${sessionId} is archived and read-only`);
}

function toolsInUse(sessionId: string) {
  return stillRunning(sessionId, 'its agent cannot be changed');
}

function changesOf({ record, state }: StoredSession, wanted: SessionUpdate): SessionChange {
  const changes: SessionChange = {};
  if (wanted.title !== undefined && wanted.title !== state.title) changes.title = wanted.title;
  const metadata = mergeMetadata(state.metadata, wanted.metadata);
  const count = Object.keys(metadata).length;
  if (count > METADATA_MAX_KEYS)
    throw invalidRequest(`metadata: at most ${METADATA_MAX_KEYS} keys; with this change there would be ${count}, delete some with null`);
  if (!isDeepStrictEqual(metadata, state.metadata)) changes.metadata = metadata;
  if (wanted.agent?.tools !== undefined) {
    const agent = { ...record.agent, tools: resolveTools(wanted.agent.tools) };
    if (!isDeepStrictEqual(agent, record.agent)) changes.agent = agent;
  }
  return changes;
}

/** `find` reads the session anew, or throws 404. `wakes`: threads that have work again, or whose log has to be checkpointed. */
export async function changeSession(
  { sessionLog: log, prices }: Pick<GatewayDeps, 'sessionLog' | 'prices'>,
  find: () => Promise<StoredSession>,
  wanted: SessionUpdate,
): Promise<{ stored: StoredSession; wakes: string[] }> {
  for (let round = 0; round < ROUNDS; round++) {
    const stored = await find();
    const { id } = stored.record;
    if (stored.state.archived_at_ms !== null) throw sessionArchived(id);
    if (stored.state.status === 'terminated') throw invalidRequest(`session ${id} is terminated and can no longer be changed`);
    // Also when nothing would change: whether an update is allowed does not depend on what the tools happen to be.
    if (wanted.agent?.tools !== undefined && stored.state.status !== 'idle') throw toolsInUse(id);
    const changes = changesOf(stored, wanted);
    const budget = budgetChange(stored, wanted.budget, prices);
    if (budget !== undefined) changes.budget = budget;
    if (Object.keys(changes).length === 0) return { stored, wakes: [] };
    const result = await log.update(id, stored.state.revision, changes);
    if (result.outcome === 'updated') return { stored: await find(), wakes: result.wakes };
    const { outcome } = result;
    if (outcome === 'missing') throw notFound('session', id);
    if (outcome === 'archived') throw sessionArchived(id);
    if (outcome === 'running') throw toolsInUse(id);
  }
  throw new AppError('unavailable', 'too many concurrent updates of one session');
}
