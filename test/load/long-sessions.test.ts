/**
 * I14: a session of 100,000 events and 1,000 turns (a third of that in `npm test`) costs what a young one costs. Both are used in turns,
 * request by request, so that what the machine does meanwhile meets both alike; the ratio is what is promised (SPECIFICATION.md).
 */
import { startTestRedis } from '@manyhands/test-kit';
import { Pool } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Instance, startInstance } from '../e2e/instance.ts';
import { openStream, type Stream } from './stream.ts';
import { row, summarise, type Timing } from './timing.ts';
import { startUpstream, type Upstream } from './upstream.ts';

const full = process.env['MANYHANDS_BENCH'] === '1';
const ROUNDS = full ? 50 : 16;
const TURNS_PER_ROUND = 20;
const INTERRUPTS_PER_ROUND = 1_850;
/** Nine of each turn are listed. */
const EVENTS = ROUNDS * (TURNS_PER_ROUND * 9 + INTERRUPTS_PER_ROUND);
const N = full ? 100 : 25;
const WARM_UP = 5;
const RATIO = 1.3;
const SLACK = full ? 1 : 2;
const GROW_MS = 240_000;

let redisServer: Awaited<ReturnType<typeof startTestRedis>>;
let upstream: Upstream;
let instance: Instance;
let api: Pool;
let old: Session;
let young: Session;
const rows: string[] = [];

beforeAll(async () => {
  redisServer = await startTestRedis();
  upstream = await startUpstream();
  const MANYHANDS_CONTEXT_WINDOW = '32000';
  instance = await startInstance({
    workers: 1,
    env: {
      ...{ REDIS_URL: redisServer.url, MANYHANDS_MODEL_BASE_URL: upstream.url, MANYHANDS_MODEL_API_KEY: 'none' },
      MANYHANDS_CONTEXT_WINDOW,
    },
  });
  api = new Pool(instance.url, { connections: 1 });
  [old, young] = [await open(), await open()];
  await grow(young, 1);
  const begin = performance.now();
  await grow(old, ROUNDS);
  process.stdout.write(
    `\nold: ${ROUNDS * TURNS_PER_ROUND} turns, ${EVENTS} events, grown in ${Math.round((performance.now() - begin) / 1000)} s\n`,
  );
}, GROW_MS);
afterAll(async () => {
  process.stdout.write(
    `\n| what | old p50 / p95 ms | young p50 / p95 ms | ratio | bound |\n| --- | --- | --- | --- | --- |\n${rows.join('\n')}\n`,
  );
  await api?.close();
  await instance?.[Symbol.asyncDispose]();
  upstream?.close();
  await redisServer?.[Symbol.asyncDispose]();
}, 90_000);

interface Event {
  id: string;
  type: string;
  processed_at: string | null;
}
interface Page {
  data: Event[];
  next_page: string | null;
}
interface Session {
  id: string;
  /** When the last event was processed before it had grown by half. */
  half: string;
  get(query: string): Promise<Page>;
  send(...events: object[]): Promise<void>;
  stream(): Promise<Stream>;
  /** One turn; what it took until the message was accepted, until the model was asked, and until idle was told. */
  turn(stream: Stream, text?: string): Promise<{ accepted: number; asked: number; idle: number }>;
}

const INTERRUPT = { type: 'user.interrupt' };
let marks = 0;

