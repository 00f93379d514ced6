import { createSubscriber, type Logger } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFeed, type FeedDeps } from '../../src/feed/feed.ts';
import { threadKeys } from '../../src/keys.ts';
import { type Fixture, message, startFixture } from '../fixture.ts';
import {
  commandCounts,
  countsAtRest,
  countsSince,
  createGate,
  createLossySubscriber,
  type Following,
  follow,
  NO_LOOKS,
  upTo,
  watchCommand,
} from './followers.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

async function feedWith(more: Partial<FeedDeps>) {
  const feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs: f.blobs, log: silentLogger, ...more });
  return Object.assign(feed, { [Symbol.asyncDispose]: () => feed.close() });
}
async function lossyFeed(more: Partial<FeedDeps> = {}) {
  const subscriber = createLossySubscriber(f.server.url);
  const feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs: f.blobs, log: silentLogger, subscriber, ...more });
  return {
    feed,
    subscriber,
    async [Symbol.asyncDispose]() {
      await feed.close();
      await subscriber.close();
    },
  };
}
const have = ({ entries }: Following, count: number) => until(() => entries.length >= count, { what: `${count} entries` });
const channelOf = (sessionId: string) => threadKeys(sessionId, primaryThreadId(sessionId)).feed;

/** What Redis is asked to do, once all is quiet, while it answers some hundred pings one after the other. A loop without pause is never quiet. */
async function commandsMeanwhile() {
  const before = await countsAtRest(f.redis);
  for (let i = 0; i < 500; i++) await f.redis.ping();
  return countsSince(before, await commandCounts(f.redis));
}

test('followers go on after Redis was killed and came back, and nothing acknowledged is lost', async () => {
  const { id } = await f.session();
  const follower = follow(f.feed, id, 0);
  await f.send(id, message('before'));
  await f.server.kill();
  const sent = f.send(id, message('during'));
  await f.server.restart();
  expect((await sent).outcome).toBe('stored');
  await f.send(id, message('after'));
  await have(follower, 3);
  expect(follower.positions()).toEqual([1, 2, 3]);
  follower.close();
});

test('what was appended while the subscriber reconnected is read, without waiting for a look', async () => {
  await using feed = await feedWith({ lookIntervalsMs: NO_LOOKS });
  const sessions = await Promise.all(Array.from({ length: 5 }, () => f.session()));
  const followers = sessions.map(({ id }) => follow(feed, id, 0));
  await Promise.all(sessions.map(({ id }) => f.send(id, message('before'))));
  await Promise.all(followers.map((follower) => have(follower, 1)));
  for (let round = 0; round < 5; round++) {
    await f.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await Promise.all(sessions.map(({ id }) => f.send(id, message('during'), message('too'))));
    await f.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  }
  for (const follower of followers) {
    await have(follower, 11);
    expect(follower.positions()).toEqual(upTo(11));
  }
});

test('after a reconnect the logs are read once for all followers of a thread, and at most 16 at once', async () => {
  let atOnce = 0;
  let most = 0;
  let count = 0;
  const counting = watchCommand(f.redis, 'mhRead', async (read) => {
    most = Math.max(most, ++atOnce);
    count++;
    try {
      return await read();
    } finally {
      atOnce--;
    }
  });
  await using feed = await feedWith({ redis: counting, lookIntervalsMs: NO_LOOKS });
  const sessions = await Promise.all(Array.from({ length: 50 }, () => f.session([message('1')])));
  const followers = sessions.flatMap(({ id }) => [follow(feed, id, 0), follow(feed, id, 0), follow(feed, id, 0)]);
  await Promise.all(followers.map((follower) => have(follower, 1)));
  await until(() => atOnce === 0, { what: 'all are live' });
  count = 0;
  await f.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await Promise.all(sessions.map(({ id }) => f.send(id, message('2'))));
  await Promise.all(followers.map((follower) => have(follower, 2)));
  await until(() => atOnce === 0, { what: 'all are live' });
  // What is new, if it was missed, and the end of the log.
  expect(count).toBeGreaterThanOrEqual(50);
  expect(count).toBeLessThanOrEqual(100);
  expect(most).toBeLessThanOrEqual(16);
});

test('a follower reads nothing before the server knows its subscription', async () => {
  let reads = 0;
  const redis = watchCommand(f.redis, 'mhRead', (read) => {
    reads++;
    return read();
  });
  await using lossy = await lossyFeed({ redis, lookIntervalsMs: NO_LOOKS });
  const gate = createGate();
  lossy.subscriber.subscribes = gate.opened;
  const { id } = await f.session([message('1')]);
  const follower = follow(lossy.feed, id, 0);
  await f.send(id, message('2'));
  expect(reads).toBe(0);
  gate.open();
  await have(follower, 2);
  expect(follower.positions()).toEqual([1, 2]);
});

