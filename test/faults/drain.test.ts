/**
 * Sandbox pools that come and go under sessions (DESIGN 3.6, 6): a pool that gets SIGTERM lets calls finish, saves what sessions have and
 * leaves; sessions go on in another pool. Full pools are not asked, and sessions wait for room, or for a pool to come back.
 */
import { fakeScript } from '@manyhands/model/testing';
import { processTable, type Service, until } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Event, history, problems, say, startSession, texts, untilIdle } from '../e2e/conversation.ts';
import { type Cluster, type Gateway, type Pool, startCluster } from './cluster.ts';

/** A pool that only restarts is waited for this long (DESIGN 3.6); going on after a drain must not take so long. */
const SILENCE_LIMIT_MS = 30_000;

let cluster: Cluster;
let gateway: Gateway;
beforeAll(async () => {
  cluster = await startCluster();
  [gateway] = await Promise.all([cluster.startGateway(), cluster.startWorker()]);
}, 60_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 90_000);

const pools: Pool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map(({ service }) => service.kill('SIGTERM')));
});
async function startPool(env: Record<string, string> = {}): Promise<Pool> {
  const pool = await cluster.startPool({ env });
  pools.push(pool);
  return pool;
}
/** A session that has its sandbox in this pool, the only one there is. */
async function sessionIn(pool: Pool): Promise<string> {
  const sessionId = await startSession(gateway.client);
  await talk(sessionId, [bash('echo run >> count'), tellLast]);
  await untilIdle(gateway.client, sessionId, 30_000);
  expect((await cluster.binding(sessionId))?.pool_id).toBe(pool.id);
  return sessionId;
}

const bash = (command: string) => ({ blocks: [{ tool: 'bash', input: { command } }] });
const tellLast = { blocks: [{ text: '{{last_tool_result}}' }] };
/** Says the steps as one message. */
async function talk(sessionId: string, steps: Parameters<typeof fakeScript>[0]): Promise<void> {
  await say(gateway.client, sessionId, fakeScript(steps));
}
/** Waits until that command runs in a sandbox. */
async function untilRuns(command: string): Promise<void> {
  await until(() => processTable().some((entry) => entry.command === command), { what: `${command} to run`, timeoutMs: 30_000 });
}
function results(events: Event[]): { text: string; isError: boolean }[] {
  return events.flatMap((event) =>
    event.type === 'agent.tool_result'
      ? [{ text: texts([event], 'agent.tool_result').join('').trim(), isError: event.is_error === true }]
      : [],
  );
}
const ended = (service: Service) => service.kill('SIGTERM');
const CLEAN = { code: 0, signal: null };

test('a pool that goes lets the running call finish; the next call has its files in another pool, and no result is an error', async () => {
  const first = await startPool({ MANYHANDS_DRAIN_MS: '20000' });
  const sessionId = await sessionIn(first);
  const second = await startPool();
  await talk(sessionId, [bash('echo run >> count; sleep 6.125; echo finished'), bash('echo run >> count; wc -l < count'), tellLast]);
  await untilRuns('sleep 6.125');
  const from = performance.now();
  const going = ended(first.service);
  const other = await startSession(gateway.client);
  await talk(other, [bash('echo elsewhere'), tellLast]);
  expect(results(await untilIdle(gateway.client, other, 30_000))).toEqual([{ text: 'elsewhere', isError: false }]);
  expect((await cluster.binding(other))?.pool_id).toBe(second.id);

  const events = await untilIdle(gateway.client, sessionId, 40_000, 2);
  console.log(`drained in the middle of a 6-second call: the turn ended ${Math.round(performance.now() - from)} ms after SIGTERM`);
  expect(problems(events)).toEqual([]);
  expect(results(events).slice(1)).toEqual([
    { text: 'finished', isError: false },
    { text: '3', isError: false },
  ]);
  expect(await cluster.binding(sessionId)).toMatchObject({ pool_id: second.id, generation: 2 });
  expect(await going).toEqual(CLEAN);
}, 120_000);

test('a call that does not finish in time is cut off and told as lost; the next one has the files as they were then', async () => {
  const first = await startPool({ MANYHANDS_DRAIN_MS: '1000' });
  const sessionId = await sessionIn(first);
  await startPool();
  await talk(sessionId, [bash('echo kept > file; sleep 100.125'), bash('cat file'), tellLast]);
  await untilRuns('sleep 100.125');
  expect(await ended(first.service)).toEqual(CLEAN);
  const events = await untilIdle(gateway.client, sessionId, 40_000, 2);
  expect(problems(events)).toEqual([]);
  expect(results(events).slice(1)).toEqual([
    { text: expect.stringMatching(/sandbox was lost/) as string, isError: true },
    { text: 'kept', isError: false },
  ]);
}, 90_000);

