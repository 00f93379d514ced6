import { once } from 'node:events';
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from 'node:net';
import { startTestNats, type TestServer, until } from '@manyhands/test-kit';
import { connect, headers, type NatsConnection } from 'nats';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { connectMessaging, createLogger, currentTrace, type Logger, type Messaging, newTraceparent, withTrace } from '../src/index.ts';

const TIMEOUT_MS = 20_000;
const silent = createLogger('test', 'silent');
const Anything = z.unknown();

let nats: TestServer;
beforeAll(async () => {
  nats = await startTestNats();
});
afterAll(() => nats[Symbol.asyncDispose]());

async function connected(url = nats.url, log: Logger = silent) {
  const messaging = await connectMessaging(url, log, 'test');
  return Object.assign(messaging, { [Symbol.asyncDispose]: () => messaging.close() });
}
/** The client itself, for messages that our code would not write. */
async function rawClient() {
  const connection: NatsConnection = await connect({ servers: `127.0.0.1:${nats.port}` });
  return Object.assign(connection, { [Symbol.asyncDispose]: () => connection.close() });
}
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
let subjects = 0;
const newSubject = () => `test.${++subjects}`;
const ask = (client: Messaging, subject: string, body: unknown = {}) => client.request(subject, body, Anything, TIMEOUT_MS);

/** Between a client and the server; what the server sends can be held back. */
async function startProxy() {
  const held: Buffer[] = [];
  let holding: ((bytes: Buffer) => void) | null = null;
  let sent = '';
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const upstream = connectSocket(nats.port, '127.0.0.1');
    sockets.push(client, upstream);
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('data', (bytes: Buffer) => {
      sent += bytes.toString('latin1');
      upstream.write(bytes);
    });
    upstream.on('data', (bytes: Buffer) => (holding ?? ((given) => client.write(given)))(bytes));
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => sent,
    held: () => Buffer.concat(held).toString('latin1'),
    hold() {
      holding = (bytes) => void held.push(bytes);
    },
    letGo() {
      holding = null;
      for (const bytes of held.splice(0)) sockets[0]?.write(bytes);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

describe('a server that stops', () => {
  test('answers everything that was delivered before: handled, buffered, or still on its way', async () => {
    await using proxy = await startProxy();
    await using server = await connected(proxy.url);
    await using client = await connected();
    const subject = newSubject();
    const go = gate();
    let begun = 0;
    const handle = async (body: unknown) => {
      begun++;
      await go.opened;
      return body;
    };
    const serving = server.serve(subject, handle, { concurrency: 4 });
    await server.ping();
    const answers = Array.from({ length: 40 }, (_, i) => ask(client, subject, i));
    await until(() => begun >= 4, { what: 'as many are handled as may be, the rest is buffered' });
    await server.ping();
    proxy.hold();
    answers.push(...Array.from({ length: 40 }, (_, i) => ask(client, subject, 40 + i)));
    await until(() => proxy.held().split(`MSG ${subject} `).length === 41, { what: 'the server has delivered the rest' });
    let stopped = false;
    const stopping = serving.stop().then(() => {
      stopped = true;
    });
    await until(() => /UNSUB .*\r\n(.*\r\n)*PING/.test(proxy.sent()), { what: 'the subscription is given up' });
    // From here on the server delivers nothing more.
    await expect(ask(client, subject)).rejects.toMatchObject({ code: 'unavailable' });
    proxy.letGo();
    await server.ping();
    expect(stopped).toBe(false);
    go.open();
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 80 }, (_, i) => i));
    await stopping;
    expect(begun).toBe(80);
    await serving.stop();
  });

  test('leaves what is asked from then on to the others of its queue group, and no request unanswered', async () => {
    await using leaving = await connected();
    await using staying = await connected();
    await using client = await connected();
    const subject = newSubject();
    const options = { queue: 'group' };
    const serving = leaving.serve(subject, async () => 'leaving', options);
    staying.serve(subject, async () => 'staying', options);
    await Promise.all([leaving.ping(), staying.ping()]);
    let asking = true;
    const answers: Promise<unknown>[] = [];
    const asks = (async () => {
      while (asking) {
        answers.push(ask(client, subject));
        await client.ping();
      }
    })();
    const count = async (who: string) => (await Promise.all(answers)).filter((answer) => answer === who).length;
    await until(async () => (await count('leaving')) > 20, { what: 'the one that leaves has work' });
    await serving.stop();
    const before = answers.length;
    await until(() => answers.length > before + 20, { what: 'it is asked on' });
    asking = false;
    await asks;
    const all = await Promise.all(answers);
    expect(new Set(all)).toEqual(new Set(['leaving', 'staying']));
    expect(new Set(all.slice(before))).toEqual(new Set(['staying']));
  });

  test('has handed its last answers to the server, so that the connection may be closed at once', async () => {
    await using client = await connected();
    const server = await connected();
    const subject = newSubject();
    const serving = server.serve(subject, async () => 'x'.repeat(200_000));
    await server.ping();
    const answers = Array.from({ length: 20 }, () => ask(client, subject));
    await client.ping();
    await serving.stop();
    await server.close();
    expect(await Promise.all(answers)).toHaveLength(20);
  });

  test('ends in bounded time although the server answers nothing any more, and when its connection is closed', async () => {
    await using frozen = await startTestNats();
    const server = await connected(frozen.url);
    const one = server.serve('one', async () => 1);
    const two = server.serve('two', async () => 2);
    await server.ping();
    frozen.pause();
    await one.stop();
    frozen.resume();
    await server.close();
    await two.stop();
  });
});

