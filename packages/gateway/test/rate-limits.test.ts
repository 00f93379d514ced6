/** Rate limits: who is counted, what the refused are told, and that a bucket is one for all gateways. Buckets here fill up too slowly to matter. */
import { createMetrics } from '@manyhands/base';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createGateway, createGatewayMetrics, DEFAULT_MODELS } from '../src/index.ts';
import { type GatewayFixture, startGateway } from './fixture.ts';

const LIMITS = { create: 4, read: 6 };
/** Between two requests that an empty bucket allows. */
const CREATE_EACH_S = 60 / LIMITS.create;
const CREATE_BUCKET = 'mh:{limit}:create';

let gateway: GatewayFixture;
beforeEach(async () => {
  gateway = await startGateway({ rateLimits: LIMITS });
});
afterEach(() => gateway[Symbol.asyncDispose]());

const create = () => gateway.post('/v1/agents', { name: 'a', model: 'm' });
const read = () => gateway.fetch('/v1/agents');
async function statuses(ask: () => Promise<Response>, times: number): Promise<number[]> {
  const answers = await Promise.all(Array.from({ length: times }, ask));
  await Promise.all(answers.map((answer) => answer.arrayBuffer()));
  return answers.map(({ status }) => status).sort();
}
const repeat = (status: number, times: number) => Array.from({ length: times }, () => status);

test('what is over the limit is a 429 that says when to come back, stores nothing, and leaves the other limit alone', async () => {
  for (let left = LIMITS.create - 1; left >= 0; left--) {
    const { status, headers } = await create();
    expect([status, headers.get('anthropic-ratelimit-requests-limit'), headers.get('anthropic-ratelimit-requests-remaining')]).toEqual([
      200,
      '4',
      String(left),
    ]);
  }
  const refused = await create();
  expect(await refused.json()).toEqual({
    type: 'error',
    error: {
      type: 'rate_limit_error',
      message: expect.stringMatching(/^the limit of 4 requests a minute other than GET is used up; try again in \d+ s$/),
    },
    request_id: refused.headers.get('request-id'),
  });
  expect(refused.status).toBe(429);
  const wait = Number(refused.headers.get('retry-after'));
  expect(wait).toBeGreaterThanOrEqual(1);
  expect(wait).toBeLessThanOrEqual(CREATE_EACH_S);
  expect(refused.headers.get('anthropic-ratelimit-requests-remaining')).toBe('0');
  const fullInMs = Date.parse(refused.headers.get('anthropic-ratelimit-requests-reset')!) - Date.now();
  expect(fullInMs).toBeGreaterThan(40_000);
  expect(fullInMs).toBeLessThan(61_000);
  expect(await statuses(read, LIMITS.read + 2)).toEqual([...repeat(200, LIMITS.read), 429, 429]);
  expect((await gateway.agents.list('wrkspc_test', { limit: 100, includeInactive: true })).data).toHaveLength(LIMITS.create);
});

test('every way to change something counts, whatever comes of it; what names no endpoint, has no key or is for operators does not', async () => {
  const operator = { authorization: `Bearer ${gateway.operatorKey}` };
  for (let i = 0; i < 3; i++) {
    expect((await gateway.post('/v1/nothing', {})).status).toBe(404);
    expect((await gateway.fetch('/v1/agents', { method: 'PUT' })).status).toBe(404);
    expect((await fetch(`${gateway.url}/v1/agents`, { method: 'POST' })).status).toBe(401);
    expect((await gateway.post('/v1/manyhands/api_keys', { name: 'k' }, operator)).status).toBe(200);
    expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/admin/queues`, { headers: operator })).status).toBe(200);
  }
  expect((await gateway.post('/v1/agents', {})).status).toBe(400);
  expect((await gateway.post('/v1/sessions/sesn_x/archive', {})).status).toBe(404);
  expect((await gateway.fetch('/v1/environments/env_x', { method: 'DELETE' })).status).toBe(404);
  expect((await create()).status).toBe(200);
  expect((await create()).status).toBe(429);
});

test('a bucket is one for all gateways and all workspaces, and exactly as many get through at once as it holds', async () => {
  const metrics = createGatewayMetrics(createMetrics('gateway'), gateway);
  const second = createGateway({ ...gateway, metrics }, { models: DEFAULT_MODELS, adminWritable: false, rateLimits: LIMITS });
  try {
    const secondUrl = await second.listen({ host: '127.0.0.1', port: 0 });
    const otherKey = await gateway.makeKey('wrkspc_other', ['api']);
    const there = () =>
      fetch(`${secondUrl}/v1/agents`, {
        method: 'POST',
        headers: { authorization: `Bearer ${otherKey}`, 'content-type': 'application/json' },
        body: '{"name":"a","model":"m"}',
      });
    let turn = 0;
    expect(await statuses(() => (turn++ % 2 === 0 ? create() : there()), 40)).toEqual([...repeat(200, LIMITS.create), ...repeat(429, 36)]);
    // As if the time for one more had passed. This gateway knows of an empty bucket and would not ask; a third one asks.
    const full = Number(await gateway.testRedis.get(CREATE_BUCKET));
    await gateway.testRedis.set(CREATE_BUCKET, String(full - CREATE_EACH_S * 1_000_000));
    const third = createGateway(
      { ...gateway, metrics: createGatewayMetrics(createMetrics('gateway'), gateway) },
      { models: DEFAULT_MODELS, adminWritable: false, rateLimits: LIMITS },
    );
    try {
      const thirdUrl = await third.listen({ host: '127.0.0.1', port: 0 });
      const again = () => fetch(`${thirdUrl}/v1/agents/agent_x`, { method: 'POST', headers: { 'x-api-key': gateway.key } });
      expect(await statuses(again, 10)).toEqual([404, ...repeat(429, 9)]);
    } finally {
      await third.close();
    }
  } finally {
    await second.close();
  }
});

test('who is refused again and again costs Redis nothing', async () => {
  await statuses(create, LIMITS.create + 1);
  const scripts = async () => /cmdstat_evalsha:calls=(\d+)/.exec(await gateway.testRedis.info('commandstats'))?.[1];
  const before = await scripts();
  expect(before).toBeDefined();
  expect(await statuses(create, 20)).toEqual(repeat(429, 20));
  expect(await scripts()).toBe(before);
});

test('a clock of Redis that was set back keeps nobody out for longer than an empty bucket does', async () => {
  await gateway.testRedis.set(CREATE_BUCKET, String((Date.now() + 86_400_000) * 1_000));
  const refused = await create();
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(CREATE_EACH_S);
});

test('a bucket leaves Redis when it is full', async () => {
  await create();
  expect(await gateway.testRedis.pttl(CREATE_BUCKET)).toBeGreaterThan(0);
  expect(await gateway.testRedis.pttl(CREATE_BUCKET)).toBeLessThanOrEqual(CREATE_EACH_S * 1_000);
});

test('without Redis nobody gets around the limit: requests are a 503', async () => {
  await statuses(create, LIMITS.create + 1);
  await gateway.server.kill();
  const answer = await read();
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
});

test('a client that reads the answer sees the limit as the error class of its SDK', async () => {
  await statuses(create, LIMITS.create);
  const error = await gateway.client.beta.agents.create({ name: 'a', model: 'm' }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ status: 429, type: 'rate_limit_error', requestID: expect.stringMatching(/^req_/) });
});
