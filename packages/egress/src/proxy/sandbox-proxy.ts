/**
 * The HTTP/1.1 forward proxy of one sandbox: absolute-form requests and CONNECT (DESIGN 6, I11). Everything that comes from the sandbox
 * is hostile.
 *
 * Requests are parsed by node's strict parser and written anew with their hop-by-hop headers left out, so nothing can be smuggled past.
 * Each request gets an upstream connection of its own, to a checked address. Both directions are piped, so a slow side slows the other.
 * One log line per request: session, host, decision; never paths, queries or headers (I7). No text of an upstream error is passed on.
 */
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from '@manyhands/base';
import type { EgressPolicy } from '@manyhands/contract';
import type { Decision, EgressMetrics, ProxyKind } from '../metrics.ts';
import { type Connector, ReachError } from './connector.ts';
import { NO_SETTING, type Refused, refusedByNetworking } from './networking-rules.ts';
import { authorityTarget, type Target, targetText, urlTarget } from './target.ts';

export interface ProxyLimits {
  maxConnections: number;
  maxHeaderBytes: number;
  headersTimeoutMs: number;
  /** Without a byte in either direction. */
  idleTimeoutMs: number;
}
export const PROXY_LIMITS: ProxyLimits = {
  maxConnections: 128,
  maxHeaderBytes: 32 * 1024,
  headersTimeoutMs: 15_000,
  idleTimeoutMs: 300_000,
};