test('a session that was idle when its pool went for good has its files elsewhere at its next call, without the wait for a restart', async () => {
  const first = await startPool();
  const sessionId = await sessionIn(first);
  expect(await ended(first.service)).toEqual(CLEAN);
  await startPool();
  const from = performance.now();
  await talk(sessionId, [bash('wc -l < count'), tellLast]);
  const events = await untilIdle(gateway.client, sessionId, 40_000, 2);
  const tookMs = performance.now() - from;
  console.log(`first call after the pool of an idle session is gone: turn of ${Math.round(tookMs)} ms`);
  expect(tookMs).toBeLessThan(SILENCE_LIMIT_MS / 2);
  expect(results(events).at(-1)).toEqual({ text: '1', isError: false });
}, 90_000);

test('a call whose worker and pool both go is told with its true outcome, and has run once', async () => {
  await using own = await startCluster();
  const [server, worker, first] = await Promise.all([
    own.startGateway(),
    own.startWorker(),
    own.startPool({ env: { MANYHANDS_DRAIN_MS: '20000' } }),
  ]);
  const sessionId = await startSession(server.client);
  const script = [bash('echo run >> count; sleep 3.125; echo collected later'), bash('wc -l < count'), tellLast];
  await say(server.client, sessionId, fakeScript(script));
  await untilRuns('sleep 3.125');
  const worked = worker.kill('SIGTERM');
  const pooled = ended(first.service);
  expect([await worked, await pooled]).toEqual([CLEAN, CLEAN]);
  await Promise.all([own.startWorker(), own.startPool()]);
  const events = await untilIdle(server.client, sessionId, 40_000);
  expect(problems(events)).toEqual([]);
  expect(results(events)).toEqual([
    { text: 'collected later', isError: false },
    { text: '1', isError: false },
  ]);
}, 120_000);

test('without any pool a session waits and says why, and goes on when one comes', async () => {
  const sessionId = await startSession(gateway.client);
  await talk(sessionId, [bash('echo at last'), tellLast]);
  await until(
    async () =>
      (await cluster.jobLines(sessionId)).some((line) => /waiting for a sandbox since \d+ s: every pool is full or gone/.test(line)),
    {
      what: 'the job to say what it waits for',
      timeoutMs: 20_000,
    },
  );
  expect((await gateway.client.beta.sessions.retrieve(sessionId)).status).toBe('running');
  await startPool();
  const from = performance.now();
  expect(results(await untilIdle(gateway.client, sessionId, 30_000))).toEqual([{ text: 'at last', isError: false }]);
  console.log(`a waiting session's turn ended ${Math.round(performance.now() - from)} ms after a pool was ready`);
}, 90_000);

test('18 sessions on pools for 1, 2 and 3 sandboxes all end without an error; a full pool is not asked while it is full', async () => {
  const maxima = [1, 2, 3];
  const all = await Promise.all(maxima.map((max) => startPool({ MANYHANDS_POOL_MAX: String(max) })));
  const sessions = await Promise.all(Array.from({ length: 18 }, () => startSession(gateway.client)));
  await Promise.all(sessions.map((id) => talk(id, [bash('sleep 2; echo one'), bash('echo two'), tellLast])));
  let most = 0;
  const ends = Promise.all(sessions.map((id) => untilIdle(gateway.client, id, 150_000)));
  const waited = new Set<string>();
  for (let over = false; !over; ) {
    over = await Promise.race([ends.then(() => true), until(() => false, { what: 'a moment', timeoutMs: 300 }).catch(() => false)]);
    const bindings = await Promise.all(sessions.map((id) => cluster.binding(id)));
    most = Math.max(most, new Set(bindings.flatMap((binding) => binding?.sandbox_id ?? [])).size);
    for (const id of sessions) if ((await cluster.jobLines(id)).some((line) => line.includes('waiting for a sandbox'))) waited.add(id);
  }
  for (const events of await ends) {
    expect(problems(events)).toEqual([]);
    expect(results(events)).toEqual([
      { text: 'one', isError: false },
      { text: 'two', isError: false },
    ]);
  }
  expect(most).toBeGreaterThan(6);
  expect(waited.size).toBeGreaterThanOrEqual(6);
  // Only who was on the way to a pool when it filled up hears that it is full: it left the queue group, and asks are spread over seconds.
  const refusals = all.map(({ service }) => service.output().match(/"op":"sandbox.lease","ok":false/g)?.length ?? 0);
  console.log(
    `refused as full: ${refusals.join(', ')} by pools for ${maxima.join(', ')}; ${waited.size} of 18 sessions waited and said so`,
  );
  expect(refusals.reduce((sum, count) => sum + count, 0)).toBeLessThan(2 * sessions.length);
}, 240_000);

test('nothing of all this is listed twice or lost', async () => {
  for await (const session of gateway.client.beta.sessions.list({ limit: 100 })) {
    expect(problems(await history(gateway.client, session.id))).toEqual([]);
    expect(session.status).toBe('idle');
  }
});
