/** SE-1..6: sessions. */
import { invalidRequest, notFound } from '@manyhands/base';
import { SESSION_STATUSES, SessionCreate, type SessionStatus, SessionUpdate } from '@manyhands/contract';
import { type StoredSession, toSession } from '@manyhands/session-log';
import type { FastifyInstance } from 'fastify';
import type { GatewayDeps } from '../../deps.ts';
import { identityOf } from '../../http/auth.ts';
import { parseBody, refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';
import type { Enqueuer } from '../enqueuer.ts';
import type { SessionLookup } from './session-lookup.ts';
import { startSession } from './session-start.ts';
import { changeSession, stillRunning } from './session-update.ts';

interface SessionRoute {
  Params: { session_id: string };
}
const LIST_PARAMETERS = [
  'limit',
  'page',
  'order',
  'agent_id',
  'agent_version',
  'deployment_id',
  'memory_store_id',
  'include_archived',
  'statuses[]',
  'created_at[gt]',
  'created_at[gte]',
  'created_at[lt]',
  'created_at[lte]',
];

export function registerSessions(app: FastifyInstance, deps: GatewayDeps, sessions: SessionLookup, enqueuer: Enqueuer): void {
  const { sessionLog } = deps;
  const shown = (stored: StoredSession) => toSession(stored, deps.prices.runtimeCost);

  /** A session that is over needs no sandbox. */
  function releaseSandbox({ record, state }: StoredSession, deleteBlobs: boolean): void {
    const { pool_id, sandbox_id, generation } = state.sandbox ?? {};
    if (!pool_id || !sandbox_id || generation === undefined) return;
    enqueuer.release({
      session_id: record.id,
      workspace_id: record.workspace_id,
      pool_id,
      sandbox_id,
      generation,
      delete_blobs: deleteBlobs,
    });
  }

  app.post('/v1/sessions', async (request) => {
    readQuery(request, []);
    return startSession(deps, enqueuer, identityOf(request), parseBody(SessionCreate, request.body));
  });

  app.get('/v1/sessions', async (request) => {
    const query = readQuery(request, LIST_PARAMETERS);
    for (const name of ['deployment_id', 'memory_store_id'])
      if (query.text(name) !== undefined) throw invalidRequest(`${name}: filtering by it is not supported yet; leave it out`);
    const agentId = query.text('agent_id');
    const agentVersion = query.integer('agent_version', 1, Number.MAX_SAFE_INTEGER);
    if (agentVersion !== undefined && agentId === undefined) throw invalidRequest('agent_version: needs agent_id beside it');
    const page = await sessionLog.list(identityOf(request).workspace_id, {
      limit: query.limit(),
      order: query.order('desc'),
      agentId,
      agentVersion,
      statuses: query.list('statuses', SESSION_STATUSES) as ReadonlySet<SessionStatus> | undefined,
      includeArchived: query.flag('include_archived'),
      range: query.createdAt(),
      cursor: query.text('page'),
    });
    return { data: page.sessions.map(shown), next_page: page.nextCursor, prev_page: page.prevCursor };
  });

  app.get<SessionRoute>('/v1/sessions/:session_id', async (request) => {
    readQuery(request, []);
    return shown(await sessions.get(identityOf(request), request.params.session_id));
  });

  app.post<SessionRoute>('/v1/sessions/:session_id', async (request) => {
    readQuery(request, []);
    const find = () => sessions.get(identityOf(request), request.params.session_id);
    await find();
    const { stored, wakes: woken } = await changeSession(deps, find, parseBody(SessionUpdate, request.body ?? {}));
    enqueuer.wake(stored.record.workspace_id, stored.record.id, woken);
    return shown(stored);
  });

  app.delete<SessionRoute>('/v1/sessions/:session_id', async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    const { record } = stored;
    const outcome = await sessionLog.delete(record.id);
    if (outcome === 'running') throw stillRunning(record.id, 'cannot be deleted');
    if (outcome === 'missing') throw notFound('session', record.id);
    releaseSandbox(stored, true);
    await deps.files.deleteScope(record.workspace_id, record.id);
    await deps.environments.release(record.workspace_id, record.environment_id, record.id);
    return { id: record.id, type: 'session_deleted' };
  });

  app.post<SessionRoute>('/v1/sessions/:session_id/archive', async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    const { record } = stored;
    const outcome = await sessionLog.archive(record.id);
    if (outcome === 'running') throw stillRunning(record.id, 'cannot be archived');
    if (outcome === 'missing') throw notFound('session', record.id);
    releaseSandbox(stored, false);
    return shown(await sessions.get(identityOf(request), record.id));
  });
}