test('a read that was under way when messages were lost does not count as one of the end of the log', async () => {
  const gate = createGate();
  let reads = 0;
  const redis = watchCommand(f.redis, 'mhRead', async (read) => {
    const first = ++reads === 1;
    const answer = await read();
    if (first) await gate.opened;
    return answer;
  });
  await using lossy = await lossyFeed({ redis, lookIntervalsMs: NO_LOOKS });
  const { id } = await f.session();
  const follower = follow(lossy.feed, id, 0);
  await until(() => reads === 1, { what: 'the read' });
  lossy.subscriber.loses = () => true;
  await f.send(id, message('1'));
  lossy.subscriber.gap();
  gate.open();
  await have(follower, 1);
});

test('what is told of while a read is under way is read next, without a look or a pause', async () => {
  const gate = createGate();
  let reads = 0;
  let looks = 0;
  const slowRead = watchCommand(f.redis, 'mhRead', async (read) => {
    const first = ++reads === 1;
    const answer = await read();
    if (first) await gate.opened;
    return answer;
  });
  const redis = watchCommand(slowRead, 'mhHeads', (look) => {
    looks++;
    return look();
  });
  await using lossy = await lossyFeed({ redis, lookIntervalsMs: NO_LOOKS });
  const { id } = await f.session();
  const follower = follow(lossy.feed, id, 0);
  await until(() => reads === 1, { what: 'the read' });
  await f.send(id, message('1'));
  await until(() => lossy.subscriber.came > 0, { what: 'the message' });
  gate.open();
  await have(follower, 1);
  expect(looks).toBe(0);
});

test('a message that was lost in the middle is made good by the next one, without waiting for a look', async () => {
  await using lossy = await lossyFeed({ lookIntervalsMs: NO_LOOKS });
  const { id } = await f.session([message('1')]);
  const follower = follow(lossy.feed, id, 0);
  await have(follower, 1);
  lossy.subscriber.loses = (text) => text.includes('"first":3,');
  await f.send(id, message('2'));
  await f.send(id, message('3'));
  await f.send(id, message('4'));
  await have(follower, 4);
  expect(follower.positions()).toEqual([1, 2, 3, 4]);
});

test('a last message that was lost is found within 3 seconds while the thread is at work', async () => {
  await using lossy = await lossyFeed();
  const { id } = await f.session([message('1')]);
  const follower = follow(lossy.feed, id, 0);
  await have(follower, 1);
  lossy.subscriber.loses = () => true;
  await f.send(id, message('2'));
  await until(() => lossy.subscriber.came > 0, { what: 'the message that is lost' });
  expect(follower.entries).toHaveLength(1);
  await until(() => follower.entries.length === 2, { what: 'the entry whose message was lost', timeoutMs: 3_000 });
});

test('a thread at rest is looked at as well, only not so often', async () => {
  let looks = 0;
  const redis = watchCommand(f.redis, 'mhHeads', (look) => {
    looks++;
    return look();
  });
  await using lossy = await lossyFeed({ redis, lookIntervalsMs: { working: 20, others: 200 } });
  const { id } = await f.session();
  const follower = follow(lossy.feed, id, 0);
  // The first one says that it rests.
  await until(() => looks >= 2, { what: 'a second look' });
  lossy.subscriber.loses = () => true;
  await f.send(id, message('1'));
  await have(follower, 1);
});

test('a message that is none, or of a newer format, is logged once and has the log read', async () => {
  const warnings: string[] = [];
  const log: Logger = Object.create(silentLogger, { warn: { value: (_facts: unknown, text: string) => void warnings.push(text) } });
  await using lossy = await lossyFeed({ lookIntervalsMs: NO_LOOKS, log });
  const { id } = await f.session([message('1')]);
  const follower = follow(lossy.feed, id, 0);
  const previews: unknown[] = [];
  lossy.feed.previews(id, primaryThreadId(id), (frames) => void previews.push(...frames));
  await have(follower, 1);
  const bad = [
    'no JSON {',
    '[]',
    JSON.stringify({ format: 3, first: 2, count: 1, entries: [['v', '3']] }),
    JSON.stringify({ format: 2, first: 2, count: 2, entries: [['v', '2']] }),
    JSON.stringify({ format: 2, previews: [{ text: 'x' }] }),
  ];
  for (const [i, text] of bad.entries()) {
    lossy.subscriber.loses = (of) => of !== text;
    await f.send(id, message(String(i)));
    await f.redis.spublish(channelOf(id), text);
    await have(follower, i + 2);
  }
  expect(follower.positions()).toEqual(upTo(bad.length + 1));
  expect(previews).toEqual([]);
  expect(warnings).toHaveLength(1);
  expect(follower.errors).toEqual([]);
});