/** On every answer of the proxy itself, so that nobody takes it for the site's. */
const VERDICT_HEADER = 'x-manyhands-egress';
const HOP_BY_HOP = new Set([
  'connection',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

interface Verdict {
  status: number;
  verdict: 'blocked' | 'unreachable' | 'invalid';
  text: string;
}

export interface SandboxProxy {
  server: Server;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** `policy` is asked for each request, so that a new policy counts at once. */
export function createSandboxProxy(options: {
  policy: () => EgressPolicy;
  connector: Connector;
  log: Logger;
  metrics: EgressMetrics;
  limits?: ProxyLimits;
}): SandboxProxy {
  const { policy, connector, log, metrics, limits = PROXY_LIMITS } = options;
  /** Both ends of everything under way. */
  const sockets = new Set<Duplex>();

  function keep<T extends Duplex>(socket: T): T {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    return socket;
  }

  function note(target: Target | null, kind: ProxyKind, verdict: Decision, reason?: string): void {
    metrics.decided(kind, verdict);
    const { sandbox_id: sandboxId, session_id: sessionId } = policy();
    log.info(
      {
        op: 'egress',
        sandboxId,
        sessionId,
        kind,
        host: target?.host ?? null,
        port: target?.port ?? null,
        decision: verdict,
        ...(reason ? { reason } : {}),
      },
      'egress request',
    );
  }

  /** The upstream connection, or what to answer instead. */
  async function reach(target: Target | null, kind: ProxyKind, signal: AbortSignal): Promise<Socket | Verdict> {
    if (!target) {
      note(target, kind, 'invalid');
      return invalid('It takes absolute http:// URLs, and CONNECT host:port for everything else.');
    }
    const refused = refusedByNetworking(policy().networking, target);
    if (refused) {
      note(target, kind, 'blocked', refused.reason);
      return blocked(target, refused);
    }
    try {
      const upstream = keep(await connector.connect(target, signal));
      metrics.watchUpstream(upstream);
      note(target, kind, 'allowed');
      return upstream;
    } catch (error) {
      const reason = error instanceof ReachError ? error.message : 'the connection failed';
      const isBlocked = error instanceof ReachError && error.kind === 'blocked';
      note(target, kind, isBlocked ? 'blocked' : 'unreachable', reason);
      return isBlocked ? blocked(target, { reason, remedy: NO_SETTING }) : unreachable(target, reason);
    }
  }

  async function forward(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = /^http:\/\//i.test(req.url ?? '') ? req.url! : null;
    const target = url === null ? null : urlTarget(url);
    const gone = new AbortController();
    res.once('close', () => gone.abort());
    const upstream = await reach(target, 'request', gone.signal);
    if (res.destroyed) return void ('destroy' in upstream && upstream.destroy());
    if ('status' in upstream) return refuse(req, res, upstream);
    const { pathname, search, host } = new URL(url!);
    upstream.setTimeout(limits.idleTimeoutMs, () => upstream.destroy());
    const onward = httpRequest({
      createConnection: () => upstream,
      method: req.method ?? 'GET',
      path: pathname + search,
      setHost: false,
      headers: [...endToEnd(req.rawHeaders, 'host'), ...bodyFraming(req), 'host', host, 'connection', 'close'],
      maxHeaderSize: limits.maxHeaderBytes,
    });
    onward.on('response', (answer) => {
      try {
        res.writeHead(answer.statusCode ?? 502, endToEnd(answer.rawHeaders));
      } catch {
        return void onward.destroy(new Error('unusable headers'));
      }
      answer.pipe(res);
      // A body that breaks off must not look complete.
      answer.once('close', () => answer.complete || res.destroy());
    });
    onward.once('error', () => {
      if (res.headersSent) res.destroy();
      else refuse(req, res, unreachable(target!, 'the connection broke off before an answer'));
    });
    res.once('close', () => upstream.destroy());
    req.pipe(onward);
  }

  async function tunnel(req: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    const gone = new AbortController();
    client.once('close', () => gone.abort());
    const target = authorityTarget(req.url ?? '');
    const upstream = await reach(target, 'connect', gone.signal);
    if (client.destroyed) return void ('destroy' in upstream && upstream.destroy());
    if ('status' in upstream) {
      const { status, verdict, text } = upstream;
      const lines = [
        `HTTP/1.1 ${status} ${verdict}`,
        'content-type: text/plain; charset=utf-8',
        `content-length: ${Buffer.byteLength(text)}`,
      ];
      client.end(`${[...lines, `${VERDICT_HEADER}: ${verdict}`, 'connection: close'].join('\r\n')}\r\n\r\n${text}`);
      return;
    }
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    client.once('close', end);
    upstream.once('close', end);
    (client as Socket).setTimeout(0);
    // The upstream side sees the bytes of both directions, so its idleness is the tunnel's.
    upstream.setTimeout(limits.idleTimeoutMs, end);
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    // Bytes that came right behind the CONNECT belong to the tunnel.
    if (head.length > 0) upstream.write(head);
    client.pipe(upstream);
    upstream.pipe(client);
  }

  const server = createServer({
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    // A long upload is legitimate; a stuck one is idle.
    requestTimeout: 0,
    keepAliveTimeout: limits.headersTimeoutMs,
    connectionsCheckingInterval: Math.min(limits.headersTimeoutMs, 5_000),
  });
  server.maxConnections = limits.maxConnections;
  server.setTimeout(limits.idleTimeoutMs);
  server.on('connection', keep);
  server.on('drop', () => {
    metrics.dropped();
    log.warn({ op: 'egress', sandboxId: policy().sandbox_id, sessionId: policy().session_id }, 'too many connections');
  });
  // Whatever one sandbox sends, the process that serves all of them goes on.
  const broken = (socket: Duplex) => (error: unknown) => {
    log.warn({ op: 'egress', err: error, sandboxId: policy().sandbox_id }, 'request failed');
    socket.destroy();
  };
  server.on('request', (req, res) => void forward(req, res).catch(broken(req.socket)));
  server.on('connect', (req, socket, head) => void tunnel(req, socket, head).catch(broken(socket)));
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end(`HTTP/1.1 400 invalid\r\n${VERDICT_HEADER}: invalid\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    else socket.destroy();
  });

  return {
    server,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Headers for the other side, order and repetitions kept; `Connection` may name more that end here. */
function endToEnd(rawHeaders: readonly string[], ...drop: string[]): string[] {
  const dropped = new Set([...HOP_BY_HOP, ...drop]);
  const kept: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2)
    if (rawHeaders[at]!.toLowerCase() === 'connection')
      for (const name of rawHeaders[at + 1]!.split(',')) if (!/^content-length$/i.test(name.trim())) dropped.add(name.trim().toLowerCase());
  for (let at = 0; at < rawHeaders.length; at += 2)
    if (!dropped.has(rawHeaders[at]!.toLowerCase())) kept.push(rawHeaders[at]!, rawHeaders[at + 1]!);
  return kept;
}

/** How the body is delimited on the way on: as it came, and said even where node would leave it open. */
function bodyFraming(req: IncomingMessage): string[] {
  if (req.headers['transfer-encoding'] !== undefined) return ['transfer-encoding', 'chunked'];
  const usual = req.headers['content-length'] !== undefined || req.method === 'GET' || req.method === 'HEAD';
  return usual ? [] : ['content-length', '0'];
}

function refuse(req: IncomingMessage, res: ServerResponse, { status, verdict, text }: Verdict): void {
  // The body of a refused request is not read: the connection ends with the answer.
  const headers = {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': String(Buffer.byteLength(text)),
    [VERDICT_HEADER]: verdict,
  };
  res.writeHead(status, { ...headers, connection: 'close' }).end(text);
  req.resume();
}

function blocked(target: Target, { reason, remedy }: Refused): Verdict {
  const text = `Blocked by the Manyhands egress proxy; ${targetText(target)} was not contacted.\nReason: ${reason}.\n${remedy}\n`;
  return { status: 403, verdict: 'blocked', text };
}
function unreachable(target: Target, reason: string): Verdict {
  return { status: 502, verdict: 'unreachable', text: `The Manyhands egress proxy could not reach ${targetText(target)}: ${reason}.\n` };
}
function invalid(reason: string): Verdict {
  return { status: 400, verdict: 'invalid', text: `The Manyhands egress proxy did not understand the request. ${reason}\n` };
}
