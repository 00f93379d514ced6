/**
 * The HTTP server: hooks that every request passes, and all routes. Each response, whatever went wrong, is JSON in the error envelope
 * and carries a `request-id`; only streams and the queue board speak something else.
 */
import { childOf, newTraceparent, parseTraceparent, type WireError, withTrace } from '@manyhands/base';
import { FILE_MAX_BYTES } from '@manyhands/contract';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { registerAgents } from '../api/agents/agents.ts';
import { registerApiKeys } from '../api/api-keys/api-keys.ts';
import { registerBoard } from '../api/board/board.ts';
import { createEnqueuer } from '../api/enqueuer.ts';
import { registerEnvironments } from '../api/environments/environments.ts';
import { registerEvents } from '../api/events/events.ts';
import { startFileSweep } from '../api/files/file-sweep.ts';
import { FILES_PATH, registerFiles } from '../api/files/files.ts';
import { registerHealth } from '../api/health/health.ts';
import { registerModels } from '../api/models/models.ts';
import { registerResources } from '../api/resources/resources.ts';
import { createSessionLookup } from '../api/sessions/session-lookup.ts';
import { registerSessions } from '../api/sessions/sessions.ts';
import { registerThreads } from '../api/threads/threads.ts';
import type { GatewayDeps, GatewayOptions } from '../deps.ts';
import { createStreamHub } from '../streams/stream.ts';
import { createAuth } from './auth.ts';
import { BODY_LIMIT_BYTES, registerBodyParser } from './body/body-parser.ts';
import { checkHead, createBrokenRequests } from './broken-requests.ts';
import { watchConnections } from './connections.ts';
import { noSuchEndpoint, sendError, toWireError } from './errors.ts';
import { createRateLimiter } from './rate-limits.ts';
import { createRedisReadiness } from './redis-readiness.ts';
import { createRequestLog } from './request-log.ts';

/** Longer than the idle time of usual proxies and clients, so that they close first. */
const KEEP_ALIVE_MS = 75_000;
/** For a body to arrive; an upload gets longer. Responses may take as long as they like. */
const BODY_ARRIVAL_MS = 120_000;
const UPLOAD_ARRIVAL_MS = 3_600_000;
const PATH_SEGMENT_MAX_CHARS = 512;

