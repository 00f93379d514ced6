/** TH-1 to TH-3: the threads of a session. */
import { invalidRequest } from '@manyhands/base';
import { SESSION_STATUSES } from '@manyhands/contract';
import { toThread } from '@manyhands/session-log';
import type { FastifyInstance } from 'fastify';
import type { GatewayDeps } from '../../deps.ts';
import { identityOf } from '../../http/auth.ts';
import { refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';
import { findThread, type SessionLookup } from '../sessions/session-lookup.ts';
import { sessionArchived } from '../sessions/session-update.ts';

export function registerThreads(app: FastifyInstance, { sessionLog }: GatewayDeps, sessions: SessionLookup): void {
  app.get<{ Params: { session_id: string } }>('/v1/sessions/:session_id/threads', async (request) => {
    const query = readQuery(request, ['limit', 'page', 'statuses[]']);
    query.limit();
    const statuses = query.list('statuses', SESSION_STATUSES);
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    // All threads are on the first page, so no cursor was ever given out.
    if (query.text('page') !== undefined) throw invalidRequest('page: not a cursor of this list');
    const threads = (await sessionLog.threads(stored)).map((thread) => toThread(stored.record.id, thread));
    return { data: threads.filter(({ status }) => !statuses || statuses.has(status)), next_page: null };
  });

  app.get<{ Params: { session_id: string; thread_id: string } }>('/v1/sessions/:session_id/threads/:thread_id', async (request) => {
    readQuery(request, []);
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    return toThread(stored.record.id, await findThread(sessionLog, stored, request.params.thread_id));
  });

  app.post<{ Params: { session_id: string; thread_id: string } }>(
    '/v1/sessions/:session_id/threads/:thread_id/archive',
    async (request) => {
      readQuery(request, []);
      refuseBody(request.body);
      const stored = await sessions.get(identityOf(request), request.params.session_id);
      const { record, state } = stored;
      const thread = await findThread(sessionLog, stored, request.params.thread_id);
      if (state.archived_at_ms !== null) throw sessionArchived(record.id);
      if (thread.id !== state.primary_thread_id) throw invalidRequest(`thread ${thread.id}: archiving a child is not supported yet`);
      throw invalidRequest(
        `thread ${request.params.thread_id} is the primary thread, which ends with its session: archive the session instead`,
      );
    },
  );
}
