/** What egress tests share: a policy that admits this machine's test servers, upstream servers, a raw client. */
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { createMetrics } from '@manyhands/base';
import type { EgressPolicy, Networking } from '@manyhands/contract';
import { silentLogger } from '@manyhands/test-kit';
import {
  type Connector,
  createConnector,
  createEgressMetrics,
  createReachPolicy,
  createSandboxProxy,
  PROXY_LIMITS,
  type ProxyLimits,
  type Resolve,
} from '../src/index.ts';

export interface Upstream extends AsyncDisposable {
  port: number;
}

export async function startUpstream(handle: RequestListener): Promise<Upstream> {
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A plain TCP server. */
export async function startTcp(onSocket: (socket: Socket) => void): Promise<Upstream> {
  const sockets = new Set<Socket>();
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Names of tests: `*.test` is this machine, `two.test` this machine and a private address, `private.test` a private one. */
export const testResolve: Resolve = async (name) => {
  if (name === 'private.test') return ['10.9.8.7'];
  if (name === 'mixed.test') return ['127.0.0.1', '10.9.8.7'];
  return name.endsWith('.test') ? ['127.0.0.1'] : [];
};

export const testMetrics = () => createEgressMetrics(createMetrics('egress'));

/** Admits 127.0.0.1 and the given ports besides the web's; everything else as in production. */
export function testConnector(ports: readonly number[], resolve: Resolve = testResolve): Connector {
  const real = createReachPolicy();
  return createConnector({
    policy: { ports: new Set([...real.ports, ...ports]), refusal: (address) => (address === '127.0.0.1' ? null : real.refusal(address)) },
    resolve,
    connectTimeoutMs: 2_000,
  });
}

export const UNRESTRICTED: Networking = { type: 'unrestricted' };

export interface TestProxy extends AsyncDisposable {
  port: number;
  lines: Record<string, unknown>[];
}

/** The proxy on a TCP port of this machine, for clients that know no Unix sockets. */
export async function startProxy(
  connector: Connector,
  networking: Networking = UNRESTRICTED,
  limits: Partial<ProxyLimits> = {},
  metrics = testMetrics(),
): Promise<TestProxy> {
  const lines: Record<string, unknown>[] = [];
  const log = Object.assign(Object.create(silentLogger) as typeof silentLogger, {
    info: (line: Record<string, unknown>) => void lines.push(line),
  });
  const policy: EgressPolicy = { sandbox_id: 'sbx_one', session_id: 'sesn_one', networking };
  const proxy = createSandboxProxy({
    policy: () => policy,
    connector,
    log,
    metrics,
    limits: { ...PROXY_LIMITS, ...limits },
  });
  await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
  return { port: (proxy.server.address() as AddressInfo).port, lines, [Symbol.asyncDispose]: () => proxy.close() };
}

/** Sends bytes as they are, and returns everything that comes back until the other side ends. */
export function raw(where: number | string, bytes: string, patienceMs = 10_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = typeof where === 'string' ? connect({ path: where }) : connect({ port: where, host: '127.0.0.1' });
    let text = '';
    const timer = setTimeout(() => socket.destroy(new Error(`no end within ${patienceMs} ms; so far: ${text.slice(0, 500)}`)), patienceMs);
    socket.setEncoding('latin1');
    socket.on('data', (part: string) => {
      text += part;
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? undefined : reject(error),
    );
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
    socket.write(bytes, 'latin1');
  });
}
export const get = (url: string, extra = '') => `GET ${url} HTTP/1.1\r\nHost: ignored.example\r\nConnection: close\r\n${extra}\r\n`;
