/** Event streams as viewers see them: over HTTP, with the official SDK or frame by frame. */

import { once } from 'node:events';
import http from 'node:http';
import { connect, type Socket } from 'node:net';
import type Anthropic from '@anthropic-ai/sdk';
import { type AccumulatedEvent, accumulateManagedAgentsEvent } from '@anthropic-ai/sdk/lib/sessions/accumulate';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GatewayFixture, startGateway } from './fixture.ts';

let gateway: GatewayFixture;
let client: Anthropic;
beforeAll(async () => {
  gateway = await startGateway({ pingIntervalMs: 100 });
  client = gateway.client;
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Frame {
  id: string | undefined;
  event: string;
  data: Record<string, unknown>;
}
/** A viewer that shows the frames as they are on the wire. */
async function view(path: string, headers: Record<string, string> = {}) {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(gateway.url + path, { headers: { authorization: `Bearer ${gateway.key}`, ...headers } }, resolve).on('error', reject);
  });
  const frames: Frame[] = [];
  let text = '';
  let ended = false;
  response.setEncoding('utf8');
  response.on('data', (part: string) => {
    text += part;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = new Map(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
      );
      text = text.slice(end + 2);
      frames.push({ id: fields.get('id'), event: fields.get('event') ?? '', data: JSON.parse(fields.get('data') ?? '') as Frame['data'] });
    }
  });
  response.on('end', () => {
    ended = true;
  });
  response.on('error', () => {});
  return {
    response,
    frames,
    events: () => frames.filter(({ event }) => event !== 'ping'),
    types: () => frames.map(({ event }) => event).filter((event) => event !== 'ping'),
    until: (condition: (events: Frame[]) => unknown, what: string) =>
      until(() => condition(frames.filter(({ event }) => event !== 'ping')), { what }),
    ended: () => until(() => ended, { what: 'the stream ends' }),
    /** What came after the last whole frame. */
    rest: () => text,
    [Symbol.dispose]: () => void response.destroy(),
  };
}
const streamPath = (sessionId: string, query = '') => `/v1/sessions/${sessionId}/events/stream${query}`;