/** Everything is wired, nothing listens yet. `close` ends streams, lets requests finish and sends the wake-ups under way. */
export function createGateway(deps: GatewayDeps, options: GatewayOptions): FastifyInstance {
  const { log, ids, clock } = deps;
  const bodyLimitBytes = options.bodyLimitBytes ?? BODY_LIMIT_BYTES;
  let closing = false;

  const app = Fastify({
    logger: false,
    bodyLimit: bodyLimitBytes,
    exposeHeadRoutes: false,
    genReqId: () => ids.id('request'),
    requestIdHeader: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: UPLOAD_ARRIVAL_MS,
    http: { requireHostHeader: false },
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: PATH_SEGMENT_MAX_CHARS },
    // A path that cannot be decoded is refused before any hook runs, so the key is asked for here (I12).
    frameworkErrors: (error, given, reply) => {
      const request = given as FastifyRequest;
      watch(request, reply);
      void auth.hook(request, reply).then(
        () => sendError(reply, toWireError(error, bodyLimitBytes).wire),
        (refusal: unknown) => sendError(reply, toWireError(refusal, bodyLimitBytes).wire),
      );
    },
    clientErrorHandler: (error, socket) => broken.onClientError(error, socket),
  });
  const watch = createRequestLog(log, deps.metrics);
  const broken = createBrokenRequests(ids, log);
  const auth = createAuth(deps.apiKeys, createRedisReadiness(deps.redis), () => performance.now());
  const sessions = createSessionLookup(deps.sessionLog);
  const streams = createStreamHub(deps.feed, log, options.pingIntervalMs);
  deps.metrics.watchStreams(() => streams.size);
  const enqueuer = createEnqueuer(deps.turnQueue, log);
  const connections = watchConnections(app.server);

  app.decorateRequest('identity', null);
  app.addHook('onRequest', (request, reply, done) => {
    watch(request, reply);
    reply.header('request-id', request.id);
    done();
  });
  broken.register(app, {
    limitMs: options.bodyArrivalMs ?? BODY_ARRIVAL_MS,
    isUnlimited: ({ method, url }) => method === 'POST' && url.startsWith(FILES_PATH),
  });
  app.addHook('onRequest', auth.hook);
  app.addHook('onRequest', checkHead);
  if (options.rateLimits) app.addHook('onRequest', createRateLimiter(deps.redis, options.rateLimits, clock));
  // Jobs that a request enqueues belong to its trace. The last hook before the handler, so that the handler runs within the trace.
  app.addHook('preHandler', (request, _reply, done) => {
    if (request.method === 'GET') return done();
    const given = request.headers['traceparent'];
    const traceparent = parseTraceparent(typeof given === 'string' ? given : null);
    withTrace(traceparent === null ? newTraceparent() : childOf(traceparent), done);
  });
  // While the server shuts down, answers say that the connection closes.
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close');
    done();
  });
  registerBodyParser(app);

  app.setErrorHandler((error, request, reply) => {
    if (request.raw.destroyed && !request.raw.complete) {
      // The client closed the connection while sending: no answer can be sent.
      reply.hijack();
      reply.raw.destroy();
      return;
    }
    const { wire, unexpected } = toWireError(error, bodyLimitBytes);
    if (unexpected) log.error({ err: error, requestId: request.id }, 'request failed');
    else if (wire.status >= 500) log.warn({ err: error, requestId: request.id }, 'request not served');
    // The framework closes the connection under a client that still sends, and the answer may be lost with it. So the rest of a body that is
    // too large is read and thrown away, for as long as a request may take to arrive.
    if (wire.type === 'request_too_large') reply.removeHeader('connection');
    return sendError(reply, wire);
  });
  const paths = collectPaths(app);
  app.setNotFoundHandler((request, reply) => sendError(reply, paths.refuse(request)));

  registerHealth(app, deps.redis, () => closing);
  registerAgents(app, deps.agents);
  registerEnvironments(app, deps.environments, deps.sessionLog);
  registerSessions(app, deps, sessions, enqueuer);
  registerEvents(app, deps, sessions, enqueuer, streams);
  registerResources(app, deps, sessions);
  registerThreads(app, deps, sessions);
  registerFiles(app, deps, options.fileLimitBytes ?? FILE_MAX_BYTES);
  registerModels(app, options.models);
  registerApiKeys(app, deps.apiKeys, auth);
  registerBoard(app, deps.turnQueue, options.adminWritable);

  app.addHook('preClose', async () => {
    closing = true;
    await streams.close();
    connections.drain();
  });
  const sweep = startFileSweep(deps.files, deps.sessionLog, log);
  app.addHook('onClose', async () => {
    await Promise.all([enqueuer.settled(), sweep.stop()]);
  });
  log.debug({ bodyLimitBytes, startedAt: clock.now() }, 'gateway wired');
  return app;
}

/** Knows which methods a path takes, to answer a wrong one better than "no such path". */
function collectPaths(app: FastifyInstance): { refuse(request: FastifyRequest): WireError } {
  const known = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', ({ url, method }) => {
    if (!url.startsWith('/v1/') && !url.endsWith('z')) return;
    const pattern = new RegExp(`^${url.replaceAll(/:[a-z_]+/g, '[^/]+')}$`);
    const entry = known.get(url) ?? { pattern, methods: new Set<string>() };
    for (const one of [method].flat()) entry.methods.add(one);
    known.set(url, entry);
  });
  return {
    refuse(request) {
      const path = request.url.split('?', 1)[0] ?? '';
      const methods = [...known.values()].filter(({ pattern }) => pattern.test(path)).flatMap((entry) => [...entry.methods]);
      if (methods.length === 0) return noSuchEndpoint(`${request.method} ${path} does not exist here`);
      return noSuchEndpoint(`${path} does not take ${request.method}; it takes ${[...new Set(methods)].join(' and ')}`);
    },
  };
}
