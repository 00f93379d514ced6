import type { BlobStore } from '@manyhands/blobs';
import { primaryThreadId } from '@manyhands/contract';
import { silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFeed } from '../../src/feed/feed.ts';
import { createSessionLog, type LogEntry } from '../../src/index.ts';
import { threadKeys } from '../../src/keys.ts';
import { createMemoryBlobStore, type Fixture, message, startFixture } from '../fixture.ts';
import { createGate, type Following, follow, NO_LOOKS, picture, upTo } from './followers.ts';

const MIB = 1024 * 1024;

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

function feedOn(blobs: BlobStore) {
  const feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs, log: silentLogger, lookIntervalsMs: NO_LOOKS });
  return Object.assign(feed, { [Symbol.asyncDispose]: () => feed.close() });
}
const have = ({ entries }: Following, count: number) => until(() => entries.length >= count, { what: `${count} entries` });
const bytesOf = (entries: LogEntry[]) => entries.reduce((sum, { event }) => sum + JSON.stringify(event).length, 0);

test.concurrent.each([
  ['missing', (key: string) => f.blobs.delete(key)],
  ['damaged', async (key: string) => void (await f.blobs.put(key, Buffer.from('{"content":')))],
])('a body that is %s ends its own followers with an error after what came before it, and stalls nobody else', async (_how, spoil) => {
  const { id, workspace_id } = await f.session();
  const other = await f.session();
  const gate = createGate();
  await using feed = feedOn({
    ...f.blobs,
    get: (key) => (key.includes(id) ? gate.opened : Promise.resolve()).then(() => f.blobs.get(key)),
  });
  const live = follow(feed, id, 0);
  const bystander = follow(feed, other.id, 0);
  await f.send(id, message('1'));
  await have(live, 1);
  await f.send(id, message('2'), picture(100_000), message('4'));
  const late = follow(feed, id, 0);
  const followers = [live, late];
  await Promise.all(followers.map((follower) => have(follower, 2)));
  for (let i = 1; i <= 5; i++) {
    await f.send(other.id, message('small'), picture(100_000));
    await have(bystander, 2 * i);
  }
  for await (const key of f.blobs.list(`${workspace_id}/${id}/`)) await spoil(key);
  gate.open();
  await until(() => followers.every(({ errors }) => errors.length > 0), { what: 'the end of both' });
  await f.send(id, message('5'));
  await f.send(other.id, message('small'));
  await have(bystander, 11);
  for (const { errors, positions } of followers) {
    expect(errors).toMatchObject([{ code: 'internal' }]);
    expect(positions()).toEqual([1, 2]);
  }
  expect(bystander.positions()).toEqual(upTo(11));
});

test.concurrent('a store that is away is asked again for as long as somebody follows, and then all goes on', async () => {
  const { id } = await f.session();
  let asked = 0;
  await using feed = feedOn({
    ...f.blobs,
    get(key) {
      // More often than a body may be missing.
      if (++asked <= 5) return Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
      return f.blobs.get(key);
    },
  });
  const follower = follow(feed, id, 0);
  await f.send(id, message('1'), picture(100_000), message('3'));
  await have(follower, 3);
  expect(asked).toBe(6);
  expect(follower.errors).toEqual([]);
});

test.concurrent('a slow store delays those who need it alone, and one fetch serves all of them', async () => {
  const { id } = await f.session();
  const other = await f.session();
  const gate = createGate();
  let fetches = 0;
  await using feed = feedOn({
    ...f.blobs,
    async get(key) {
      fetches++;
      await gate.opened;
      return f.blobs.get(key);
    },
  });
  const waiting = [follow(feed, id, 0), follow(feed, id, 0), follow(feed, id, 1)];
  const bystander = follow(feed, other.id, 0);
  await f.send(id, message('1'));
  await until(() => waiting.slice(0, 2).every(({ entries }) => entries.length === 1), { what: 'the first entry' });
  await f.send(id, message('2'), picture(100_000), message('4'));
  // Who has what it needs already, and who comes later, are not held up either.
  const behind = follow(feed, id, 3);
  await have(behind, 1);
  for (let i = 1; i <= 20; i++) await f.send(other.id, message(String(i)));
  await have(bystander, 20);
  await until(() => waiting.every(({ entries }) => entries.at(-1)?.position === 2), { what: 'what comes before the body' });
  expect(fetches).toBe(1);
  gate.open();
  await until(() => waiting.every(({ entries }) => entries.at(-1)?.position === 4), { what: 'the rest' });
  expect(waiting.map(({ positions }) => positions())).toEqual([upTo(4), upTo(4), upTo(4, 2)]);
  expect(fetches).toBe(1);
  expect(new Set(waiting.map(({ entries }) => entries.find(({ position }) => position === 3))).size).toBe(1);
});

