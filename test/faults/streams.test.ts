/** The end of a gateway by SIGTERM: streams end whole, requests under way are answered, and nobody who comes back misses anything (I2, I10). */
import { once } from 'node:events';
import net from 'node:net';
import { fakeScript } from '@manyhands/model/testing';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { history, problems, say, startSession, untilIdle } from '../e2e/conversation.ts';
import { API_KEY, type Cluster, type Gateway, startCluster } from './cluster.ts';
import { watchStream } from './watch.ts';

let cluster: Cluster;
let stays: Gateway;
beforeAll(async () => {
  cluster = await startCluster();
  [stays] = await Promise.all([cluster.startGateway(), cluster.startWorker()]);
}, 120_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 120_000);

/** A connection of which every byte is seen. */
async function connect(gateway: Gateway) {
  const { hostname, port } = new URL(gateway.url);
  const socket = net.connect(Number(port), hostname);
  let received = '';
  const end = new Promise<'ended' | 'broken'>((resolve) => {
    socket.once('error', () => resolve('broken'));
    socket.once('end', () => resolve('ended'));
    socket.once('close', () => resolve('ended'));
  });
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text;
  });
  await once(socket, 'connect');
  return {
    end,
    received: () => received,
    send: (text: string) => socket.write(text),
    close: () => socket.destroy(),
  };
}
const head = (line: string, more: string[] = []) =>
  `${[line, 'host: gateway', `authorization: Bearer ${API_KEY}`, ...more].join('\r\n')}\r\n\r\n`;
const talk = (words: number) => fakeScript([{ blocks: [{ text: 'word '.repeat(words) }], delta_ms: 20, delta_chars: 5 }]);

test('a stream ends at the end of a frame and of its response, and the client that reads on elsewhere has missed nothing', async () => {
  const goes = await cluster.startGateway();
  const sessionId = await startSession(stays.client);
  const before = await watchStream(goes.url, API_KEY, sessionId);
  const raw = await connect(goes);
  raw.send(head(`GET /v1/sessions/${sessionId}/events/stream?event_deltas[]=agent.message HTTP/1.1`));
  await until(() => raw.received().includes('\r\n\r\n'), { what: 'the headers of the stream' });
  await say(stays.client, sessionId, talk(150));
  await until(() => before.frames.some(({ event }) => event === 'event_delta'), { what: 'the answer to stream' });
  const ended = goes.service.kill('SIGTERM');
  expect(await before.ended).toBe('whole');
  expect(await raw.end).toBe('ended');
  // The last chunk, and before it the end of a frame.
  expect(raw.received().endsWith('\n\n\r\n0\r\n\r\n')).toBe(true);

  // What an ordinary client does: open a stream, list, and drop what it has seen.
  const after = await watchStream(stays.url, API_KEY, sessionId);
  const listed = await history(stays.client, sessionId);
  await until(() => after.frames.some(({ event }) => event === 'session.status_idle'), { what: 'the end of the turn', timeoutMs: 40_000 });
  expect(await ended).toEqual({ code: 0, signal: null });
  const events = await untilIdle(stays.client, sessionId, 40_000);
  expect(problems(events)).toEqual([]);
  const seen = new Set([...listed.map(({ id }) => id), ...after.frames.map(({ data }) => data.id)]);
  expect(events.filter(({ id }) => !seen.has(id))).toEqual([]);
  expect([...before.troubles(), ...after.troubles()]).toEqual([]);
  after.close();

  // And one that resumes behind the last event it saw gets the rest, once.
  const last = before.frames.findLast(({ data }) => data.id !== undefined && data['processed_at'] !== null);
  const resumed = await watchStream(stays.url, API_KEY, sessionId, last!.data.id);
  await until(() => resumed.frames.some(({ event }) => event === 'session.status_idle'), {
    what: 'the rest of the turn',
    timeoutMs: 30_000,
  });
  const known = before.frames.flatMap(({ data }) => (data.id !== undefined && data['processed_at'] !== null ? [data.id] : []));
  expect([...known, ...resumed.frames.flatMap(({ data }) => data.id ?? [])]).toEqual(events.map(({ id }) => id));
  resumed.close();
}, 120_000);

test('a request under way is answered and told to use another connection; idle connections end; the other gateway serves on', async () => {
  const goes = await cluster.startGateway();
  const sessionId = await startSession(stays.client);
  const idle = await connect(goes);
  idle.send(head('GET /v1/models HTTP/1.1'));
  await until(() => idle.received().includes('"data"'), { what: 'an answer on a connection that stays open', timeoutMs: 30_000 });
  const body = JSON.stringify({ events: [{ type: 'user.message', content: [{ type: 'text', text: talk(3) }] }] });
  const slow = await connect(goes);
  const headers = ['content-type: application/json', `content-length: ${body.length}`, 'expect: 100-continue'];
  slow.send(head(`POST /v1/sessions/${sessionId}/events HTTP/1.1`, headers));
  await until(() => slow.received().includes(' 100 '), { what: 'the half request to have arrived', timeoutMs: 30_000 });
  slow.send(body.slice(0, 20));

  const ended = goes.service.kill('SIGTERM');
  expect(await idle.end).toBe('ended');
  const refused = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  await until(() => connect(goes).then(() => false, refused), { what: 'new connections to be refused', timeoutMs: 30_000 });
  expect((await stays.client.beta.sessions.retrieve(sessionId)).id).toBe(sessionId);
  slow.send(body.slice(20));
  expect(await slow.end).toBe('ended');
  expect(slow.received()).toMatch(/\r\nHTTP\/1\.1 200 /);
  expect(slow.received().toLowerCase()).toContain('\r\nconnection: close\r\n');
  expect(await ended).toEqual({ code: 0, signal: null });
  const events = await untilIdle(stays.client, sessionId, 40_000);
  expect(events.filter(({ type }) => type === 'user.message')).toHaveLength(1);
}, 120_000);

test('clients of the SDK that come back when their stream ends see every event of a long turn, whichever gateway goes', async () => {
  const first = await cluster.startGateway();
  const second = await cluster.startGateway();
  const sessionId = await startSession(stays.client);
  const seen = new Map<string, string>();
  const over = new AbortController();
  /** The recipe of the documentation: open, list, drop what was seen; again when the stream ends. */
  const reader = (async () => {
    let at = 0;
    const gateways = [first, second, stays];
    while (!over.signal.aborted) {
      const { client } = gateways[at]!;
      try {
        const stream = await client.beta.sessions.events.stream(sessionId, {}, { signal: over.signal, maxRetries: 0 });
        for (const event of await history(client, sessionId)) if (event.processed_at) seen.set(event.id, event.type);
        for await (const event of stream) if ('processed_at' in event && event.processed_at) seen.set(event.id, event.type);
      } catch {
        // The gateway is gone: the next one.
      }
      at = Math.min(at + 1, gateways.length - 1);
    }
  })();
  await say(stays.client, sessionId, fakeScript([{ blocks: [{ text: 'word '.repeat(200) }], delta_ms: 20, delta_chars: 5 }]));
  for (const goes of [first, second]) {
    const before = seen.size;
    await until(() => seen.size >= Math.max(2, before), { what: 'the reader to have read', timeoutMs: 30_000 });
    expect(await goes.service.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  }
  const events = await untilIdle(stays.client, sessionId, 30_000);
  await until(() => events.every(({ id }) => seen.has(id)), { what: 'the reader to have seen all', timeoutMs: 30_000 });
  over.abort();
  await reader;
  expect([...seen.keys()].sort()).toEqual(events.map(({ id }) => id).sort());
}, 120_000);
