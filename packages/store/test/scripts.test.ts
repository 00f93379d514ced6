/** The scripts by themselves: a command may reach the server twice when a connection breaks before its answer came. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { loadScript } from '../src/script.ts';
import { contents, type Stores, startStores } from './fixture.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());
beforeEach(async () => {
  await stores.redis.flushall();
});
const run = (name: string, keys: string[], args: string[]) => loadScript(name).run(stores.redis, keys, args);

test('create-record writes record, indexes and history together, and refuses to overwrite', async () => {
  expect(await run('create-record', ['{x}r', '{x}i', '{x}a', '{x}h'], ['one', 'member', '1'])).toBe('created');
  const before = await contents(stores);
  expect(Object.keys(before)).toHaveLength(4);
  expect(await run('create-record', ['{x}r', '{x}i', '{x}a', '{x}h'], ['two', 'member', '1'])).toBe('exists');
  expect(await contents(stores)).toEqual(before);
});

test('swap-record replaces only what was read, and answers the same when it is sent again', async () => {
  expect(await run('swap-record', ['{x}r', '{x}a'], ['one', 'two', ''])).toBe('missing');
  await run('create-record', ['{x}r', '{x}i', '{x}a'], ['one', 'member']);
  expect(await run('swap-record', ['{x}r', '{x}a'], ['other', 'two', ''])).toBe('stale');
  expect(await stores.redis.get('{x}r')).toBe('one');
  for (let sent = 0; sent < 2; sent++)
    expect(await run('swap-record', ['{x}r', '{x}a', '{x}h'], ['one', 'two', 'member', '2'])).toBe('swapped');
  expect(await stores.redis.get('{x}r')).toBe('two');
  expect(await stores.redis.hgetall('{x}h')).toEqual({ 2: 'two' });
  expect(await stores.redis.zcard('{x}a')).toBe(0);
  expect(await stores.redis.zcard('{x}i')).toBe(1);
});

test('delete-record deletes only what was read, and answers the same when it is sent again', async () => {
  await run('create-record', ['{x}r', '{x}i', '{x}a'], ['one', 'member']);
  expect(await run('delete-record', ['{x}r', '{x}i', '{x}a'], ['other', 'member'])).toBe('stale');
  for (let sent = 0; sent < 2; sent++) expect(await run('delete-record', ['{x}r', '{x}i', '{x}a'], ['one', 'member'])).toBe('deleted');
  expect(await contents(stores)).toEqual({});
});

test('a server that forgot its scripts is given them again', async () => {
  await run('create-record', ['{x}r', '{x}i', '{x}a'], ['one', 'member']);
  await stores.redis.script('FLUSH');
  expect(await run('swap-record', ['{x}r', '{x}a'], ['one', 'two', ''])).toBe('swapped');
});
