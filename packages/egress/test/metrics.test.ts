import { connect } from 'node:net';
import { createMetrics } from '@manyhands/base';
import { until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { createEgressMetrics } from '../src/index.ts';
import { get, raw, startProxy, startTcp, startUpstream, testConnector, UNRESTRICTED } from './surroundings.ts';

test('decisions and bytes of both directions are counted, of a tunnel while it is open', async () => {
  const registry = createMetrics('egress');
  const metrics = createEgressMetrics(registry);
  const line = async (start: string) =>
    (await registry.text())
      .split('\n')
      .find((text) => text.startsWith(start))
      ?.split(' ')
      .at(-1);
  const decided = (kind: string, decision: string) =>
    line(`manyhands_egress_requests_total{kind="${kind}",decision="${decision}",service="egress"}`);
  const bytes = async (direction: string) => Number(await line(`manyhands_egress_bytes_total{direction="${direction}",service="egress"}`));

  await using site = await startUpstream((_request, response) => response.end('x'.repeat(50_000)));
  await using echo = await startTcp((socket) => socket.pipe(socket));
  await using proxy = await startProxy(testConnector([site.port, echo.port]), UNRESTRICTED, {}, metrics);
  expect(await raw(proxy.port, get(`http://site.test:${site.port}/`))).toMatch(/^HTTP\/1\.1 200/);
  expect(await raw(proxy.port, get('http://10.0.0.1/'))).toMatch(/^HTTP\/1\.1 403/);
  expect(await decided('request', 'allowed')).toBe('1');
  expect(await decided('request', 'blocked')).toBe('1');
  await until(async () => (await line('manyhands_egress_connections_open{')) === '0', { what: 'the upstream connection to be closed' });
  const received = await bytes('received');
  expect(received).toBeGreaterThan(50_000);
  expect(await bytes('sent')).toBeGreaterThan(20);

  const tunnel = connect(proxy.port, '127.0.0.1');
  tunnel.resume().on('error', () => {});
  try {
    // What comes right behind the CONNECT is the first that goes through the tunnel.
    tunnel.write(`CONNECT site.test:${echo.port} HTTP/1.1\r\nHost: a\r\n\r\n${'y'.repeat(10_000)}`);
    await until(async () => (await bytes('received')) >= received + 10_000, { what: 'the bytes of the open tunnel' });
    expect(await decided('connect', 'allowed')).toBe('1');
    expect(await line('manyhands_egress_connections_open{')).toBe('1');
  } finally {
    tunnel.destroy();
  }
});
