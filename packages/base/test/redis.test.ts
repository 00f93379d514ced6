/** What a client promises, with one server, with a master behind sentinels, and with a cluster. */
import { createServer } from 'node:net';
import { silentLogger, startTestRedis, startTestSentinel, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  checkRedisVersion,
  createLogger,
  createRedis,
  isCluster,
  type Logger,
  pingRedis,
  type Redis,
  type RedisPatience,
} from '../src/index.ts';
import { KINDS, startPlace, type TestPlace } from './redis-servers.ts';

/** Of a cluster each is on another master. */
const KEYS = ['{a}:key', '{b}:key', '{c}:key'];
const [KEY = ''] = KEYS;
const PASSWORD = 'very-secret';
const FAILOVER_MS = 60_000;
/** A command timeout, or the attempts to connect, and some time for a loaded machine. */
const FINITE_MS = 6_000;

function clientOf(url: string, patience: RedisPatience, log: Logger = silentLogger) {
  const redis = createRedis(url, patience, log, 'test');
  return Object.assign(redis, { [Symbol.dispose]: () => redis.disconnect() });
}

/** A logger and the lines that it wrote. */
function recordingLog() {
  const log = createLogger('test', 'info');
  const lines: string[] = [];
  const streams = log as unknown as Record<symbol, unknown>;
  for (const symbol of Object.getOwnPropertySymbols(log))
    if (symbol.description === 'pino.stream') streams[symbol] = { write: (line: string) => void lines.push(line) };
  return { log, lines, messages: () => lines.map((line) => (JSON.parse(line) as { msg: string }).msg) };
}

describe.each(KINDS)('on %s', (kind) => {
  let place: TestPlace;
  beforeAll(async () => {
    place = await startPlace(kind, PASSWORD);
  });
  afterAll(() => place?.[Symbol.asyncDispose]());

  async function allServersAway(run: () => Promise<void>): Promise<void> {
    await Promise.all(place.servers.map((server) => server.stop()));
    try {
      await run();
    } finally {
      await Promise.all(place.servers.map((server) => server.restart()));
    }
  }

  test.each(['finite', 'patient'] as const)('a %s client runs commands, scripts and defined commands on every key', async (patience) => {
    using redis = clientOf(place.url, patience);
    redis.defineCommand('mhTestAppend', { numberOfKeys: 1, lua: "return redis.call('APPEND', KEYS[1], ARGV[1])" });
    const { mhTestAppend } = redis as unknown as { mhTestAppend(key: string, text: string): Promise<number> };
    for (const key of KEYS) {
      await redis.set(key, 'x');
      expect(await mhTestAppend.call(redis, key, 'y')).toBe(2);
      expect(await redis.eval("return redis.call('GET', KEYS[1])", 1, key)).toBe('xy');
      expect(await redis.multi().append(key, 'z').strlen(key).exec()).toEqual([
        [null, 3],
        [null, 3],
      ]);
    }
    expect(redis.status).toBe('ready');
    expect(isCluster(redis)).toBe(kind === 'cluster');
  });

  test('the server answers a ping and is recent enough', async () => {
    using redis = clientOf(place.url, 'finite');
    await checkRedisVersion(redis);
    await pingRedis(redis);
  });

  test('a patient client loses no command while its master dies and another takes over', { timeout: FAILOVER_MS }, async () => {
    using redis = clientOf(place.url, 'patient');
    const counted = new Map(KEYS.map((key) => [`${key}:count`, 0]));
    let over = false;
    const writing = [...counted.keys()].map(async (key) => {
      for (let n = 1; !over; n++) {
        await redis.set(key, String(n));
        counted.set(key, n);
      }
    });
    await until(() => [...counted.values()].every((n) => n > 20), { what: 'each key was written' });
    await place.failover(KEY, (master) => master.kill());
    const before = new Map(counted);
    await until(() => [...counted].every(([key, n]) => n > (before.get(key) ?? 0) + 20), { what: 'each key is written again' });
    over = true;
    await Promise.all(writing);
    for (const [key, n] of counted) expect(await redis.get(key)).toBe(String(n));
  });

  test.skipIf(kind === 'one server').each(['finite', 'patient'] as const)(
    'a %s client leaves a master that fell silent, once another took over',
    { timeout: FAILOVER_MS },
    async (patience) => {
      using redis = clientOf(place.url, patience);
      await redis.set(KEY, 'before');
      let sent: Promise<unknown> = Promise.resolve();
      await place.failover(
        KEY,
        (master) => {
          master.pause();
          sent = redis.set(`${KEY}:during`, 'x').catch((error: unknown) => error);
        },
        async () => {
          await until(() => redis.set(KEY, 'after'), { what: 'the new master takes writes', timeoutMs: 30_000 });
          if (patience === 'patient') expect(await sent).toBe('OK');
        },
      );
      expect(await redis.get(KEY)).toBe('after');
    },
  );

  test('a finite client gives up within seconds while nothing answers, and what it gave up is not done later', {
    timeout: FAILOVER_MS,
  }, async () => {
    using redis = clientOf(place.url, 'finite');
    const key = `${KEY}:given-up`;
    expect(await redis.get(key)).toBe(null);
    await allServersAway(async () => {
      const begin = performance.now();
      await expect(redis.set(key, 'late')).rejects.toThrow();
      expect(performance.now() - begin).toBeLessThan(FINITE_MS);
      await expect(pingRedis(redis)).rejects.toThrow();
      using begun = clientOf(place.url, 'finite');
      await expect(begun.set(key, 'late')).rejects.toThrow();
    });
    await until(() => redis.set(KEY, 'again'), { what: 'it takes writes again', timeoutMs: 30_000 });
    await until(() => pingRedis(redis).then(() => true), { what: 'it answers a ping' });
    expect(await redis.get(key)).toBe(null);
  });

  test('a patient client that begins before its server does what it was asked', { timeout: FAILOVER_MS }, async () => {
    let redis: (Redis & Disposable) | null = null;
    let asked: Promise<unknown> = Promise.resolve();
    await allServersAway(async () => {
      redis = clientOf(place.url, 'patient');
      asked = redis.set(KEY, 'patience');
    });
    using client = redis as unknown as Redis & Disposable;
    await asked;
    expect(await client.get(KEY)).toBe('patience');
  });

  test('each loss is told once, then the return, and no password', { timeout: FAILOVER_MS }, async () => {
    const { log, messages, lines } = recordingLog();
    using redis = clientOf(place.url, 'patient', log);
    await redis.set(KEY, 'x');
    await allServersAway(async () => {
      void redis.set(KEY, 'y').catch(() => {});
      await until(() => messages().length > 0, { what: 'the loss is told' });
    });
    await until(async () => (await redis.get(KEY)) === 'y', { what: 'the server is back', timeoutMs: 30_000 });
    await until(() => messages().includes('redis connection is back') || messages().includes('redis node is back'), {
      what: 'the return is told',
    });
    // A fail-over on the way is another loss.
    const turns = messages().filter((message) => message.startsWith('redis connection'));
    for (const [i, message] of turns.entries()) expect(message).toBe(i % 2 === 0 ? 'redis connection lost' : 'redis connection is back');
    expect(messages().length).toBeLessThan(4 * place.servers.length);
    expect(lines.join()).not.toContain(PASSWORD);
  });

  test('a wrong password is told in the log without the password', async () => {
    const { log, lines } = recordingLog();
    using redis = clientOf(place.url.replaceAll(PASSWORD, 'another-secret'), 'finite', log);
    await expect(redis.get(KEY)).rejects.toThrow();
    await until(() => lines.length > 0, { what: 'the log says so' });
    expect(lines.join()).not.toContain('another-secret');
  });
});