describe('a stream', () => {
  test('opens at once, before anything happens, and beats', async () => {
    const session = await gateway.session();
    using viewer = await view(streamPath(session.id));
    expect(viewer.response.statusCode).toBe(200);
    expect(viewer.response.headers['content-type']).toMatch(/^text\/event-stream/);
    expect(viewer.response.headers['request-id']).toMatch(/^req_/);
    await until(() => viewer.frames.length >= 2, { what: 'two heartbeats' });
    expect(viewer.frames[0]).toEqual({ id: undefined, event: 'ping', data: { type: 'ping' } });
  });

  test('tells a message twice, queued and processed, and everything else once, in the order of the list', async () => {
    const session = await gateway.session();
    using viewer = await view(streamPath(session.id));
    await gateway.send(session.id, 'hello');
    await gateway.turn(session.id);
    await viewer.until((events) => events.at(-1)?.event === 'session.status_idle', 'the turn ends');
    expect(viewer.types()).toEqual([
      'user.message',
      'user.message',
      'agent.message',
      'session.thread_status_idle',
      'session.usage',
      'session.status_idle',
    ]);
    const [queued, processed] = viewer.events();
    expect(queued?.data['processed_at']).toBeNull();
    expect(processed?.data).toEqual({ ...queued?.data, processed_at: expect.any(String) });
    for (const { id, event, data } of viewer.events()) expect([id, event]).toEqual([data['id'], data['type']]);
    const { data: listed } = await client.beta.sessions.events.list(session.id);
    expect(
      viewer
        .events()
        .slice(1)
        .map(({ data }) => data),
    ).toEqual(listed);
  });

  test('says idle only when the session already is', async () => {
    const session = await gateway.session();
    const stream = await client.beta.sessions.events.stream(session.id);
    await gateway.send(session.id, 'hello');
    const turn = gateway.turn(session.id);
    for await (const event of stream) {
      if (event.type !== 'session.status_idle') continue;
      expect((await client.beta.sessions.retrieve(session.id)).status).toBe('idle');
      break;
    }
    await turn;
  });

  test('is live only: what happened before it opened is not on it', async () => {
    const session = await gateway.session();
    await gateway.send(session.id, 'before');
    await gateway.turn(session.id);
    using viewer = await view(streamPath(session.id));
    await gateway.send(session.id, 'after');
    await viewer.until((events) => events.length > 0, 'the new message');
    expect(JSON.stringify(viewer.events()[0]?.data)).toContain('after');
  });

  test('opened before the history is listed misses nothing, while messages pour in', async () => {
    const session = await gateway.session();
    let stop = false;
    const sending = (async () => {
      const sent: string[] = [];
      while (!stop) sent.push((await gateway.send(session.id, 'x')).data?.[0]?.id ?? '');
      return sent;
    })();
    await until(async () => (await client.beta.sessions.events.list(session.id)).data.length > 5, { what: 'messages before the stream' });
    using viewer = await view(streamPath(session.id));
    const listed = (await client.beta.sessions.events.list(session.id)).data.map(({ id }) => id);
    await viewer.until((events) => events.length > 5, 'messages on the stream');
    stop = true;
    const sent = await sending;
    await viewer.until((events) => events.some(({ id }) => id === sent.at(-1)), 'the last message');
    const streamed = viewer.events().map(({ id }) => id ?? '');
    expect(new Set(streamed).size).toBe(streamed.length);
    expect([...new Set([...listed, ...streamed])]).toEqual(sent);
  });

  test('of a thread is the one of the session', async () => {
    const session = await gateway.session();
    const thread = `sthr_${session.id.slice('sesn_'.length)}`;
    const stream = await client.beta.sessions.threads.events.stream(thread, { session_id: session.id });
    await gateway.send(session.id, 'hello');
    for await (const event of stream) {
      expect(event.type).toBe('user.message');
      break;
    }
    using wrong = await view(`/v1/sessions/${session.id}/threads/sthr_other/stream`);
    expect(wrong.response.statusCode).toBe(404);
  });

  test('ends after session.deleted', async () => {
    const session = await gateway.session();
    using viewer = await view(streamPath(session.id));
    await client.beta.sessions.delete(session.id);
    await viewer.ended();
    expect(viewer.types()).toEqual(['session.deleted']);
  });

  test('of an unknown session is a 404 in JSON; of an archived one it opens', async () => {
    using unknown = await view(streamPath('sesn_unknown'));
    expect([unknown.response.statusCode, unknown.response.headers['content-type']]).toEqual([404, 'application/json; charset=utf-8']);
    const session = await gateway.session();
    await client.beta.sessions.archive(session.id);
    using archived = await view(streamPath(session.id));
    expect(archived.response.statusCode).toBe(200);
  });

  test('costs no Redis connection per viewer', async () => {
    const session = await gateway.session();
    const connections = async () => Number(/connected_clients:(\d+)/.exec(await gateway.testRedis.info('clients'))?.[1]);
    using first = await view(streamPath(session.id, '?event_deltas[]=agent.message'));
    const before = await connections();
    const viewers = await Promise.all(Array.from({ length: 40 }, () => view(streamPath(session.id, '?event_deltas[]=agent.message'))));
    try {
      await gateway.send(session.id, 'to all');
      for (const viewer of [first, ...viewers]) await viewer.until((events) => events.length === 1, 'the message at every viewer');
      expect(await connections()).toBe(before);
    } finally {
      for (const viewer of viewers) viewer.response.destroy();
    }
  });
});

