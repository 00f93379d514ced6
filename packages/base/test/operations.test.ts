import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { commonEnv, createLogger, createMetrics, type LifePhase, loadEnv, serveOperations } from '../src/index.ts';

const log = createLogger('test', 'silent');

async function start() {
  const closers: (() => unknown)[] = [];
  const life = { phase: 'ready' as LifePhase, onShutdown: (_name: string, close: () => unknown) => void closers.push(close) };
  const metrics = createMetrics('test');
  const operations = await serveOperations({ listen: { host: '127.0.0.1', port: 0 }, metrics, lifecycle: life, log });
  const url = `http://127.0.0.1:${operations.port}`;
  return {
    life,
    metrics,
    operations,
    url,
    ready: async () => {
      const response = await fetch(`${url}/readyz`);
      return { status: response.status, body: (await response.json()) as unknown };
    },
    async [Symbol.asyncDispose]() {
      for (const close of closers) await close();
    },
  };
}

describe('the listener', () => {
  test('serves the exposition and two health checks, and nothing else', async () => {
    await using server = await start();
    server.metrics.counter('manyhands_things_total', 'Things').add(3);
    const scrape = await fetch(`${server.url}/metrics?format=any`);
    expect(scrape.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const text = await scrape.text();
    expect(text).toContain('# TYPE manyhands_things_total counter\nmanyhands_things_total{service="test"} 3');
    expect(text).toContain('process_cpu_seconds_total');
    expect(await (await fetch(`${server.url}/healthz`)).json()).toEqual({ status: 'ok' });
    const head = await fetch(`${server.url}/metrics`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    for (const path of ['/', '/metrics/', '/v1/sessions', '/admin/queues']) expect((await fetch(server.url + path)).status).toBe(404);
    for (const method of ['POST', 'DELETE', 'OPTIONS']) expect((await fetch(`${server.url}/metrics`, { method })).status).toBe(405);
  });

  test('survives what is not HTTP and what never ends', async () => {
    await using server = await start();
    const socket = connect(server.operations.port!, '127.0.0.1');
    await once(socket, 'connect');
    socket.on('error', () => {});
    const ended = once(socket.resume(), 'close');
    socket.write(`\u0000\u0001${'x'.repeat(100_000)}\r\n\r\n`);
    await ended;
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  test('does not listen unless it is told where', async () => {
    const life = { phase: 'ready' as const, onShutdown: () => expect.unreachable() };
    const operations = await serveOperations({ listen: undefined, metrics: createMetrics('test'), lifecycle: life, log });
    expect(operations.port).toBeUndefined();
    operations.check('redis', () => Promise.reject(new Error('never asked')));
  });

  test('an address that is taken or is not of this machine is named with its variable', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const life = { phase: 'ready' as const, onShutdown: () => {} };
    const open = (host: string, at: number) =>
      serveOperations({ listen: { host, port: at }, metrics: createMetrics('test'), lifecycle: life, log });
    await expect(open('127.0.0.1', port)).rejects.toThrow(
      `MANYHANDS_OPS_LISTEN: cannot listen on 127.0.0.1 port ${port}: the address is in use`,
    );
    await expect(open('192.0.2.1', 0)).rejects.toThrow(/MANYHANDS_OPS_LISTEN: cannot listen on 192\.0\.2\.1 port 0/);
    await new Promise((resolve) => taken.close(resolve));
  });
});

describe('readiness', () => {
  test('is refused before the process is ready and as soon as its end begins, while the process is alive', async () => {
    await using server = await start();
    server.operations.check('redis', async () => {});
    for (const [phase, status] of [
      ['starting', 503],
      ['ready', 200],
      ['ending', 503],
    ] as const) {
      server.life.phase = phase;
      expect(await server.ready()).toEqual({ status, body: { status: phase, missing: [], checks: { redis: 'ok' } } });
      expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
    }
  });

  test('names what is not there, waits for nothing that hangs, and comes back', async () => {
    await using server = await start();
    let away = true;
    server.operations.check('redis', async () => {
      if (away) throw new Error('not connected');
    });
    server.operations.check('nats', () => (away ? new Promise(() => {}) : Promise.resolve()));
    server.operations.check('disk', async () => {});
    expect(await server.ready()).toEqual({
      status: 503,
      body: {
        status: 'unavailable',
        missing: ['redis', 'nats'],
        checks: { redis: 'not connected', nats: 'no answer within 1000 ms', disk: 'ok' },
      },
    });
    away = false;
    expect((await server.ready()).status).toBe(200);
  });
});

describe('MANYHANDS_OPS_LISTEN', () => {
  const schema = z.object({ MANYHANDS_OPS_LISTEN: commonEnv.MANYHANDS_OPS_LISTEN });
  const read = (text: string) => loadEnv(schema, { MANYHANDS_OPS_LISTEN: text }).MANYHANDS_OPS_LISTEN;

  test('takes a port of this machine, host and port, or IPv6 in brackets; without it nothing listens', () => {
    expect(read('9464')).toEqual({ host: '127.0.0.1', port: 9464 });
    expect(read('0.0.0.0:9464')).toEqual({ host: '0.0.0.0', port: 9464 });
    expect(read('ops.internal:80')).toEqual({ host: 'ops.internal', port: 80 });
    expect(read('[::1]:0')).toEqual({ host: '::1', port: 0 });
    expect(read('')).toBeUndefined();
  });

  test.each(['nonsense', '70000', '127.0.0.1', '127.0.0.1:', ':9464', '::1:9464', 'http://127.0.0.1:9464', '1e3', '-1', 'a b:1'])(
    'refuses %j and says what it takes',
    (text) => {
      expect(() => read(text)).toThrow('MANYHANDS_OPS_LISTEN: must be a port or host:port, such as 9464, 127.0.0.1:9464 or [::1]:9464');
    },
  );
});
