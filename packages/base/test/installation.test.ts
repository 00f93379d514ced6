import { startTestRedis, type TestServer, until } from '@manyhands/test-kit';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type AppError,
  assertFormat,
  createLogger,
  createRedis,
  FORMAT,
  openInstallation,
  type Redis,
  watchInstallation,
} from '../src/index.ts';

const silent = createLogger('test', 'silent');
const KEY = 'mh:format';
const NEWER = {
  code: 'newer_format',
  retryable: false,
  message: `this installation's data has format ${FORMAT + 1}, this program knows ${FORMAT}: start a newer version, or restore a backup`,
};

let server: TestServer;
let redis: Redis;
beforeAll(async () => {
  server = await startTestRedis();
  redis = createRedis(server.url, 'patient', silent, 'test');
});
afterAll(async () => {
  redis.disconnect();
  await server[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await redis.flushall();
});

/** What 0.1.0 has left as soon as anybody could use it: an API key in the list of its workspace. */
const leave010 = () => redis.zadd('mh:{wrkspc_default}:apikeys', 0, '001767225600000:apikey_1');

function upgrades() {
  const from: number[] = [];
  return { from, upgrade: async (_redis: unknown, format: number) => void from.push(format) };
}

describe('an installation', () => {
  test('that is empty becomes one of this format, whatever number of processes opens it, and stays one', async () => {
    const { from, upgrade } = upgrades();
    await Promise.all(Array.from({ length: 10 }, () => openInstallation(redis, { upgrade })));
    await openInstallation(redis, { upgrade });
    expect(await redis.get(KEY)).toBe(String(FORMAT));
    expect(await redis.keys('*')).toEqual([KEY]);
    expect(from).toEqual([]);
  });

  test('of 0.1.0 is upgraded before it is called one of this format, and not again', async () => {
    await leave010();
    const { from, upgrade } = upgrades();
    const seen: (string | null)[] = [];
    const options = {
      async upgrade(at: unknown, format: number) {
        await upgrade(at, format);
        seen.push(await redis.get(KEY));
      },
    };
    await openInstallation(redis, options);
    await openInstallation(redis, options);
    expect([from, seen, await redis.get(KEY)]).toEqual([[1], [null], String(FORMAT)]);
  });

  test('whose format is older is upgraded from that, and raised although nothing needs to be done', async () => {
    await redis.set(KEY, FORMAT - 1);
    const { from, upgrade } = upgrades();
    await openInstallation(redis, { upgrade });
    expect([from, await redis.get(KEY)]).toEqual([[FORMAT - 1], String(FORMAT)]);
    await redis.set(KEY, FORMAT - 1);
    await openInstallation(redis);
    expect(await redis.get(KEY)).toBe(String(FORMAT));
  });

  test('stays as it was when an upgrade fails, so that the next start tries again', async () => {
    await leave010();
    await expect(openInstallation(redis, { upgrade: () => Promise.reject(new Error('no disk')) })).rejects.toThrow('no disk');
    expect(await redis.get(KEY)).toBeNull();
    const { from, upgrade } = upgrades();
    await openInstallation(redis, { upgrade });
    expect(from).toEqual([1]);
  });

  test.each([String(FORMAT + 1), 'nonsense', '', '1.5', '0', '-1'])('of format %j is refused and left as it is', async (text) => {
    await redis.set(KEY, text);
    await expect(openInstallation(redis, { upgrade: () => expect.unreachable() })).rejects.toMatchObject({ code: 'newer_format' });
    expect(await redis.get(KEY)).toBe(text);
  });

  test('that is newer is refused with both numbers and the remedy', async () => {
    await redis.set(KEY, FORMAT + 1);
    await expect(openInstallation(redis)).rejects.toMatchObject(NEWER);
  });

  test('that two processes upgrade at once is raised once, and by neither of them if a third one raised it higher', async () => {
    await leave010();
    const late = upgrades();
    await openInstallation(redis, { upgrade: () => openInstallation(redis, late) });
    expect([late.from, await redis.get(KEY)]).toEqual([[1], String(FORMAT)]);
    await redis.set(KEY, FORMAT - 1);
    const raising = openInstallation(redis, { upgrade: async () => void (await redis.set(KEY, FORMAT + 1)) });
    await expect(raising).rejects.toMatchObject(NEWER);
    expect(await redis.get(KEY)).toBe(String(FORMAT + 1));
  });

  test('that another process makes and fills while this one looks is not taken for an old one', async () => {
    let commands = 0;
    const watched = new Proxy(redis, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return async (...args: unknown[]) => {
          const answer: unknown = await Reflect.apply(member, target, args);
          if (++commands === 1) {
            await openInstallation(redis);
            await leave010();
          }
          return answer;
        };
      },
    });
    await openInstallation(watched, { upgrade: () => expect.unreachable() });
    expect(commands).toBeGreaterThan(1);
  });
});

