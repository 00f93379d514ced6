/**
 * The first rows of SPECIFICATION.md: what we cost over what Redis, BullMQ and HTTP cost by themselves, measured in the same run.
 * `npm run bench` prints the table with more samples; here the ratios that we reach are held with slack, since such machines move by
 * a factor of two.
 */
import { createRedis, pause } from '@manyhands/base';
import { silentLogger, startTestRedis } from '@manyhands/test-kit';
import { Pool } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { say, startSession, untilEvent, untilIdle } from '../e2e/conversation.ts';
import { type Instance, startInstance } from '../e2e/instance.ts';
import { startBareQueue, startBareServer } from './bare.ts';
import { measure, row, type Timing } from './timing.ts';
import { startUpstream, type Upstream } from './upstream.ts';

const full = process.env['MANYHANDS_BENCH'] === '1';
const N = full ? 300 : 60;
const SLACK = 2;

let redisServer: Awaited<ReturnType<typeof startTestRedis>>;
let upstream: Upstream;
let instance: Instance;
let redis: ReturnType<typeof createRedis>;
const rows: string[] = [];

beforeAll(async () => {
  redisServer = await startTestRedis();
  upstream = await startUpstream();
  redis = createRedis(redisServer.url, 'patient', silentLogger, 'bench');
  instance = await startInstance({
    workers: 1,
    env: {
      REDIS_URL: redisServer.url,
      MANYHANDS_MODEL_BASE_URL: upstream.url,
      MANYHANDS_MODEL_API_KEY: 'none',
    },
  });
}, 180_000);
afterAll(async () => {
  process.stdout.write(
    `\n| what | ours p50 / p95 ms | floor p50 / p95 ms | ratio | goal |\n| --- | --- | --- | --- | --- |\n${rows.join('\n')}\n`,
  );
  upstream?.finish();
  await instance?.[Symbol.asyncDispose]();
  redis?.disconnect();
  upstream?.close();
  await redisServer?.[Symbol.asyncDispose]();
}, 90_000);

/**
 * Holds a ratio: `now` is what SPECIFICATION.md says that we reach, `goal` what we want. A busy moment gets one more chance, measured anew
 * with its floor.
 */
async function holds(name: string, now: number, goal: string, take: () => Promise<{ ours: Timing; floor: Timing }>): Promise<void> {
  let { ours, floor } = await take();
  if (ours.p50 / floor.p50 > now * SLACK) ({ ours, floor } = await take());
  rows.push(row(name, ours, floor, goal));
  expect(ours.p50 / floor.p50).toBeLessThan(now * SLACK);
}

const event = JSON.stringify({ events: [{ type: 'user.message', content: [{ type: 'text', text: 'x'.repeat(900) }] }] });

test('an event is accepted in little more than an HTTP round trip and one durable append', async () => {
  upstream.hold = true;
  const sessionId = await startSession(instance.client);
  await say(instance.client, sessionId, 'hold the turn');
  await untilEvent(instance.client, sessionId, 'span.model_request_start');

  const echo = await startBareServer(redisServer.url, 'bench:echo');
  const plain = new Pool(echo.url, { connections: 1 });
  const ours = new Pool(instance.url, { connections: 1 });
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${instance.apiKey}` };
  const post = async (pool: Pool, path: string) => {
    const response = await pool.request({ method: 'POST', path, headers, body: event });
    await response.body.dump();
    if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
  };
  await holds('event accepted (POST, durable)', 2.5, '≤ 1.5 × HTTP + XADD', async () => ({
    ours: await measure(N, () => post(ours, `/v1/sessions/${sessionId}/events`)),
    floor: await measure(N, () => post(plain, '/')),
  }));
  await Promise.all([plain.close(), ours.close()]);
  echo.close();
  await instance.client.beta.sessions.events.send(sessionId, { events: [{ type: 'user.interrupt' }] });
  upstream.hold = false;
  upstream.finish();
}, 120_000);

test('the first model request leaves soon after the event was sent', async () => {
  const bare = await startBareQueue(redisServer.url);

  const api = new Pool(instance.url, { connections: 1 });
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${instance.apiKey}` };
  const sessions: string[] = [];
  for (let i = 0; i < N + 10; i++) sessions.push(await startSession(instance.client));
  let used = 0;
  await holds('event sent → first model request', 8, '≤ 2.5 × bare BullMQ add → start', async () => ({
    floor: await measure(N, () => bare.start()),
    ours: await measure(Math.min(N, sessions.length - 10), async () => {
      const sessionId = sessions[used++ % sessions.length]!;
      const mark = `mark-${used}-end`;
      const arrival = upstream.arrival(mark);
      const body = JSON.stringify({ events: [{ type: 'user.message', content: [{ type: 'text', text: mark }] }] });
      const begin = performance.now();
      const response = await api.request({ method: 'POST', path: `/v1/sessions/${sessionId}/events`, headers, body });
      await response.body.dump();
      const took = (await arrival) - begin;
      await untilIdle(instance.client, sessionId, 20_000);
      return took;
    }),
  }));
  await api.close();
  await bare.close();
}, 240_000);

test('a model delta reaches the client soon', async () => {
  const bare = await startBareServer(redisServer.url, 'bench:sse');
  const floorStream = await follow(bare.url, {});

  upstream.hold = true;
  const sessionId = await startSession(instance.client);
  const oursStream = await follow(`${instance.url}/v1/sessions/${sessionId}/events/stream?event_deltas[]=agent.message`, {
    authorization: `Bearer ${instance.apiKey}`,
  });
  await say(instance.client, sessionId, 'stream');
  await oursStream.sees('event_start');
  await holds('model delta → client', 5, '≤ 2 × XADD → SSE', async () => ({
    floor: await measure(N, async (i) => {
      const seen = floorStream.sees(`floor${i}!`);
      const begin = performance.now();
      await redis.xadd('bench:sse', '*', 'e', `floor${i}!`);
      return (await seen) - begin;
    }),
    ours: await measure(N, async (i) => {
      const seen = oursStream.sees(`delta${i}!`);
      const begin = performance.now();
      upstream.delta(`delta${i}!`);
      const took = (await seen) - begin;
      // Deltas that follow at once share a frame of up to 16 ms by design; here each is the first of its frame.
      await pause(20);
      return took;
    }),
  }));
  upstream.hold = false;
  upstream.finish();
  floorStream.close();
  oursStream.close();
  bare.close();
}, 120_000);

/** Reads a stream and tells when a text was seen on it. */
async function follow(url: string, headers: Record<string, string>) {
  const controller = new AbortController();
  const response = await fetch(url, { headers, signal: controller.signal });
  const waiting: { text: string; resolve: (at: number) => void }[] = [];
  let seen = '';
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body!) {
      const at = performance.now();
      seen = (seen + decoder.decode(chunk as Uint8Array)).slice(-4000);
      for (const one of waiting) if (seen.includes(one.text)) one.resolve(at);
    }
  })().catch(() => {});
  return {
    sees: (text: string) =>
      new Promise<number>((resolve) => {
        if (seen.includes(text)) resolve(performance.now());
        else waiting.splice(0, waiting.length, { text, resolve });
      }),
    close: () => controller.abort(),
  };
}