test.concurrent('an entry in Redis that is damaged ends its followers with an error', async () => {
  const { id } = await f.session([message('1')]);
  const { log, state } = threadKeys(id, primaryThreadId(id));
  const follower = follow(f.feed, id, 0);
  await have(follower, 1);
  await f.redis.xadd(log, '2-0', 'v', '2', 's', '2', 'i', 'x', 't', 'user.message', 'k', 'e', 'p', '1', 'b', '{"content":');
  await f.redis.hset(state, 'head', 2);
  await f.redis.spublish(threadKeys(id, primaryThreadId(id)).feed, JSON.stringify({ format: 2, first: 2, count: 1 }));
  await until(() => follower.errors.length > 0, { what: 'an error' });
  expect(follower.errors).toMatchObject([{ code: 'internal' }]);
});

test('entries of 5 MiB each are handed on one at a time, and while a follower takes no more, none is fetched', async () => {
  const shelf = createMemoryBlobStore();
  const log = createSessionLog({ ...f.deps, blobs: shelf });
  const { id } = await f.session();
  for (let i = 0; i < 12; i++) await log.send({ sessionId: id, bodies: [picture(5 * MIB)], digest: `image ${i}`, isRetry: false });
  let atOnce = 0;
  let most = 0;
  let fetches = 0;
  await using feed = feedOn({
    ...shelf,
    async get(key) {
      most = Math.max(most, ++atOnce);
      fetches++;
      const body = await shelf.get(key);
      atOnce--;
      return body;
    },
  });
  const gate = createGate();
  const follower = follow(feed, id, 0, { onEntries: (entries) => (entries.at(-1)?.position === 7 ? gate.opened : undefined) });
  await have(follower, 7);
  const bystander = follow(feed, id, 11);
  await have(bystander, 1);
  expect(fetches).toBe(8);
  gate.open();
  await have(follower, 12);
  expect(follower.positions()).toEqual(upTo(12));
  expect(Math.max(...follower.deliveries.map(bytesOf))).toBeLessThan(5 * MIB + 1024);
  expect(most).toBeLessThanOrEqual(2);
});

test('bodies that are fetched at once are bounded together, however many follow', async () => {
  const shelf = createMemoryBlobStore();
  const log = createSessionLog({ ...f.deps, blobs: shelf });
  const sessions = await Promise.all(Array.from({ length: 16 }, () => f.session()));
  for (const { id } of sessions) await log.send({ sessionId: id, bodies: [picture(5 * MIB)], digest: id, isRetry: false });
  let atOnce = 0;
  let most = 0;
  const gate = createGate();
  await using feed = feedOn({
    ...shelf,
    async get(key) {
      most = Math.max(most, ++atOnce);
      await gate.opened;
      const body = await shelf.get(key);
      atOnce--;
      return body;
    },
  });
  const followers = sessions.map(({ id }) => follow(feed, id, 0));
  await until(() => most === 12, { what: 'as many as there may be' });
  // Small ones of other sessions are read by then.
  const small = follow(feed, (await f.session([message('1')])).id, 0);
  await have(small, 1);
  gate.open();
  await Promise.all(followers.map((follower) => have(follower, 1)));
  expect(most * 5 * MIB).toBeLessThanOrEqual(64 * MIB);
});

test('a follower that catches up is handed at most 200 entries and a mebibyte at a time', async () => {
  const { id } = await f.session();
  for (let i = 0; i < 40; i++) await f.send(id, message('x'.repeat(60_000)));
  for (let i = 0; i < 10; i++) await f.send(id, ...Array.from({ length: 50 }, () => message('x')));
  await using feed = feedOn(f.blobs);
  const follower = follow(feed, id, 0);
  await have(follower, 540);
  expect(follower.positions()).toEqual(upTo(540));
  expect(Math.max(...follower.deliveries.map(bytesOf))).toBeLessThan(1.1 * MIB);
  expect(Math.max(...follower.deliveries.map(({ length }) => length))).toBeLessThanOrEqual(200);
});

test('who only wants to know what waits fetches no body of what does not, and is ended by none', async () => {
  const record = await f.session();
  const { id, workspace_id } = record;
  await f.log.update(id, 0, { agent: { ...record.agent, system: 'x'.repeat(90_000) } });
  await f.blobs.deletePrefix(`${workspace_id}/${id}/`);
  await f.send(id, picture(100_000));
  const fetched: string[] = [];
  await using feed = feedOn({
    ...f.blobs,
    get(key) {
      fetched.push(key);
      return f.blobs.get(key);
    },
  });
  const entries: LogEntry[] = [];
  const errors: Error[] = [];
  feed.follow(id, primaryThreadId(id), {
    ...{ after: 0, bodies: 'queued' },
    onEntries: (found) => void entries.push(...found),
    onError: (error) => void errors.push(error),
  });
  await until(() => entries.length === 2, { what: 'both entries' });
  expect(entries.map(({ kind, event }) => [kind, event.type])).toEqual([
    ['event', 'session.updated'],
    ['queued', 'user.message'],
  ]);
  expect(entries[1]?.event).toMatchObject(picture(100_000));
  expect(fetched).toHaveLength(1);
  expect(errors).toEqual([]);
});
