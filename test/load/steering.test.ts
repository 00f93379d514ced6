/**
 * How soon a client's word takes hold (SPECIFICATION.md): an interrupt ends a model's answer or a running command, a confirmation sets a
 * parked session going again. The bounds are absolute; the floors beside them, taken in turns, say what of it is the machine's.
 */
import { pause } from '@manyhands/base';
import { processTable, startTestRedis, until } from '@manyhands/test-kit';
import { Pool } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Instance, startInstance } from '../e2e/instance.ts';
import { startBareQueue, startBareServer } from './bare.ts';
import { openStream, type Stream } from './stream.ts';
import { row, summarise, type Timing } from './timing.ts';
import { startUpstream, type Upstream } from './upstream.ts';

const full = process.env['MANYHANDS_BENCH'] === '1';
const N = full ? 200 : 25;
const COMMANDS = full ? 40 : 6;
const WARM_UP = 3;
/** What a busy machine may take on top, where the numbers are not the point. */
const SLACK = full ? 1 : 2;
/** Long enough for the worker to be done with the session. */
const REST_MS = 150;

let redisServer: Awaited<ReturnType<typeof startTestRedis>>;
let upstream: Upstream;
let instance: Instance;
let api: Pool;
const rows: string[] = [];

beforeAll(async () => {
  redisServer = await startTestRedis();
  upstream = await startUpstream();
  instance = await startInstance({
    workers: 1,
    env: { REDIS_URL: redisServer.url, MANYHANDS_MODEL_BASE_URL: upstream.url, MANYHANDS_MODEL_API_KEY: 'none' },
  });
  api = new Pool(instance.url, { connections: 1 });
}, 180_000);
afterAll(async () => {
  process.stdout.write(
    `\n| what | ours p50 / p95 ms | floor p50 / p95 ms | ratio | bound |\n| --- | --- | --- | --- | --- |\n${rows.join('\n')}\n`,
  );
  upstream?.finish();
  await api?.close();
  await instance?.[Symbol.asyncDispose]();
  upstream?.close();
  await redisServer?.[Symbol.asyncDispose]();
}, 90_000);

interface Session {
  stream: Stream;
  /** Resolves when the events are accepted. */
  send(...events: object[]): Promise<void>;
}