async function request(method: 'GET' | 'POST', path: string, body?: object): Promise<string> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${instance.apiKey}` };
  const response = await api.request({ method, path, headers, body: body === undefined ? null : JSON.stringify(body) });
  const answer = await response.body.text();
  if (response.statusCode !== 200) throw new Error(`${method} ${path}: status ${response.statusCode}: ${answer}`);
  return answer;
}

async function open(): Promise<Session> {
  const { agents, environments, sessions } = instance.client.beta;
  const agent = await agents.create({ name: 'long', model: 'm' });
  const environment = await environments.create({ name: 'e' });
  const { id } = await sessions.create({ agent: agent.id, environment_id: environment.id });
  const path = `/v1/sessions/${id}`;
  const send = async (...events: object[]) => void (await request('POST', `${path}/events`, { events }));
  return {
    id,
    half: '',
    send,
    get: async (query) => JSON.parse(await request('GET', `${path}/events?${query}`)) as Page,
    stream: () => openStream(`${instance.url}${path}/events/stream`, { authorization: `Bearer ${instance.apiKey}` }),
    async turn(stream, text = '') {
      const mark = `mark-${++marks}-end`;
      const arrival = upstream.arrival(mark);
      const idle = stream.next('session.status_idle');
      const begin = performance.now();
      await send({ type: 'user.message', content: [{ type: 'text', text: `${mark} ${text}` }] });
      const accepted = performance.now();
      const [asked, { at }] = await Promise.all([arrival, idle]);
      return { accepted: accepted - begin, asked: asked - begin, idle: at - begin };
    },
  };
}

/** What a client may do in any session, over and over: events without work, turns, a change now and then. */
async function grow(session: Session, rounds: number): Promise<void> {
  for (const title of ['one', 'two', 'three']) await request('POST', `/v1/sessions/${session.id}`, { title });
  for (let round = 0; round < rounds; round++) {
    await session.send(...Array.from({ length: INTERRUPTS_PER_ROUND / 2 }, () => INTERRUPT));
    if (round === Math.floor(rounds / 2)) session.half = (await session.get('limit=1&order=desc')).data[0]!.processed_at!;
    const stream = await session.stream();
    for (let turn = 0; turn < TURNS_PER_ROUND; turn++) await session.turn(stream, 'What next? '.repeat(30));
    stream.close();
    await session.send(...Array.from({ length: INTERRUPTS_PER_ROUND / 2 }, () => INTERRUPT));
  }
}

type Work = (session: Session) => Promise<number[]>;

/** Both in turns; each name stands for one of the times that `work` answers. A busy moment gets one more chance. */
async function flat(names: string[], work: Work): Promise<void> {
  const take = async (): Promise<{ ours: Timing; floor: Timing }[]> => {
    const samples = new Map([old, young].map((session) => [session, names.map((): number[] => [])]));
    for (let i = -WARM_UP; i < N; i++) {
      for (const session of i % 2 === 0 ? [old, young] : [young, old]) {
        const times = await work(session);
        if (i >= 0) times.forEach((time, k) => void samples.get(session)![k]!.push(time));
      }
    }
    return names.map((_, k) => ({ ours: summarise(samples.get(old)![k]!), floor: summarise(samples.get(young)![k]!) }));
  };
  const ratios = (all: { ours: Timing; floor: Timing }[]) => all.map(({ ours, floor }) => ours.p50 / floor.p50);
  let taken = await take();
  if (ratios(taken).some((ratio) => ratio > RATIO * SLACK)) taken = await take();
  for (const [k, { ours, floor }] of taken.entries()) rows.push(row(names[k]!, ours, floor, `≤ ${RATIO}`));
  for (const ratio of ratios(taken)) expect(ratio).toBeLessThanOrEqual(RATIO * SLACK);
}

const timed = async (work: () => Promise<unknown>): Promise<number[]> => {
  const begin = performance.now();
  await work();
  return [performance.now() - begin];
};

test('the old session has its events, each once and in order', async () => {
  let count = 0;
  let last = '';
  let page: string | null = '';
  const ids = new Set<string>();
  const kinds = new Map<string, number>();
  while (page !== null) {
    const { data, next_page } = await old.get(`limit=1000&page=${page}`);
    for (const { id, type, processed_at } of data) {
      count++;
      ids.add(id);
      kinds.set(type, (kinds.get(type) ?? 0) + 1);
      expect(processed_at! >= last).toBe(true);
      last = processed_at!;
    }
    page = next_page;
  }
  expect(count).toBeGreaterThanOrEqual(EVENTS);
  expect(ids.size).toBe(count);
  expect(kinds.get('session.status_idle')).toBe(ROUNDS * TURNS_PER_ROUND);
  expect(kinds.get('user.interrupt')).toBe(ROUNDS * INTERRUPTS_PER_ROUND);
  // Its context is bounded as any session's: it was summed up a few times.
  expect(kinds.get('agent.thread_context_compacted')).toBeGreaterThan(1);
}, 60_000);

test('an event is accepted as fast', async () => {
  await flat(['event accepted'], (session) => timed(() => session.send(INTERRUPT)));
}, 60_000);

test('a page is told as fast, wherever it is', async () => {
  const [start, middle, end] = [new Map<Session, string>(), new Map<Session, string>(), new Map<Session, string>()];
  for (const session of [old, young]) {
    const [first] = (await session.get('limit=1')).data;
    const [last] = (await session.get('limit=1&order=desc')).data;
    const [from, to] = [Date.parse(first!.processed_at!), Date.parse(last!.processed_at!)];
    start.set(session, new Date(from + 1).toISOString());
    end.set(session, new Date(to - 1).toISOString());
    middle.set(session, (await session.get(`limit=20&created_at[gte]=${session.half}`)).next_page!);
  }
  const page = (name: string, query: (session: Session) => string, size?: number) =>
    flat([name], (session) =>
      timed(async () => {
        const { data } = await session.get(query(session));
        if (size !== undefined) expect(data).toHaveLength(size);
      }),
    );
  await page('first page of 1000', () => 'limit=1000', 1000);
  await page('first page of 20', () => 'limit=20', 20);
  await page('page of 20 in the middle', (session) => `limit=20&page=${middle.get(session)}`, 20);
  await page('last page of 1000', () => 'limit=1000&order=desc', 1000);
  await page('last page of 20', () => 'limit=20&order=desc', 20);
  await page('of a rare type, oldest first', () => 'limit=20&types[]=session.updated', 3);
  await page('of a rare type, newest first', () => 'limit=20&order=desc&types[]=session.updated', 3);
  await page('of a type that is not there', () => 'limit=20&types[]=agent.tool_use', 0);
  await page('since a time in the middle', ({ half }) => `limit=20&created_at[gte]=${half}`, 20);
  await page('since a time near the end', (session) => `limit=20&created_at[gte]=${end.get(session)}`);
  await page('until a time near the beginning, newest first', (session) => `limit=20&order=desc&created_at[lt]=${start.get(session)}`);
}, 120_000);

test('a session is told, and a stream opened, as fast', async () => {
  await flat(['GET session'], (session) => timed(() => request('GET', `/v1/sessions/${session.id}`)));
  await flat(['stream opened'], (session) => timed(async () => (await session.stream()).close()));
  const last = new Map<Session, string>();
  for (const session of [old, young]) last.set(session, (await session.get('limit=1&order=desc')).data[0]!.id);
  await flat(['stream resumed at the last event'], (session) =>
    timed(async () => {
      const path = `${instance.url}/v1/sessions/${session.id}/events/stream`;
      (await openStream(path, { authorization: `Bearer ${instance.apiKey}`, 'last-event-id': last.get(session)! })).close();
    }),
  );
}, 60_000);

test('a turn starts as fast, at the same size of context', async () => {
  const streams = new Map([
    [old, await old.stream()],
    [young, await young.stream()],
  ]);
  const sizeAfter = async (session: Session, text?: string): Promise<number> => {
    await session.turn(streams.get(session)!, text);
    return upstream.size;
  };
  // Right after a compaction there is room for what is measured.
  for (let size = await sizeAfter(old), before = 0; size > before; [before, size] = [size, await sizeAfter(old, 'On! '.repeat(100))]);
  const [sizeOfOld, sizeOfYoung] = [await sizeAfter(old), await sizeAfter(young)];
  const [smaller, larger] = sizeOfOld < sizeOfYoung ? [old, young] : [young, old];
  await sizeAfter(smaller, 'x'.repeat(Math.abs(sizeOfOld - sizeOfYoung)));
  await sizeAfter(larger);
  const sizes = [await sizeAfter(old), await sizeAfter(young)];
  expect(Math.max(...sizes) / Math.min(...sizes)).toBeLessThan(1.02);

  await flat(['message accepted', 'message sent → model asked', 'message sent → idle'], async (session) => {
    const { accepted, asked, idle } = await session.turn(streams.get(session)!);
    return [accepted, asked, idle];
  });
  for (const stream of streams.values()) stream.close();
}, 120_000);
