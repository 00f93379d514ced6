/** One wide line and one observation per request, when its response is over (for a stream: when it ends). Never bodies, never keys (I7). */
import type { Logger } from '@manyhands/base';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { GatewayMetrics } from '../metrics.ts';

/** The status that is logged when the client closed the connection before the answer; never sent. */
const CLIENT_LEFT = 499;

/** Watches one request to its end. */
export type RequestLog = (request: FastifyRequest, reply: FastifyReply) => void;

export function createRequestLog(log: Logger, metrics: GatewayMetrics): RequestLog {
  return (request, reply) => {
    const startMs = performance.now();
    // `close` comes after `finish` and also when the client went away; `finish` alone would miss those.
    reply.raw.once('close', () => {
      const route = request.routeOptions.url;
      const status = reply.raw.headersSent ? reply.raw.statusCode : CLIENT_LEFT;
      const complete = reply.raw.writableFinished;
      const durationMs = performance.now() - startMs;
      const fields = {
        op: `${request.method} ${route ?? 'unknown'}`,
        ok: status < 400,
        status,
        complete,
        durationMs: Math.round(durationMs * 100) / 100,
        requestId: request.id,
        keyId: request.identity?.id,
        sessionId: (request.params as { session_id?: string } | undefined)?.session_id,
      };
      metrics.requestEnded({ method: request.method, route, status, complete, seconds: durationMs / 1000 });
      if (status >= 500) log.warn(fields, 'request');
      else log.info(fields, 'request');
    });
  };
}