async function open(policy: 'always_allow' | 'always_ask'): Promise<Session> {
  const { agents, environments, sessions } = instance.client.beta;
  const configs = [{ name: 'bash' as const, enabled: true, permission_policy: { type: policy } }];
  const tools = [{ type: 'agent_toolset_20260401' as const, default_config: { enabled: false }, configs }];
  const agent = await agents.create({ name: 'steered', model: 'm', tools });
  const environment = await environments.create({ name: 'e' });
  const { id } = await sessions.create({ agent: agent.id, environment_id: environment.id });
  const path = `/v1/sessions/${id}/events`;
  const authorization = `Bearer ${instance.apiKey}`;
  return {
    stream: await openStream(`${instance.url}${path}/stream`, { authorization }),
    async send(...events) {
      const headers = { 'content-type': 'application/json', authorization };
      const response = await api.request({ method: 'POST', path, headers, body: JSON.stringify({ events }) });
      const answer = await response.body.text();
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${answer}`);
    },
  };
}

const message = (text: string) => ({ type: 'user.message', content: [{ type: 'text', text }] });
const INTERRUPT = { type: 'user.interrupt' };
let marks = 0;

interface Kind {
  name: string;
  boundMs: number;
  samples: number;
  ours: () => Promise<number>;
  floor: () => Promise<number>;
}

/** Ours and the floor in turns. A busy moment gets one more chance, but not where the numbers are the point. */
async function holds({ name, boundMs, samples, ours, floor }: Kind): Promise<void> {
  const take = async (): Promise<{ mine: Timing; bare: Timing }> => {
    const mine: number[] = [];
    const bare: number[] = [];
    for (let i = -WARM_UP; i < samples; i++) {
      const sample = { mine: await ours(), bare: await floor() };
      if (i < 0) continue;
      mine.push(sample.mine);
      bare.push(sample.bare);
    }
    return { mine: summarise(mine), bare: summarise(bare) };
  };
  let { mine, bare } = await take();
  if (!full && mine.p95 > boundMs * SLACK) ({ mine, bare } = await take());
  rows.push(row(name, mine, bare, `≤ ${boundMs} ms p95`));
  expect(mine.p95).toBeLessThan(boundMs * SLACK);
}

/** From a POST to a bare server to its event on a bare stream. */
async function bareRoundTrip() {
  const server = await startBareServer(redisServer.url, `bench:${++marks}`);
  const stream = await openStream(server.url);
  const client = new Pool(server.url, { connections: 1 });
  return {
    async take(): Promise<number> {
      const seen = stream.next('bare');
      const begin = performance.now();
      const response = await client.request({ method: 'POST', path: '/', body: '{"type":"bare"}' });
      await response.body.dump();
      return (await seen).at - begin;
    },
    async [Symbol.asyncDispose]() {
      stream.close();
      await client.close();
      server.close();
    },
  };
}

test('an interrupt ends a streaming model answer, at the model and for the client', async () => {
  await using bare = await bareRoundTrip();
  const { stream, send } = await open('always_allow');
  upstream.hold = true;
  const abandoned: number[] = [];
  await holds({
    name: 'interrupt of a model answer → idle',
    boundMs: 250,
    samples: N,
    floor: bare.take,
    ours: async () => {
      const mark = `answer-${++marks}-end`;
      const asked = upstream.arrival(mark);
      await send(message(mark));
      await asked;
      const left = upstream.abandoned();
      const idle = stream.next('session.status_idle');
      const begin = performance.now();
      await send(INTERRUPT);
      const seen = await idle;
      abandoned.push((await left) - begin);
      expect(seen.event['stop_reason']).toEqual({ type: 'end_turn' });
      await pause(REST_MS);
      return seen.at - begin;
    },
  });
  // What the model would go on to say is paid for: it is told to stop before the client is told idle.
  expect(summarise(abandoned).p95).toBeLessThan(250 * SLACK);
  upstream.hold = false;
  stream.close();
}, 300_000);

test('an interrupt ends a running command', async () => {
  await using bare = await bareRoundTrip();
  const { stream, send } = await open('always_allow');
  await holds({
    name: 'interrupt of a running command → gone and idle',
    boundMs: 1_000,
    samples: COMMANDS,
    floor: bare.take,
    ours: async () => {
      // A length that nobody else on this machine sleeps.
      const command = `sleep 600.${process.pid}${++marks}`;
      const runs = () => processTable().some((entry) => entry.command === command);
      upstream.bash = command;
      await send(message('run it'));
      await until(runs, { what: 'the command to run', timeoutMs: 30_000 });
      const idle = stream.next('session.status_idle');
      const begin = performance.now();
      await send(INTERRUPT);
      let { at: end } = await idle;
      // It was killed before, and is usually gone by now.
      for (; runs(); end = performance.now()) await pause(1);
      await pause(REST_MS);
      return end - begin;
    },
  });
  upstream.bash = null;
  stream.close();
}, 300_000);

/** A session that waits for a confirmation; the milliseconds from confirming until it tells that it runs again. */
async function confirmed({ stream, send }: Session, restMs: number): Promise<number> {
  const use = stream.next('agent.tool_use');
  const parked = stream.next('session.status_idle');
  await send(message('may I?'));
  const { event } = await use;
  expect((await parked).event['stop_reason']).toEqual({ type: 'requires_action', event_ids: [event['id']] });
  await pause(restMs);
  const running = stream.next('session.status_running');
  const result = stream.next('agent.tool_result');
  const done = stream.next('session.status_idle');
  const begin = performance.now();
  await send({ type: 'user.tool_confirmation', tool_use_id: event['id'], result: 'allow' });
  const { at } = await running;
  expect((await result).event).toMatchObject({ tool_use_id: event['id'], is_error: false });
  expect((await done).event['stop_reason']).toEqual({ type: 'end_turn' });
  return at - begin;
}

test('a confirmation sets a parked session going again', async () => {
  const bare = await startBareQueue(redisServer.url);
  const session = await open('always_ask');
  upstream.bash = 'true';
  const parked = { boundMs: 50, samples: N, floor: bare.start };
  await holds({ ...parked, name: 'confirmation → session runs', ours: () => confirmed(session, REST_MS) });
  // A program that answers by itself does so as soon as it is told, when the worker that parked the session may not be gone yet.
  await holds({ ...parked, name: 'confirmation, given at once → session runs', ours: () => confirmed(session, 0) });
  upstream.bash = null;
  session.stream.close();
  await bare.close();
}, 300_000);
