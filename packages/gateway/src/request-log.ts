/** One wide line per request, when its response is over (for a stream: when it ends). Never bodies, never keys (I7). */
import type { Logger } from '@manyhands/base';
import type { FastifyInstance } from 'fastify';

export function registerRequestLog(app: FastifyInstance, log: Logger): void {
  app.addHook('onRequest', (request, reply, done) => {
    const startMs = performance.now();
    // `close` comes after `finish` and also when the client went away; `finish` alone would miss those.
    reply.raw.once('close', () => {
      const route = request.routeOptions.url;
      const status = reply.raw.statusCode;
      const fields = {
        op: `${request.method} ${route ?? 'unknown'}`,
        ok: status < 400,
        status,
        complete: reply.raw.writableFinished,
        durationMs: Math.round((performance.now() - startMs) * 100) / 100,
        requestId: request.id,
        keyId: request.identity?.id,
        sessionId: (request.params as { session_id?: string } | undefined)?.session_id,
      };
      if (status >= 500) log.warn(fields, 'request');
      else log.info(fields, 'request');
    });
    done();
  });
}
