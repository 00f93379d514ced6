/** What Redis URLs mean, and what is said about those that cannot be used. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { commonEnv, loadEnv, parseRedisUrl } from '../src/index.ts';

test.each([
  ['redis://127.0.0.1', { kind: 'single', url: 'redis://127.0.0.1' }],
  ['rediss://:secret@redis.example:6380/2', { kind: 'single', url: 'rediss://:secret@redis.example:6380/2' }],
  ['/run/redis.sock', { kind: 'single', url: '/run/redis.sock' }],
  ['redis+cluster://a:1', { kind: 'cluster', nodes: [{ host: 'a', port: 1 }], credentials: {} }],
  [
    'redis+cluster://me:p%40ss%3A%2F@10.0.0.1:7000,[::1]:7001,node-3.example/0',
    {
      kind: 'cluster',
      nodes: [
        { host: '10.0.0.1', port: 7000 },
        { host: '::1', port: 7001 },
        { host: 'node-3.example', port: 6379 },
      ],
      credentials: { username: 'me', password: 'p@ss:/' },
    },
  ],
  [
    'redis+sentinel://s1:26379,s2/main',
    {
      kind: 'sentinel',
      sentinels: [
        { host: 's1', port: 26379 },
        { host: 's2', port: 26379 },
      ],
      ...{ masterName: 'main', db: 0, credentials: {}, sentinelCredentials: {} },
    },
  ],
  [
    'redis+sentinel://:p@ss@s1/my%20main/3?sentinel_username=u&sentinel_password=s%26t',
    {
      ...{ kind: 'sentinel', sentinels: [{ host: 's1', port: 26379 }], masterName: 'my main', db: 3 },
      ...{ credentials: { password: 'p@ss' }, sentinelCredentials: { username: 'u', password: 's&t' } },
    },
  ],
])('%s is understood', (url, place) => {
  expect(parseRedisUrl(url)).toEqual(place);
});

test.each([
  ['http://secret@127.0.0.1', 'the beginning is none that is known'],
  ['127.0.0.1:6379', 'write redis://host:port, rediss://host:port, redis+cluster://host:port,host:port or redis+sentinel://'],
  ['redis://:secret@host:99999', 'host or port is not valid'],
  ['redis+cluster://', 'address 1 is not valid; write host:port, such as 127.0.0.1:6379'],
  ['redis+cluster://:secret@a:1,b:0', 'address 2 is not valid'],
  ['redis+cluster://:secret@a:1,,b:2', 'address 2 is not valid'],
  ['redis+cluster://:secret@a:1/1', 'a cluster has one database only'],
  ['redis+cluster://:secret@a:1?tls=1', 'a cluster takes no settings'],
  ['redis+cluster://secret@a:1', 'an "@" without a password before it; write user:password@ or :password@'],
  ['redis+cluster://:se%cret@a:1', 'the password holds a "%" that begins no %-code; write it as %25'],
  ['redis+cluster://:sec/ret@a:1', 'user or password hold a / or ? as it is; write those as %2F %3F'],
  ['redis+sentinel://:sec?ret@a:1/main', 'user or password hold a / or ? as it is'],
  ['redis+sentinel://:secret@a:1', 'the name of the master is missing'],
  ['redis+sentinel://a:1/main/x', 'no number of a database'],
  ['redis+sentinel://a:1/main/0/1', 'no number of a database'],
  ['redis+sentinel://a:1/main?password=secret', 'only sentinel_username and sentinel_password are known'],
  ['redis+sentinel://a:1/main?sentinel_username=secret', 'without sentinel_password'],
])('%s is refused with the part that is wrong and without its secrets', (url, problem) => {
  const refusal = (() => {
    try {
      return parseRedisUrl(url);
    } catch (error) {
      return error;
    }
  })();
  expect(refusal).toMatchObject({ code: 'configuration', message: expect.stringContaining(problem) });
  expect((refusal as Error).message).not.toMatch(/secret|ret@/);
});

test('a process that is given an unusable URL says so at its start, with the name of the variable', () => {
  expect(() => loadEnv(commonEnvironment(), { REDIS_URL: 'redis+sentinel://host:1' })).toThrow(
    /REDIS_URL: .*name of the master is missing/,
  );
  expect(loadEnv(commonEnvironment(), { REDIS_URL: 'redis+cluster://host:1' }).REDIS_URL).toBe('redis+cluster://host:1');
  expect(loadEnv(commonEnvironment(), {}).REDIS_URL).toBe('redis://127.0.0.1:6379');
});

function commonEnvironment() {
  return z.object({ REDIS_URL: commonEnv.REDIS_URL });
}