describe('a server under load', () => {
  test('handles no more at once than it may, and everything in the end', async () => {
    await using server = await connected();
    await using client = await connected();
    const subject = newSubject();
    let [now, most] = [0, 0];
    server.serve(
      subject,
      async (body) => {
        most = Math.max(most, ++now);
        await client.ping();
        now--;
        if (body === 13) throw new Error('a failure makes room too');
        return body;
      },
      { concurrency: 3 },
    );
    await server.ping();
    const answers = Array.from({ length: 30 }, (_, i) => client.request(subject, i, Anything, i === 13 ? 500 : TIMEOUT_MS));
    const outcomes = await Promise.allSettled(answers);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(29);
    expect(outcomes[13]).toMatchObject({ reason: { code: 'timeout' } });
    expect(most).toBe(3);
  });

  test('handles 256 at once unless it is told otherwise', async () => {
    await using server = await connected();
    await using client = await connected();
    const subject = newSubject();
    const go = gate();
    let begun = 0;
    const serving = server.serve(subject, async () => {
      begun++;
      await go.opened;
    });
    await server.ping();
    for (let i = 0; i < 300; i++) client.publish(subject, i);
    await until(() => begun === 256, { what: 'as many as may be are handled' });
    await Promise.all([client.ping(), server.ping()]);
    expect(begun).toBe(256);
    go.open();
    await serving.stop();
    expect(begun).toBe(300);
  });
});

