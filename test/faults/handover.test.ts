/**
 * A worker that gets SIGTERM hands its turns over at their next safe point (DESIGN 4, I10): a client with an open stream sees one seamless
 * turn, a command runs once, and the next worker has the turn at once.
 */
import { fakeScript } from '@manyhands/model/testing';
import { processTable, type Service, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Event, history, problems, say, startSession, texts, untilEvent, untilIdle } from '../e2e/conversation.ts';
import { API_KEY, type Cluster, type Gateway, startCluster } from './cluster.ts';
import { type Watch, watchStream } from './watch.ts';

/** Far below the time after which a dead worker is noticed. */
const AT_ONCE_MS = 3_000;

let cluster: Cluster;
let gateway: Gateway;
beforeAll(async () => {
  cluster = await startCluster();
  [gateway] = await Promise.all([cluster.startGateway(), cluster.startPool({ env: { MANYHANDS_POOL_MAX: '12' } })]);
}, 120_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

async function watchedSession(): Promise<{ sessionId: string; watch: Watch }> {
  const sessionId = await startSession(gateway.client);
  return { sessionId, watch: await watchStream(gateway.url, API_KEY, sessionId) };
}
/** The worker that has the session's lease. */
async function workerOf(sessionId: string, workers: Service[]): Promise<Service> {
  return until(
    async () => {
      const pid = await cluster.holder(sessionId);
      return workers.find((worker) => worker.pid === pid);
    },
    { what: 'a worker to hold the session', timeoutMs: 20_000 },
  );
}
/** Milliseconds until another process than `pid` has the session. */
async function untilTakenOver(sessionId: string, pid: number): Promise<number> {
  const from = performance.now();
  await until(
    async () => {
      const holder = await cluster.holder(sessionId);
      return holder !== null && holder !== pid;
    },
    { what: 'another worker to take over', timeoutMs: 30_000, intervalMs: 5 },
  );
  return performance.now() - from;
}
async function expectSeamless(watch: Watch, sessionId: string): Promise<Event[]> {
  const events = await history(gateway.client, sessionId);
  await until(() => watch.differences(events).length === 0, { what: 'the stream to have told all that is listed' }).catch(() => {});
  expect(watch.differences(events)).toEqual([]);
  expect(watch.troubles()).toEqual([]);
  expect(problems(events)).toEqual([]);
  expect(events.at(-1)).toMatchObject({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
  watch.close();
  return events;
}
const spans = (events: Event[]) => events.flatMap((event) => (event.type === 'span.model_request_end' ? [event.is_error] : []));

test('an answer that ends in time is the one that is told, by the worker that asked for it', async () => {
  await using worker = await cluster.startWorker({ MANYHANDS_DRAIN_MS: '20000' });
  const { sessionId, watch } = await watchedSession();
  const answer = 'word '.repeat(80);
  await say(gateway.client, sessionId, fakeScript([{ blocks: [{ text: answer }], delta_ms: 20, delta_chars: 4 }]));
  await until(() => watch.frames.some(({ event }) => event === 'event_delta'), { what: 'the answer to stream' });
  expect(await worker.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  const events = await expectSeamless(watch, sessionId);
  expect(spans(events)).toEqual([false]);
  expect(texts(events, 'agent.message')).toEqual([answer]);
  expect(watch.previews()).toHaveLength(1);
}, 60_000);

test('an answer that does not end in time is asked for again, its span closed as an error', async () => {
  const drainMs = 300;
  await using one = await cluster.startWorker({ MANYHANDS_DRAIN_MS: String(drainMs) });
  await using other = await cluster.startWorker({ MANYHANDS_DRAIN_MS: String(drainMs) });
  const { sessionId, watch } = await watchedSession();
  const answer = 'again '.repeat(100);
  await say(gateway.client, sessionId, fakeScript([{ blocks: [{ text: answer }], delta_ms: 20, delta_chars: 4 }]));
  await until(() => watch.frames.some(({ event }) => event === 'event_delta'), { what: 'the answer to stream' });
  const first = await workerOf(sessionId, [one, other]);
  const ended = first.kill('SIGTERM');
  const resumedMs = await untilTakenOver(sessionId, first.pid);
  expect(await ended).toEqual({ code: 0, signal: null });
  await untilIdle(gateway.client, sessionId, 30_000);
  const events = await expectSeamless(watch, sessionId);
  console.log(
    `handed over in the middle of an answer: the next worker had it ${Math.round(resumedMs - drainMs)} ms after the bound of ${drainMs} ms`,
  );
  expect(resumedMs).toBeLessThan(drainMs + AT_ONCE_MS);
  expect(spans(events)).toEqual([true, false]);
  expect(texts(events, 'agent.message')).toEqual([answer]);
  expect(events.filter(({ type }) => type === 'session.status_running')).toHaveLength(1);
}, 90_000);

test('a command of 10 seconds runs on while its worker goes, and the next one collects its only run', async () => {
  await using one = await cluster.startWorker({ MANYHANDS_DRAIN_MS: '20000' });
  await using other = await cluster.startWorker({ MANYHANDS_DRAIN_MS: '20000' });
  const { sessionId, watch } = await watchedSession();
  await say(
    gateway.client,
    sessionId,
    fakeScript([
      { blocks: [{ tool: 'bash', input: { command: 'echo run >> count; sleep 10.125; wc -l < count' } }] },
      { blocks: [{ text: 'count={{last_tool_result}}' }] },
    ]),
  );
  await untilEvent(gateway.client, sessionId, 'agent.tool_use');
  await until(() => processTable().some(({ command }) => command === 'sleep 10.125'), { what: 'the command to run', timeoutMs: 20_000 });
  const first = await workerOf(sessionId, [one, other]);
  const from = performance.now();
  const ended = first.kill('SIGTERM');
  const resumedMs = await untilTakenOver(sessionId, first.pid);
  expect(await ended).toEqual({ code: 0, signal: null });
  const exitMs = performance.now() - from;
  console.log(`handed over in the middle of a command: the next worker had it after ${Math.round(resumedMs)} ms`);
  expect(resumedMs).toBeLessThan(AT_ONCE_MS);
  expect(exitMs).toBeLessThan(8_000);
  await untilIdle(gateway.client, sessionId, 40_000);
  const events = await expectSeamless(watch, sessionId);
  expect(texts(events, 'agent.message').map((text) => text.replaceAll(/\s/g, ''))).toEqual(['count=1']);
  expect(texts(events, 'agent.tool_result')).toHaveLength(1);
}, 90_000);

test('a turn of many short steps goes over between two of them, each command run once', async () => {
  await using one = await cluster.startWorker({ MANYHANDS_DRAIN_MS: '20000' });
  await using other = await cluster.startWorker({ MANYHANDS_DRAIN_MS: '20000' });
  const { sessionId, watch } = await watchedSession();
  const steps = 40;
  await say(
    gateway.client,
    sessionId,
    fakeScript([
      ...Array.from({ length: steps }, () => ({ blocks: [{ tool: 'bash', input: { command: 'echo run >> count' } }] })),
      { blocks: [{ tool: 'bash', input: { command: 'wc -l < count' } }] },
      { blocks: [{ text: 'count={{last_tool_result}}' }] },
    ]),
  );
  await until(() => watch.frames.filter(({ event }) => event === 'agent.tool_result').length >= 5, {
    what: 'some steps',
    timeoutMs: 30_000,
  });
  const first = await workerOf(sessionId, [one, other]);
  const ended = first.kill('SIGTERM');
  const resumedMs = await untilTakenOver(sessionId, first.pid);
  expect(await ended).toEqual({ code: 0, signal: null });
  console.log(`handed over between steps: the next worker had it after ${Math.round(resumedMs)} ms`);
  expect(resumedMs).toBeLessThan(AT_ONCE_MS);
  await untilIdle(gateway.client, sessionId, 60_000);
  const events = await expectSeamless(watch, sessionId);
  expect(texts(events, 'agent.message').map((text) => text.replaceAll(/\s/g, ''))).toEqual([`count=${steps}`]);
}, 120_000);

test('three workers replaced one after the other under 30 running sessions: no session shows an error', async () => {
  let workers = await Promise.all([1, 2, 3].map(() => cluster.startWorker({ MANYHANDS_DRAIN_MS: '700' })));
  const sessions = await Promise.all(Array.from({ length: 30 }, watchedSession));
  const bash = (seconds: number) => ({ blocks: [{ tool: 'bash', input: { command: `echo run >> count; sleep ${seconds}` } }] });
  const withCommands = fakeScript([
    ...[1, 1, 1].map(bash),
    { blocks: [{ tool: 'bash', input: { command: 'wc -l < count' } }] },
    { blocks: [{ text: 'count={{last_tool_result}}' }] },
  ]);
  const talking = (n: number) => fakeScript([{ blocks: [{ text: `${n} ${'word '.repeat(60)}` }], delta_ms: 60, delta_chars: 5 }]);
  const commands = 6;
  await Promise.all(
    sessions.map(async ({ sessionId }, i) => {
      if (i < commands) await say(gateway.client, sessionId, withCommands);
      else for (const n of [1, 2, 3]) await say(gateway.client, sessionId, talking(n));
    }),
  );
  await Promise.all(sessions.map(({ sessionId }) => workerOf(sessionId, workers)));
  for (const old of workers) {
    workers = [...workers.filter((worker) => worker !== old), await cluster.startWorker({ MANYHANDS_DRAIN_MS: '700' })];
    expect(await old.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  }
  await Promise.all(sessions.map(({ sessionId }) => untilIdle(gateway.client, sessionId, 90_000)));
  for (const [i, { sessionId, watch }] of sessions.entries()) {
    const events = await expectSeamless(watch, sessionId);
    const told = texts(events, 'agent.message').map((text) => text.replaceAll(/\s+/g, ' ').trim());
    if (i < commands) expect(told).toEqual(['count=3']);
    else expect(told.map((text) => text.split(' ')[0])).toEqual(['1', '2', '3']);
  }
  await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
}, 180_000);