test('an entry of a newer format ends its followers with an error at once, and no one else', async () => {
  const { id } = await f.session([message('1')]);
  const other = await f.session();
  const { log, state } = threadKeys(id, primaryThreadId(id));
  const follower = follow(f.feed, id, 0);
  const bystander = follow(f.feed, other.id, 0);
  await have(follower, 1);
  await f.redis.xadd(log, '2-0', 'v', '3', 's', '2', 'i', 'x', 't', 'user.message', 'k', 'e', 'p', '1', 'b', '{}');
  await f.redis.hset(state, 'head', 2);
  await f.redis.spublish(channelOf(id), JSON.stringify({ format: 2, first: 2, count: 1 }));
  await until(() => follower.errors.length > 0, { what: 'an error' });
  expect(follower.errors).toMatchObject([{ code: 'newer_format' }]);
  await f.send(other.id, message('1'));
  await have(bystander, 1);
  bystander.close();
});

test('told of entries that are not there, a follower asks once and goes on', async () => {
  await using feed = await feedWith({ lookIntervalsMs: NO_LOOKS });
  const { id } = await f.session([message('1')]);
  const follower = follow(feed, id, 0);
  await have(follower, 1);
  await f.redis.spublish(channelOf(id), JSON.stringify({ format: 2, first: 5, count: 3 }));
  await f.send(id, message('2'));
  await have(follower, 2);
  expect(await commandsMeanwhile()).toEqual({});
  await f.send(id, message('3'));
  await have(follower, 3);
  expect(follower.positions()).toEqual([1, 2, 3]);
});

test('a deleted log that expired under a slow viewer ends it, once and without another command', async () => {
  await using feed = await feedWith({ lookIntervalsMs: NO_LOOKS });
  const { id } = await f.session();
  const gate = createGate();
  const slow = follow(feed, id, 0, { onEntries: () => gate.opened });
  const quick = follow(feed, id, 0);
  expect((await f.send(id, { type: 'user.interrupt', session_thread_id: null })).outcome).toBe('stored');
  await until(() => slow.entries.length > 0 && quick.entries.length > 0, { what: 'the first entry' });
  expect(await f.log.delete(id)).toBe('deleted');
  await until(() => quick.entries.at(-1)?.event.type === 'session.deleted', { what: 'the last entry' });
  const { log, state } = threadKeys(id, primaryThreadId(id));
  await f.redis.del(log, state);
  gate.open();
  await until(() => slow.errors.length > 0, { what: 'the end of the slow viewer' });
  expect(await commandsMeanwhile()).toEqual({});
  expect(slow.errors).toMatchObject([{ code: 'aborted' }]);
  expect(slow.deliveries).toHaveLength(1);
});

test('followers that saw all of a log end once it is gone, and one of a thread that is yet to come waits for it', async () => {
  await using feed = await feedWith({ lookIntervalsMs: { working: 20, others: 40 } });
  const { id } = await f.session([message('1')]);
  const follower = follow(feed, id, 0);
  const later = follow(feed, id, 0, { threadId: 'sthr_later' });
  await have(follower, 1);
  const { log, state } = threadKeys(id, primaryThreadId(id));
  await f.redis.del(log, state);
  await until(() => follower.errors.length > 0, { what: 'the end of the follower' });
  expect(follower.errors).toMatchObject([{ code: 'aborted' }]);
  const coming = threadKeys(id, 'sthr_later');
  await f.redis.xadd(coming.log, '1-0', 'v', '2', 's', '2', 'i', 'x', 't', 'user.message', 'k', 'e', 'p', '1', 'b', '{}');
  await f.redis.hset(coming.state, 'head', 1, 'status', 'idle');
  await have(later, 1);
  expect(later.errors).toEqual([]);
});

test('a feed that is closed calls nobody, also what waited, and lets its process end', async () => {
  const subscriber = createSubscriber(f.server.url, silentLogger, 'test');
  const feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs: f.blobs, log: silentLogger, subscriber });
  const { id } = await f.session([message('1')]);
  const gate = createGate();
  const follower = follow(feed, id, 0, { onEntries: () => gate.opened });
  const starting = follow(feed, (await f.session([message('1')])).id, 0);
  await have(follower, 1);
  starting.close();
  await feed.close();
  gate.open();
  await f.send(id, message('2'));
  expect(await commandsMeanwhile()).toEqual({});
  expect(follower.entries).toHaveLength(1);
  expect(follower.errors).toEqual([]);
  follow(feed, id, 0).close();
  feed.previews(id, primaryThreadId(id), () => {}).close();
  await subscriber.close();
});
