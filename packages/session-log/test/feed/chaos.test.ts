import { silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFeed, type SessionRecord } from '../../src/index.ts';
import { type Fixture, message, startFixture } from '../fixture.ts';
import { createLossySubscriber, type Following, follow, picture, upTo } from './followers.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

/** The same numbers for the same seed, from 0 up to 1. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test.each([1, 2, 3])('whatever is lost, cut, slow or late, each follower gets each entry once and in order (%i)', async (seed) => {
  const next = numbersFrom(seed);
  // What happens when is not for the test to say; what is done is the same for the same seed.
  const chance = numbersFrom(seed + 1_000);
  const subscriber = createLossySubscriber(f.server.url);
  subscriber.loses = () => chance() < 0.2;
  let failing = 0;
  const blobs: typeof f.blobs = {
    ...f.blobs,
    // Now and then the store is away.
    get: (key) => (chance() < 0.2 ? Promise.reject(new Error(`away ${failing++}`)) : f.blobs.get(key)),
  };
  const lookIntervalsMs = { working: 50, others: 100 };
  const feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs, log: silentLogger, subscriber, lookIntervalsMs });
  const sessions = await Promise.all(Array.from({ length: 5 }, () => f.session()));
  const heads = new Map(sessions.map(({ id }) => [id, 0]));
  const followers: { following: Following; after: number; id: string; left: boolean }[] = [];

  function join({ id }: SessionRecord): void {
    const after = Math.floor(next() * (heads.get(id)! + 1));
    // Some take no more for a turn of the event loop, or for some.
    const onEntries = next() < 0.5 ? () => {} : () => (chance() < 0.5 ? new Promise<void>((room) => setImmediate(room)) : undefined);
    followers.push({ following: follow(feed, id, after, { onEntries }), after, id, left: false });
  }
  async function append({ id }: SessionRecord): Promise<void> {
    const kind = next();
    const bodies = kind < 0.1 ? [message('1'), picture(80_000)] : kind < 0.3 ? [message('x'.repeat(20_000))] : [message('1'), message('2')];
    await f.send(id, ...bodies);
    heads.set(id, heads.get(id)! + bodies.length);
  }
  for (const session of sessions) join(session);
  for (let step = 0; step < 150; step++) {
    const session = sessions[Math.floor(next() * sessions.length)]!;
    const what = next();
    if (what < 0.15) join(session);
    else if (what < 0.2) await f.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    else if (what < 0.25) {
      const leaving = followers[Math.floor(next() * followers.length)];
      leaving?.following.close();
      if (leaving) leaving.left = true;
    } else await append(session);
  }
  const staying = followers.filter(({ left }) => !left);
  await until(() => staying.every(({ following, after, id }) => following.entries.length >= heads.get(id)! - after), {
    what: 'all entries',
  });
  for (const { following, after, id, left } of followers) {
    const positions = following.positions();
    expect(positions).toEqual(upTo(left ? after + positions.length : heads.get(id)!, after + 1));
    expect(following.errors).toEqual([]);
  }
  await feed.close();
  await subscriber.close();
});
