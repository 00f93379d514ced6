/** Redis dies, hangs and comes back: requests are refused quickly and cleanly, nothing is lost, everything heals by itself. */
import Anthropic from '@anthropic-ai/sdk';
import { until } from '@manyhands/test-kit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type GatewayFixture, startGateway } from './fixture.ts';

let gateway: GatewayFixture;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(() => gateway[Symbol.asyncDispose]());

const texts = async (sessionId: string) => {
  const found: string[] = [];
  for await (const event of gateway.client.beta.sessions.events.list(sessionId))
    if (event.type === 'user.message') found.push(event.content.map((block) => (block.type === 'text' ? block.text : '')).join(''));
  return found;
};

test('while Redis is dead, requests get a 503 that says when to come back; afterwards everything works as before', async () => {
  const session = await gateway.session();
  await gateway.send(session.id, 'before');
  await gateway.server.kill();
  const started = performance.now();
  const answers = await Promise.all([
    gateway.post(`/v1/sessions/${session.id}/events`, { events: [{ type: 'user.message', content: [{ type: 'text', text: 'refused' }] }] }),
    gateway.fetch(`/v1/sessions/${session.id}`),
    gateway.post('/v1/agents', { name: 'x', model: 'm' }),
    fetch(`${gateway.url}/readyz`),
  ]);
  expect(performance.now() - started).toBeLessThan(10_000);
  for (const answer of answers) {
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    expect(answer.headers.get('request-id')).toMatch(/^req_/);
    expect(await answer.json()).toMatchObject({ type: 'error', error: { type: 'api_error' } });
  }
  expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
  await gateway.server.restart();
  await until(async () => (await fetch(`${gateway.url}/readyz`)).ok, { what: 'the gateway is ready again' });
  await gateway.send(session.id, 'after');
  expect(await texts(session.id)).toEqual(['before', 'after']);
});

test('a restart of Redis that takes a moment is not noticed by clients at all', async () => {
  const session = await gateway.session();
  await gateway.server.kill();
  const sending = gateway.send(session.id, 'in between');
  await gateway.server.restart();
  await sending;
  expect(await texts(session.id)).toEqual(['in between']);
});

test('an open stream survives a restart of Redis and goes on without a gap', async () => {
  const session = await gateway.session();
  const stream = await gateway.client.beta.sessions.events.stream(session.id);
  const seen: string[] = [];
  const reading = (async () => {
    for await (const event of stream) {
      if (event.type === 'user.message') seen.push(event.id);
      if (seen.length === 6) break;
    }
  })();
  const sent: string[] = [];
  const patient = gateway.sdk(gateway.key, { maxRetries: 10 });
  const send = async () => {
    const events = { events: [{ type: 'user.message' as const, content: [{ type: 'text' as const, text: `${sent.length}` }] }] };
    sent.push((await patient.beta.sessions.events.send(session.id, events)).data?.[0]?.id ?? '');
  };
  for (let i = 0; i < 3; i++) await send();
  await gateway.server.kill();
  const during = send();
  await gateway.server.restart();
  await during;
  for (let i = 0; i < 2; i++) await send();
  await reading;
  expect(seen).toEqual(sent);
});

test('a Redis that hangs is not waited for for ever, and a send that was refused meanwhile is stored once when it is tried again', async () => {
  const session = await gateway.session();
  await gateway.send(session.id, 'before');
  gateway.server.pause();
  try {
    const [send, ready] = await Promise.all([
      gateway.send(session.id, 'x').then(
        () => 'sent',
        (error: unknown) => error,
      ),
      fetch(`${gateway.url}/readyz`),
    ]);
    expect(send).toBeInstanceOf(Anthropic.InternalServerError);
    expect(send).toMatchObject({ status: 503 });
    expect(ready.status).toBe(503);
  } finally {
    gateway.server.resume();
  }
  await until(async () => (await fetch(`${gateway.url}/readyz`)).ok, { what: 'the gateway is ready again' });
  const body = { events: [{ type: 'user.message', content: [{ type: 'text', text: 'x' }] }] };
  // Whether the first try was applied after all is unknown to the client; trying again is safe either way.
  const again = await gateway.post(`/v1/sessions/${session.id}/events`, body, { 'x-stainless-retry-count': '1' });
  expect(again.status).toBe(200);
  expect((await texts(session.id)).filter((text) => text === 'x')).toHaveLength(1);
});
