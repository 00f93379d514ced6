import { silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFeed } from '../../src/feed/feed.ts';
import { defineScripts } from '../../src/scripts.ts';
import { type Fixture, message, startFixture } from '../fixture.ts';
import { commandCounts, countsAtRest, countsSince, follow, NO_LOOKS } from './followers.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

/** The commands that 20 events of two sessions cost while `watched` sessions, those two among them, are followed. */
async function commandsOf20Events(watched: number): Promise<Record<string, number>> {
  const feed = createFeed({
    redisUrl: f.server.url,
    redis: f.redis,
    blobs: f.blobs,
    log: silentLogger,
    lookIntervalsMs: NO_LOOKS,
  });
  try {
    const sessions = await Promise.all(Array.from({ length: watched }, () => f.session([message('first')])));
    const followers = sessions.map(({ id }) => follow(feed, id, 0));
    await until(() => followers.every(({ entries }) => entries.length === 1), { what: 'the first entry of each' });
    // Where a session is, is asked once.
    for (const { id } of sessions.slice(0, 2)) await f.send(id, message('second'));
    await until(() => followers.slice(0, 2).every(({ entries }) => entries.length === 2), { what: 'the second entry' });
    const before = await countsAtRest(f.redis);
    for (let i = 0; i < 10; i++) for (const { id } of sessions.slice(0, 2)) await f.send(id, message(String(i)));
    await until(() => followers.slice(0, 2).every(({ entries }) => entries.length === 12), { what: 'all entries' });
    return countsSince(before, await commandCounts(f.redis));
  } finally {
    await feed.close();
  }
}

test('an event costs the same commands with 2 and with 2,000 watched sessions, and none of them reads', async () => {
  const few = await commandsOf20Events(2);
  const many = await commandsOf20Events(2_000);
  expect(many).toEqual(few);
  expect(few).toMatchObject({ evalsha: 20, spublish: 20, xadd: 20 });
  expect(Object.keys(few)).not.toContain('xrange');
});

test('a look at 2,000 watched threads at work is one command for each bucket', async () => {
  const feed = createFeed({
    redisUrl: f.server.url,
    redis: f.redis,
    blobs: f.blobs,
    log: silentLogger,
    // The first look comes when all are read.
    lookIntervalsMs: { working: 1_500, others: 3_600_000 },
  });
  const sessions = await Promise.all(Array.from({ length: 2_000 }, () => f.session([message('first')])));
  const followers = sessions.map(({ id }) => follow(feed, id, 0));
  await until(() => followers.every(({ entries }) => entries.length === 1), { what: 'the first entry of each' });
  // Known to the server, so that it is asked for by its digest from the first time on.
  await defineScripts(f.redis).mhHeads('mh:{b00}:none');
  const before = await countsAtRest(f.redis);
  const look = await until(
    async () => {
      const since = countsSince(before, await commandCounts(f.redis));
      return since['hmget'] !== undefined && since['hmget'] >= 2_000 && since;
    },
    { what: 'a look at all' },
  );
  expect(look).toEqual({ evalsha: 64, hmget: 2_000 });
  await feed.close();
});
