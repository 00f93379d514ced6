import { until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { startGateway } from './fixture.ts';

test('each request leaves one line with what matters and neither bodies nor keys, streams at their end', async () => {
  const logLines: string[] = [];
  await using gateway = await startGateway({ logLines });
  const session = await gateway.session({ title: 'private title' });
  const stream = new AbortController();
  const streaming = await gateway.fetch(`/v1/sessions/${session.id}/events/stream`, { signal: stream.signal });
  await gateway.send(session.id, 'private words');
  await gateway.post('/v1/agents', { name: 'private name' });
  await fetch(`${gateway.url}/v1/agents`, { headers: { 'x-api-key': 'mh-private-key' } });
  stream.abort();
  await streaming.text().catch(() => {});
  const lines = () => logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === 'request');
  await until(() => lines().length === 7, { what: 'a line for each request', timeoutMs: 4000 });
  const find = (op: string, status: number) => lines().find((line) => line['op'] === op && line['status'] === status);
  expect(find('POST /v1/sessions/:session_id/events', 200)).toMatchObject({
    ok: true,
    complete: true,
    sessionId: session.id,
    keyId: expect.stringMatching(/^apikey_/),
    requestId: expect.stringMatching(/^req_/),
    durationMs: expect.any(Number),
  });
  expect(find('GET /v1/sessions/:session_id/events/stream', 200)).toMatchObject({ complete: false, sessionId: session.id });
  expect(find('POST /v1/agents', 400)).toMatchObject({ ok: false });
  expect(find('GET /v1/agents', 401)).toMatchObject({ ok: false });
  const text = logLines.join('\n');
  for (const secret of ['private', gateway.key, gateway.operatorKey]) expect(text).not.toContain(secret);
});