describe('the format of messages', () => {
  test('is named by requests, replies and what is published', async () => {
    await using raw = await rawClient();
    await using messaging = await connected();
    const subject = newSubject();
    const seen: (string | undefined)[] = [];
    raw.subscribe(subject, {
      callback: (_error, message) => {
        seen.push(message.headers?.get('Manyhands-Format'));
        message.respond(Buffer.from('{}'));
      },
    });
    messaging.serve(`${subject}.served`, async () => ({}));
    await Promise.all([raw.flush(), messaging.ping()]);
    messaging.publish(subject, {});
    await ask(messaging, subject);
    const reply = await raw.request(`${subject}.served`, Buffer.from('{}'), { timeout: TIMEOUT_MS });
    expect([...seen, reply.headers?.get('Manyhands-Format')]).toEqual(['1', '1', '1']);
  });

  test('of 0.1.0, which named none, is taken, in requests and in replies', async () => {
    await using raw = await rawClient();
    await using messaging = await connected();
    const subject = newSubject();
    messaging.serve(`${subject}.served`, async (body) => ({ got: body }));
    raw.subscribe(subject, { callback: (_error, message) => void message.respond(Buffer.from('"plain"')) });
    await Promise.all([raw.flush(), messaging.ping()]);
    const reply = await raw.request(`${subject}.served`, Buffer.from('"plain"'), { timeout: TIMEOUT_MS });
    expect(reply.json()).toEqual({ got: 'plain' });
    expect(await ask(messaging, subject)).toBe('plain');
  });

  test.each(['2', '12345', 'next', '', '1.5', '0'])(
    '%j in a request is refused, unhandled, and logged once for its subject',
    async (format) => {
      const lines: { level: number; subject?: string; format?: unknown }[] = [];
      const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
      await using raw = await rawClient();
      await using messaging = await connected(nats.url, log);
      const subject = newSubject();
      for (const end of ['one', 'two']) messaging.serve(`${subject}.${end}.*`, () => expect.unreachable());
      await messaging.ping();
      const newer = headers();
      newer.set('Manyhands-Format', format);
      for (const end of ['one.a', 'one.b', 'two.a', 'two.a']) {
        const reply = await raw.request(`${subject}.${end}`, Buffer.from('not even JSON'), { timeout: TIMEOUT_MS, headers: newer });
        expect(Object.fromEntries(reply.headers ?? [])).toEqual({ 'Manyhands-Format': ['1'], 'Manyhands-Error': ['newer_format'] });
      }
      raw.publish(`${subject}.one.c`, undefined, { headers: newer });
      await raw.flush();
      await messaging.ping();
      expect(lines.map((line) => [line.level, line.subject])).toEqual([
        [50, `${subject}.one.*`],
        [50, `${subject}.two.*`],
      ]);
    },
  );

  test('that the server refused rejects the request by its code, and says that the server is to be upgraded', async () => {
    await using raw = await rawClient();
    await using messaging = await connected();
    const subject = newSubject();
    const refusal = headers();
    refusal.set('Manyhands-Format', '1');
    refusal.set('Manyhands-Error', 'newer_format');
    raw.subscribe(subject, { callback: (_error, message) => void message.respond(undefined, { headers: refusal }) });
    await raw.flush();
    await expect(ask(messaging, subject)).rejects.toMatchObject({
      code: 'newer_format',
      retryable: false,
      message: `whoever serves ${subject} knows messages of format 1 and refused one of 1: upgrade that process to the version of this one`,
    });
  });

  test('of a reply that is newer rejects the request by its code, and says that the asking process is to be upgraded', async () => {
    await using raw = await rawClient();
    await using messaging = await connected();
    const subject = newSubject();
    const newer = headers();
    newer.set('Manyhands-Format', '3');
    raw.subscribe(subject, { callback: (_error, message) => void message.respond(Buffer.from('{}'), { headers: newer }) });
    await raw.flush();
    await expect(ask(messaging, subject)).rejects.toMatchObject({
      code: 'newer_format',
      message: `the answer on ${subject} has format 3, this program knows 1: upgrade this process to the version of the one that answered`,
    });
  });

  test('leaves room for a body of the size that is told', async () => {
    await using server = await connected();
    await using client = await connected();
    const subject = newSubject();
    server.serve(subject, async (body) => body);
    await server.ping();
    const body = 'x'.repeat(client.maxPayloadBytes - 2);
    expect(await withTrace(newTraceparent(), () => ask(client, subject, body))).toBe(body);
  });
});

describe('the trace of a message', () => {
  test('is that of whoever sent it, in the handler and in what that asks of others', async () => {
    await using server = await connected();
    await using client = await connected();
    const [outer, inner] = [newSubject(), newSubject()];
    server.serve(inner, async () => currentTrace());
    // What the process did when it began to serve is of no concern.
    withTrace(newTraceparent(), () => server.serve(outer, async () => [currentTrace(), await ask(server, inner)]));
    await server.ping();
    const traces = [newTraceparent(), newTraceparent()];
    const answers = await Promise.all(traces.map((trace) => withTrace(trace, () => ask(client, outer))));
    expect(answers).toEqual(traces.map((trace) => [trace, trace]));
    expect(await ask(client, outer)).toEqual([null, null]);
  });

  test('goes along with what is published and with the reply, and one that cannot be read is none', async () => {
    await using raw = await rawClient();
    await using messaging = await connected();
    const subject = newSubject();
    const seen: (string | undefined)[] = [];
    raw.subscribe(subject, { callback: (_error, message) => void seen.push(message.headers?.get('traceparent')) });
    messaging.serve(`${subject}.served`, async () => currentTrace());
    await Promise.all([raw.flush(), messaging.ping()]);
    const trace = newTraceparent();
    withTrace(trace, () => messaging.publish(subject, {}));
    messaging.publish(subject, {});
    await until(() => seen.length === 2, { what: 'both have arrived' });
    expect(seen).toEqual([trace, '']);
    const given = headers();
    for (const [text, expected] of [
      [trace, trace],
      ['nonsense', null],
    ] as const) {
      given.set('traceparent', text);
      const reply = await raw.request(`${subject}.served`, Buffer.from('{}'), { timeout: TIMEOUT_MS, headers: given });
      expect([reply.json(), reply.headers?.get('traceparent')]).toEqual([expected, expected ?? '']);
    }
  });
});