test('a finite client gives up within seconds while no sentinel answers', async () => {
  const server = await startTestSentinel();
  const { url } = server;
  await server[Symbol.asyncDispose]();
  using redis = clientOf(url, 'finite');
  const begin = performance.now();
  await expect(redis.get('key')).rejects.toMatchObject({ code: 'unavailable' });
  expect(performance.now() - begin).toBeLessThan(FINITE_MS);
});

test('a cluster that lacks a master does not answer a ping', async () => {
  await using place = await startPlace('cluster');
  using redis = clientOf(place.url, 'finite');
  await checkRedisVersion(redis);
  await pingRedis(redis);
  const master = await place.master(KEY);
  master.pause();
  await expect(pingRedis(redis)).rejects.toThrow();
  master.resume();
  await until(() => pingRedis(redis).then(() => true), { what: 'it answers again', timeoutMs: 30_000 });
});

test.each(['6.2.14', '5.0.7', 'odd'])('a server of version %s is refused with the version and the remedy', async (version) => {
  await using old = await startOldServer(version);
  using redis = clientOf(old.url, 'finite');
  const message = `the Redis server has version ${version}, and 7.0 or newer is needed (any Valkey will do): upgrade it, or name another one in REDIS_URL`;
  await expect(checkRedisVersion(redis)).rejects.toMatchObject({ code: 'configuration', message });
});

test('a server of the oldest version that will do is taken', async () => {
  await using old = await startOldServer('7.0.0');
  using redis = clientOf(old.url, 'finite');
  await checkRedisVersion(redis);
  await using current = await startTestRedis();
  using currentRedis = clientOf(current.url, 'finite');
  await checkRedisVersion(currentRedis);
});

/** Speaks as much of the protocol as it takes to be asked for a version. */
async function startOldServer(version: string) {
  const info = `# Server\r\nredis_version:${version}\r\nredis_mode:standalone\r\n`;
  const answers: Record<string, string> = { PING: '+PONG\r\n', INFO: `$${info.length}\r\n${info}\r\n`, HELLO: '-NOPROTO unsupported\r\n' };
  const server = createServer((socket) => {
    let rest = '';
    socket.setEncoding('utf8').on('error', () => {});
    socket.on('data', (text: string) => {
      rest += text;
      for (;;) {
        const [, count = ''] = /^\*(\d+)\r\n/.exec(rest) ?? [];
        const command = new RegExp(`^\\*\\d+\\r\\n(?:\\$\\d+\\r\\n[^\\r]*\\r\\n){${count || 1}}`).exec(rest)?.[0];
        if (command === undefined) return;
        rest = rest.slice(command.length);
        const name = (command.split('\r\n')[2] ?? '').toUpperCase();
        socket.write(answers[name] ?? '+OK\r\n');
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `redis://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}
