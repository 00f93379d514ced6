/** EV-1..3 and TE-1, TE-2: listing, sending and streaming events. The primary thread's log is the session's. */
import { createHash } from 'node:crypto';
import { invalidRequest, notFound } from '@manyhands/base';
import {
  type ClientEventBody,
  type ClientEventIn,
  EVENT_DELTA_TYPES,
  EVENTS_MAX_PER_REQUEST,
  EventsSend,
  FILTERABLE_EVENT_TYPES,
  primaryThreadId,
  systemTurns,
} from '@manyhands/contract';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { GatewayDeps } from '../../deps.ts';
import { identityOf } from '../../http/auth.ts';
import { parseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';
import type { StreamHub } from '../../streams/stream.ts';
import type { Enqueuer } from '../enqueuer.ts';
import { checkAttachments } from '../files/attachments.ts';
import { findThread, noSuchThread, type SessionLookup } from '../sessions/session-lookup.ts';
import { sessionArchived } from '../sessions/session-update.ts';
import { budgetReached, noSuchCall, noSystemMessages, sessionWaits } from './event-refusals.ts';

interface SessionRoute {
  Params: { session_id: string };
}
interface ThreadRoute {
  Params: { session_id: string; thread_id: string };
}
const EVENT_DELTAS_MAX = 100;

function toBody(event: ClientEventIn): ClientEventBody {
  // Parsed from JSON, so what is left out is not there.
  if (event.type !== 'user.interrupt') return event as ClientEventBody;
  return { type: 'user.interrupt', session_thread_id: event.session_thread_id ?? null };
}

function interruptedThread(body: ClientEventBody | undefined): string {
  return body?.type === 'user.interrupt' ? (body.session_thread_id ?? '') : '';
}

export function registerEvents(
  app: FastifyInstance,
  deps: GatewayDeps,
  sessions: SessionLookup,
  enqueuer: Enqueuer,
  streams: StreamHub,
): void {
  const { sessionLog } = deps;

  app.post<SessionRoute>('/v1/sessions/:session_id/events', async (request) => {
    readQuery(request, []);
    const identity = identityOf(request);
    const sessionId = request.params.session_id;
    await sessions.check(identity, sessionId);
    const { events } = parseBody(EventsSend, request.body);
    const bodies = events.map(toBody);
    const last = events.length - 1;
    if (events[last]?.type === 'system.message') {
      const { id } = (await sessions.get(identity, sessionId)).record.agent.model;
      if (systemTurns(id) === 'refused') throw noSystemMessages(last, id);
    }
    const attachments = await checkAttachments(deps, identity.workspace_id, events, 'events');
    await attachments?.keep(sessionId);
    const digest = createHash('sha256').update(`${identity.id}\n${sessionId}\n`).update(JSON.stringify(request.body)).digest('hex');
    const isRetry = Number(request.headers['x-stainless-retry-count'] ?? 0) > 0;
    const result = await sessionLog.send({ sessionId, bodies, digest, isRetry });
    if (result.outcome === 'missing') throw notFound('session', sessionId);
    if (result.outcome === 'archived') throw sessionArchived(sessionId);
    if (result.outcome === 'waiting') throw sessionWaits(result.index, result.calls);
    if (result.outcome === 'capped') throw budgetReached(result.index);
    if (result.outcome === 'no_such_call') throw noSuchCall(result.index, bodies[result.index]!, result.call, result.why);
    if (result.outcome === 'no_such_thread') throw noSuchThread(interruptedThread(bodies[result.index]));
    // What was stored before may have lost its wake-up with the gateway that stored it; a wake-up too many does nothing.
    enqueuer.wake(identity.workspace_id, sessionId, result.outcome === 'repeated' ? [primaryThreadId(sessionId)] : result.wakes);
    return { data: result.events };
  });

  app.get<SessionRoute>('/v1/sessions/:session_id/events', async (request) => {
    const names = ['limit', 'page', 'order', 'types[]', 'created_at[gt]', 'created_at[gte]', 'created_at[lt]', 'created_at[lte]'];
    const query = readQuery(request, names);
    const wanted = {
      limit: query.limit(EVENTS_MAX_PER_REQUEST, EVENTS_MAX_PER_REQUEST),
      order: query.order('asc'),
      types: query.list('types', FILTERABLE_EVENT_TYPES),
      range: query.createdAt(),
      cursor: query.text('page'),
    };
    const { record } = await sessions.get(identityOf(request), request.params.session_id);
    const { events, nextCursor } = await sessionLog.listEvents(record.id, wanted);
    return { data: events, next_page: nextCursor };
  });

  app.get<ThreadRoute>('/v1/sessions/:session_id/threads/:thread_id/events', async (request) => {
    const query = readQuery(request, ['limit', 'page']);
    const limit = query.limit(EVENTS_MAX_PER_REQUEST, EVENTS_MAX_PER_REQUEST);
    const stored = await sessions.get(identityOf(request), request.params.session_id);
    const { id } = await findThread(sessionLog, stored, request.params.thread_id);
    const { events, nextCursor } = await sessionLog.listEvents(stored.record.id, { limit, order: 'asc', cursor: query.text('page') }, id);
    return { data: events, next_page: nextCursor };
  });

  /** Live from now on, or from behind an event that the client names. */
  async function stream(request: FastifyRequest, reply: FastifyReply, sessionId: string, threadId: string | null): Promise<void> {
    const query = readQuery(request, ['event_deltas[]', 'after']);
    const previews = query.list('event_deltas', EVENT_DELTA_TYPES, EVENT_DELTAS_MAX) ?? new Set<string>();
    const stored = await sessions.get(identityOf(request), sessionId);
    const { record } = stored;
    const thread = await findThread(sessionLog, stored, threadId ?? stored.state.primary_thread_id);
    let after = thread.state.head;
    // A browser that reconnects sends the header beside the address it had at first: the header is newer.
    const header = request.headers['last-event-id'];
    const resume =
      typeof header === 'string' && header !== '' ? { name: 'Last-Event-ID', id: header } : { name: 'after', id: query.text('after') };
    if (resume.id !== undefined) {
      const position = await sessionLog.findEvent(record.id, resume.id, thread.id);
      if (position === null)
        throw invalidRequest(
          `${resume.name}: this session has no event ${JSON.stringify(resume.id)}; leave it out to get live events only`,
        );
      after = position;
    }
    reply.hijack();
    const headers = { 'request-id': request.id, 'anthropic-workspace-id': record.workspace_id };
    streams.open(reply.raw, { sessionId: record.id, threadId: thread.id, after, previews, headers });
  }

  app.get<SessionRoute>('/v1/sessions/:session_id/events/stream', (request, reply) =>
    stream(request, reply, request.params.session_id, null),
  );
  app.get<ThreadRoute>('/v1/sessions/:session_id/threads/:thread_id/stream', (request, reply) =>
    stream(request, reply, request.params.session_id, request.params.thread_id),
  );
}