describe('a watch of the installation', () => {
  test('tells once that a newer process raised the format, and looks no more', async () => {
    await openInstallation(redis);
    const told: AppError[] = [];
    const watch = watchInstallation(redis, (error) => told.push(error), silent, 1);
    const calls = async () => Number(/cmdstat_get:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0);
    const before = await calls();
    await until(async () => (await calls()) > before + 3, { what: 'it looks again and again' });
    expect(told).toEqual([]);
    await redis.set(KEY, FORMAT + 1);
    await until(() => told.length > 0, { what: 'it tells' });
    const after = await calls();
    await Promise.all(Array.from({ length: 20 }, () => redis.ping()));
    expect([told.length, await calls()]).toEqual([1, after]);
    expect(told[0]).toMatchObject(NEWER);
    watch.stop();
  });

  test('that was stopped tells nothing, not even of what it was reading', async () => {
    await redis.set(KEY, FORMAT + 1);
    const slow = createRedis(server.url, 'patient', silent, 'slow');
    await slow.ping();
    let asked = 0;
    const late = new Proxy(slow, {
      get: (target, name) =>
        name === 'get'
          ? (key: string) => {
              asked++;
              return target.get(key);
            }
          : Reflect.get(target, name),
    });
    server.pause();
    const watch = watchInstallation(late, () => expect.unreachable(), silent, 1);
    await until(() => asked > 0, { what: 'a look is under way' });
    watch.stop();
    server.resume();
    expect(await slow.get(KEY)).toBe(String(FORMAT + 1));
    slow.disconnect();
  });

  test('goes on when the server was away, and logs that once', async () => {
    await openInstallation(redis);
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    let away = true;
    const flaky = new Proxy(redis, {
      get: (target, name) =>
        name === 'get' && away
          ? () => Promise.reject(new Error('away'))
          : (Reflect.get(target, name) as unknown as Redis['get']).bind(target),
    });
    let looked = 0;
    const told: AppError[] = [];
    const watch = watchInstallation(
      new Proxy(flaky, {
        get(target, name) {
          if (name === 'get') looked++;
          return Reflect.get(target, name);
        },
      }),
      (error) => told.push(error),
      log,
      1,
    );
    await until(() => looked > 3, { what: 'it looks in vain' });
    away = false;
    await redis.set(KEY, FORMAT + 1);
    await until(() => told.length === 1, { what: 'it tells' });
    expect(lines).toHaveLength(1);
    watch.stop();
  });
});

describe('a record', () => {
  test('of a known format, or of none, is read', () => {
    for (const found of [undefined, 1, 2, 3]) expect(() => assertFormat('the record', found, 3)).not.toThrow();
  });

  test.each([
    [4, '4'],
    ['1', '"1"'],
    [null, 'null'],
    [0, '0'],
    [1.5, '1.5'],
    [Number.NaN, 'null'],
    [{ a: 1 }, '{"a":1}'],
  ])('of format %j is refused by name, number and remedy', (found, shown) => {
    expect(() => assertFormat('the record', found, 3)).toThrow(
      expect.objectContaining({
        code: 'newer_format',
        message: `the record has format ${shown}, this program knows 3: start a newer version, or restore a backup`,
      }),
    );
  });
});