describe('resuming', () => {
  test('behind any event, by header or query, gives exactly the rest and then goes on live', async () => {
    const session = await gateway.session();
    for (let i = 0; i < 3; i++) {
      await gateway.send(session.id, `m${i}`);
      await gateway.turn(session.id);
    }
    const first = (await client.beta.sessions.events.list(session.id)).data[0]?.id ?? '';
    using full = await view(streamPath(session.id, `?after=${first}`));
    await full.until((events) => events.length === 17, 'the whole rest');
    // In front stands the queued form of the first message, which is what the full view was resumed behind.
    const told = ['', ...full.events().map(({ data }) => JSON.stringify(data))];
    const ids = [first, ...full.events().map(({ id }) => id ?? '')];
    for (const [place, id] of ids.entries()) {
      // Resuming starts behind the first time an id was told.
      const expected = told.slice(ids.indexOf(id) + 1);
      for (const [path, headers] of [
        [streamPath(session.id), { 'last-event-id': id }],
        [streamPath(session.id, `?after=${id}`), {}],
        [streamPath(session.id, `?after=${ids[0]}`), { 'last-event-id': id }],
      ] as const) {
        using viewer = await view(path, headers);
        await viewer.until((events) => events.length >= expected.length, `the rest behind event ${place}`);
        expect(viewer.events().map(({ data }) => JSON.stringify(data))).toEqual(expected);
      }
    }
    await gateway.send(session.id, 'live');
    await full.until((events) => events.length === 18, 'the live message');
  });

  test('a viewer that is cut off again and again and resumes sees every event once and in order', async () => {
    const session = await gateway.session();
    const seen: string[] = [];
    let last: string | undefined;
    const rounds = 8;
    for (let round = 0; round < rounds; round++) {
      const viewer = await view(streamPath(session.id), last === undefined ? {} : { 'last-event-id': last });
      const sending = gateway.send(session.id, `m${round}`);
      await viewer.until((events) => events.length > 0, 'an event');
      viewer.response.destroy();
      await sending;
      for (const { id, data } of viewer.events()) {
        if (data['processed_at'] === null) seen.push(id ?? '');
        last = id;
      }
    }
    using rest = await view(streamPath(session.id), { 'last-event-id': last ?? '' });
    const { data } = await client.beta.sessions.events.list(session.id);
    expect(data).toHaveLength(rounds);
    await rest.until((events) => seen.length + events.length === rounds, 'the rest');
    expect([...seen, ...rest.events().map(({ id }) => id)]).toEqual(data.map(({ id }) => id));
  });
});

