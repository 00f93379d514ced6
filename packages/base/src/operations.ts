/**
 * What operators ask a process, on a listener of its own (MANYHANDS_OPS_LISTEN): `/metrics` for Prometheus, `/healthz` (it lives), `/readyz`
 * (it can serve), nothing else. It answers without a key, so it is off unless asked for and belongs inside (I12).
 *
 * It listens from the first moment of a process to its last: readiness is `starting` until the process said that it is ready, and `ending`
 * as soon as its end begins, so that nobody is sent to it any more. Checks are added as their connections come to be.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { withinMs } from './deadline.ts';
import type { ListenAddress } from './env.ts';
import { AppError, ensureError } from './errors.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';

const CHECK_DEADLINE_MS = 1_000;
const REQUEST_ARRIVAL_MS = 5_000;
const CONNECTIONS_MAX = 64;
const REASON_CHARS = 200;

export interface Operations {
  /** Where it listens; undefined when it is off. */
  readonly port: number | undefined;
  /** `/readyz` asks it each time: a throw or no answer within a second means not ready. */
  check(name: string, ask: () => Promise<unknown>): void;
}
export interface OperationsOptions {
  /** Undefined: nothing listens. */
  listen: ListenAddress | undefined;
  metrics: Metrics;
  lifecycle: Pick<Lifecycle, 'phase' | 'onShutdown'>;
  log: Logger;
}

/** Call it before anything else registers its end: then it is the last to close. */
export async function serveOperations({ listen, metrics, lifecycle, log }: OperationsOptions): Promise<Operations> {
  if (listen === undefined) return { port: undefined, check: () => {} };
  metrics.watchProcess();
  const checks = new Map<string, () => Promise<unknown>>();

  async function readiness(): Promise<{ status: string; missing: string[]; checks: Record<string, string> }> {
    const answers = await Promise.all(
      [...checks].map(async ([name, ask]): Promise<[string, string]> => {
        try {
          await withinMs(ask(), CHECK_DEADLINE_MS);
          return [name, 'ok'];
        } catch (error) {
          return [name, ensureError(error).message.slice(0, REASON_CHARS) || 'failed'];
        }
      }),
    );
    const missing = answers.filter(([, answer]) => answer !== 'ok').map(([name]) => name);
    const { phase } = lifecycle;
    return { status: phase === 'ready' && missing.length > 0 ? 'unavailable' : phase, missing, checks: Object.fromEntries(answers) };
  }

  async function answer(path: string): Promise<{ status: number; type: string; body: string }> {
    const json = (status: number, body: unknown) => ({
      status,
      type: 'application/json; charset=utf-8',
      body: `${JSON.stringify(body)}\n`,
    });
    switch (path) {
      case '/metrics':
        return { status: 200, type: metrics.contentType, body: await metrics.text() };
      case '/healthz':
        return json(200, { status: 'ok' });
      case '/readyz': {
        const found = await readiness();
        return json(found.status === 'ready' ? 200 : 503, found);
      }
      default:
        return json(404, { message: 'there are /metrics, /healthz and /readyz here' });
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return;
    }
    const { status, type, body } = await answer((request.url ?? '').split('?', 1)[0] ?? '');
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  const server = createServer({ requestTimeout: REQUEST_ARRIVAL_MS, headersTimeout: REQUEST_ARRIVAL_MS }, (request, response) => {
    serve(request, response).catch((error: unknown) => {
      log.error({ err: error }, 'operations request failed');
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await open(server, listen);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : listen.port;
  lifecycle.onShutdown('operations', () => {
    server.close();
    server.closeAllConnections();
  });
  log.info({ host: listen.host, port }, 'metrics and health checks listen; keep this address inside');
  return { port, check: (name, ask) => void checks.set(name, ask) };
}

function open(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'the address is in use' : error.message;
      reject(
        new AppError(
          'configuration',
          `MANYHANDS_OPS_LISTEN: cannot listen on ${host} port ${port}: ${reason}. Choose another address or port.`,
          {
            cause: error,
          },
        ),
      );
    });
    server.listen({ host, port }, resolve);
  });
}
