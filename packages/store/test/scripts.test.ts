/** The scripts by themselves: a command may reach the server twice when a connection breaks before its answer came. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { loadScript } from '../src/kit/script.ts';
import { contents, type Stores, startStores } from './fixture.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());
beforeEach(async () => {
  await stores.redis.flushall();
});
const run = (name: `${string}/${string}`, keys: string[], args: string[]) => loadScript(name).run(stores.redis, keys, args);

test('create-record writes record, indexes and history together, and refuses to overwrite', async () => {
  expect(await run('kit/create-record', ['{x}r', '{x}i', '{x}a', '{x}h'], ['one', 'member', '1'])).toBe('created');
  const before = await contents(stores);
  expect(Object.keys(before)).toHaveLength(4);
  expect(await run('kit/create-record', ['{x}r', '{x}i', '{x}a', '{x}h'], ['two', 'member', '1'])).toBe('exists');
  expect(await contents(stores)).toEqual(before);
});

test('swap-record replaces only what was read, and answers the same when it is sent again', async () => {
  expect(await run('kit/swap-record', ['{x}r', '{x}a'], ['one', 'two', ''])).toBe('missing');
  await run('kit/create-record', ['{x}r', '{x}i', '{x}a'], ['one', 'member']);
  expect(await run('kit/swap-record', ['{x}r', '{x}a'], ['other', 'two', ''])).toBe('stale');
  expect(await stores.redis.get('{x}r')).toBe('one');
  for (let sent = 0; sent < 2; sent++)
    expect(await run('kit/swap-record', ['{x}r', '{x}a', '{x}h'], ['one', 'two', 'member', '2'])).toBe('swapped');
  expect(await stores.redis.get('{x}r')).toBe('two');
  expect(await stores.redis.hgetall('{x}h')).toEqual({ 2: 'two' });
  expect(await stores.redis.zcard('{x}a')).toBe(0);
  expect(await stores.redis.zcard('{x}i')).toBe(1);
});

test('delete-record deletes only what was read, and answers the same when it is sent again', async () => {
  const place = ['{x}r', '{x}i', '{x}a', '{x}u'];
  await run('kit/create-record', place.slice(0, 3), ['one', 'member']);
  expect(await run('kit/delete-record', place, ['other', 'member'])).toBe('stale');
  for (let sent = 0; sent < 2; sent++) expect(await run('kit/delete-record', place, ['one', 'member'])).toBe('deleted');
  expect(await contents(stores)).toEqual({});
});

test('delete-record keeps what somebody refers to, and forgets those who are gone', async () => {
  const place = ['{x}r', '{x}i', '{x}a', '{x}u'];
  const record = JSON.stringify({ archived_at: null });
  await run('kit/create-record', place.slice(0, 3), [record, 'member']);
  for (const [at, by] of ['first', 'second'].entries())
    for (let sent = 0; sent < 2; sent++) expect(await run('kit/claim-record', ['{x}r', '{x}u'], [by, String(at), '1'])).toBe('claimed');
  expect(await run('kit/delete-record', place, [record, 'member', 'first'])).toBe('used');
  expect(await stores.redis.zrangebyscore('{x}u', '-inf', '+inf')).toEqual(['second']);
  expect(await run('kit/delete-record', place, [record, 'member', 'second'])).toBe('deleted');
  expect(await run('kit/claim-record', ['{x}r', '{x}u'], ['third', '3', '1'])).toBe('missing');
  expect(await contents(stores)).toEqual({});
});

test('claim-record refuses an archived record', async () => {
  await run('kit/create-record', ['{x}r', '{x}i', '{x}a'], [JSON.stringify({ archived_at: '2026-01-01T00:00:00Z' }), 'member']);
  expect(await run('kit/claim-record', ['{x}r', '{x}u'], ['first', '1', '1'])).toBe('archived');
  expect(await stores.redis.exists('{x}u')).toBe(0);
});

test.each(['2', '"1"', 'null', '0'])('claim-record refuses a record of format %s, which it does not know', async (format) => {
  await stores.redis.set('{x}r', `{"format":${format},"archived_at":null}`);
  expect(await run('kit/claim-record', ['{x}r', '{x}u'], ['first', '1', '1'])).toBe('newer');
  expect(await stores.redis.exists('{x}u')).toBe(0);
  await stores.redis.set('{x}r', '{"format":1,"archived_at":null}');
  expect(await run('kit/claim-record', ['{x}r', '{x}u'], ['first', '1', '1'])).toBe('claimed');
});

const FILE = ['{x}r', '{x}all', '{x}scope', '{x}pending', '{x}expiring'];
const pendingSince = (score: string) => stores.redis.zadd('{x}pending', score, 'bytes');

test('create-file makes a record only of bytes that nobody gave up, with all its lists, and answers the same when it is sent again', async () => {
  expect(await run('files/create-file', FILE, ['one', 'member', '1', 'bytes'])).toBe('lost');
  await pendingSince('0');
  expect(await run('files/create-file', FILE, ['one', 'member', '1', 'bytes'])).toBe('lost');
  expect(await stores.redis.exists('{x}r')).toBe(0);
  await pendingSince('5');
  expect(await run('files/create-file', FILE, ['one', 'member', '1', 'bytes', '9', 'expiry'])).toBe('created');
  const before = await contents(stores);
  expect(Object.keys(before).sort()).toEqual(['{x}all', '{x}expiring', '{x}r', '{x}scope']);
  expect(await run('files/create-file', FILE, ['two', 'member', '1', 'bytes'])).toBe('exists');
  expect(await contents(stores)).toEqual(before);
});

test('delete-file takes a record out of all its lists and notes its bytes, once', async () => {
  await pendingSince('5');
  await run('files/create-file', FILE, ['one', 'member', '1', 'bytes', '9', 'expiry']);
  expect(await run('files/delete-file', FILE, ['member', 'bytes', 'expiry'])).toBe(1);
  expect(await stores.redis.zscore('{x}pending', 'bytes')).toBe('0');
  expect(Object.keys(await contents(stores))).toEqual(['{x}pending']);
  await stores.redis.del('{x}pending');
  expect(await run('files/delete-file', FILE, ['member', 'bytes', 'expiry'])).toBe(0);
  expect(await contents(stores)).toEqual({});
});

test('claim-bytes gives up only what is old and has no record', async () => {
  const claim = (latest: string) => run('files/claim-bytes', ['{x}r', '{x}pending'], ['bytes', latest]);
  expect(await claim('9')).toBe(0);
  await pendingSince('5');
  expect(await claim('4')).toBe(0);
  expect(await claim('5')).toBe(1);
  expect(await claim('4')).toBe(1);
  expect(await run('files/create-file', FILE, ['one', 'member', '0', 'bytes'])).toBe('lost');
  await stores.redis.set('{x}r', 'one');
  expect(await claim('9')).toBe(0);
  expect(await stores.redis.exists('{x}pending')).toBe(0);
});

test('a server that forgot its scripts is given them again', async () => {
  await run('kit/create-record', ['{x}r', '{x}i', '{x}a'], ['one', 'member']);
  await stores.redis.script('FLUSH');
  expect(await run('kit/swap-record', ['{x}r', '{x}a'], ['one', 'two', ''])).toBe('swapped');
});