describe('previews', () => {
  const frame = (epoch: number, after: number, n: number, id: string, start: boolean, text: string) => ({
    epoch,
    after_position: after,
    n,
    event_id: id,
    kind: 'agent.message' as const,
    start,
    index: 0,
    text,
  });

  test('come between the entries they belong to, and the SDK accumulates them into the final message', async () => {
    const session = await gateway.session();
    const stream = await client.beta.sessions.events.stream(session.id, { event_deltas: ['agent.message'] });
    using plain = await view(streamPath(session.id));
    const lease = await gateway.acquire(session.id);
    const collected: string[] = [];
    const reading = (async () => {
      let message: AccumulatedEvent | undefined;
      const snapshots: string[] = [];
      for await (const event of stream) {
        collected.push(event.type);
        if (event.type === 'span.model_request_end') break;
        if (event.type === 'span.model_request_start') continue;
        message = accumulateManagedAgentsEvent(message, event);
        snapshots.push(
          message?.type === 'agent.message' ? message.content.map((block) => ('text' in block ? block.text : '')).join('') : '',
        );
      }
      return snapshots;
    })();
    const start = gateway.event({ type: 'span.model_request_start' });
    const { head } = await gateway.append(lease, [start]);
    const final = gateway.event({ type: 'agent.message', content: [{ type: 'text', text: 'Hello, world' }] }, head);
    const { id } = final.event;
    await gateway.preview(session.id, [frame(lease.epoch, head, 1, id, true, '')]);
    await gateway.preview(session.id, [frame(lease.epoch, head, 2, id, false, 'Hello'), frame(lease.epoch, head, 3, id, false, ', wor')]);
    await until(() => collected.filter((type) => type === 'event_delta').length === 2, { what: 'both deltas' });
    const usage = { input_tokens: 1, output_tokens: 1, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
    await gateway.append(lease, [
      final,
      gateway.event({ type: 'span.model_request_end', model_request_start_id: start.event.id, is_error: false, model_usage: usage }),
    ]);
    expect(await reading).toEqual(['', 'Hello', 'Hello, wor', 'Hello, world']);
    expect(collected).toEqual([
      'span.model_request_start',
      'event_start',
      'event_delta',
      'event_delta',
      'agent.message',
      'span.model_request_end',
    ]);
    await plain.until((events) => events.length === 3, 'the entries');
    expect(plain.types()).toEqual(['span.model_request_start', 'agent.message', 'span.model_request_end']);
  });

  test('that come too early wait for the entry before them', async () => {
    const session = await gateway.session();
    using viewer = await view(streamPath(session.id, '?event_deltas[]=agent.message'));
    await until(async () => (await gateway.testRedis.pubsub('SHARDCHANNELS', '*')).length > 0, { what: 'the preview subscription' });
    const lease = await gateway.acquire(session.id);
    const next = lease.head + 1;
    const { event } = gateway.event({ type: 'agent.message', content: [] }, next);
    await gateway.preview(session.id, [
      frame(lease.epoch, next, 1, event.id, true, ''),
      frame(lease.epoch, next, 2, event.id, false, 'early'),
    ]);
    await gateway.append(lease, [gateway.event({ type: 'span.model_request_start' })]);
    await viewer.until((events) => events.length === 3, 'entry and previews');
    expect(viewer.types()).toEqual(['span.model_request_start', 'event_start', 'event_delta']);
    expect(viewer.events()[2]?.data).toEqual({
      type: 'event_delta',
      event_id: event.id,
      delta: { type: 'content_delta', index: 0, content: { type: 'text', text: 'early' } },
    });
  });
});

describe('a viewer that does not read', () => {
  test('holds nobody up, costs no memory, and gets everything in order once it reads again', async () => {
    const session = await gateway.session();
    const sockets = new Set<Socket>();
    gateway.app.server.on('connection', (socket: Socket) => sockets.add(socket));
    const slow = await view(streamPath(session.id, '?event_deltas[]=agent.message'));
    using fast = await view(streamPath(session.id));
    slow.response.pause();
    const lease = await gateway.acquire(session.id);
    const text = 'x'.repeat(30_000);
    const rounds = 600;
    for (let round = 0; round < rounds; round++) {
      const event = gateway.event({ type: 'agent.message', content: [{ type: 'text', text: `${round} ${text}` }] });
      await gateway.append(lease, [event]);
    }
    await fast.until((events) => events.length === rounds, 'everything at the fast viewer');
    expect(slow.frames.length).toBeLessThan(rounds);
    // The system's own buffers hold a few megabytes. Of the rest the gateway may hold one batch; all of it would be eighteen.
    const socket = [...sockets].find(({ remotePort }) => remotePort === slow.response.socket.localPort);
    expect(socket?.writableLength).toBeGreaterThan(0);
    expect(socket?.writableLength).toBeLessThan((rounds * text.length) / 2);
    slow.response.resume();
    await slow.until((events) => events.length === rounds, 'everything at the slow viewer');
    const order = slow.events().map(({ data }) => (data['content'] as { text: string }[])[0]?.text.split(' ')[0]);
    expect(order).toEqual(Array.from({ length: rounds }, (_, round) => String(round)));
    slow.response.destroy();
  });
});

describe('shutting down', () => {
  test('ends streams at a frame boundary, lets requests finish and takes no new ones', async () => {
    const other = await startGateway();
    const session = await other.session();
    const path = `${other.url}/v1/sessions/${session.id}/events/stream`;
    const response = await fetch(path, { headers: { authorization: `Bearer ${other.key}` } });
    await other.send(session.id, 'hello');
    const sending = Promise.all(Array.from({ length: 20 }, (_, i) => other.send(session.id, `last ${i}`).then(() => true)));
    const reading = response.text();
    // Browsers and clients open connections in advance.
    const unused = connect(Number(new URL(other.url).port), '127.0.0.1');
    await once(unused, 'connect');
    await sending;
    const started = performance.now();
    await other[Symbol.asyncDispose]();
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(await reading).toMatch(/\n\n$/);
    unused.destroy();
    await expect(fetch(`${other.url}/healthz`)).rejects.toThrow();
  });
});
