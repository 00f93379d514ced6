/** TH-1 to TH-3: the threads of a session, which for now is its primary one. */
import { invalidRequest } from '@manyhands/base';
import { SESSION_STATUSES } from '@manyhands/contract';
import { toThread } from '@manyhands/session-log';
import type { FastifyInstance } from 'fastify';
import { identityOf } from '../auth.ts';
import type { GatewayDeps } from '../deps.ts';
import { readQuery } from '../query.ts';
import { sessionArchived } from '../session-update.ts';
import { checkThread, type SessionLookup } from '../sessions.ts';
import { refuseBody } from '../validation.ts';

export function registerThreads(app: FastifyInstance, { clock }: GatewayDeps, sessions: SessionLookup): void {
  app.get<{ Params: { session_id: string } }>('/v1/sessions/:session_id/threads', async (request) => {
    const query = readQuery(request, ['limit', 'page', 'statuses[]']);
    query.limit();
    const statuses = query.list('statuses', SESSION_STATUSES);
    const thread = toThread(await sessions.get(identityOf(request), request.params.session_id), clock.now());
    // One thread fits on every first page, so no cursor was ever given out.
    if (query.text('page') !== undefined) throw invalidRequest('page: not a cursor of this list');
    return { data: statuses && !statuses.has(thread.status) ? [] : [thread], next_page: null };
  });

  app.get<{ Params: { session_id: string; thread_id: string } }>('/v1/sessions/:session_id/threads/:thread_id', async (request) => {
    readQuery(request, []);
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    checkThread(stored.record.id, request.params.thread_id);
    return toThread(stored, clock.now());
  });

  app.post<{ Params: { session_id: string; thread_id: string } }>(
    '/v1/sessions/:session_id/threads/:thread_id/archive',
    async (request) => {
      readQuery(request, []);
      refuseBody(request.body);
      const { record, state } = await sessions.get(identityOf(request), request.params.session_id);
      checkThread(record.id, request.params.thread_id);
      if (state.archived_at_ms !== null) throw sessionArchived(record.id);
      throw invalidRequest(
        `thread ${request.params.thread_id} is the primary thread, which ends with its session: archive the session instead`,
      );
    },
  );
}
