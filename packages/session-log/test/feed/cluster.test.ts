import { createRedis } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { silentLogger, startTestRedisCluster, type TestRedisCluster, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFeed, type Feed } from '../../src/index.ts';
import { fixtureOn, message } from '../fixture.ts';
import { createLossySubscriber, type Following, follow, type LossySubscriber, NO_LOOKS, picture, upTo } from './followers.ts';

let f: Awaited<ReturnType<typeof fixtureOn<TestRedisCluster>>>;
beforeAll(async () => {
  f = await fixtureOn(await startTestRedisCluster());
});
afterAll(() => f[Symbol.asyncDispose]());

const have = (followers: Following[], count: number) =>
  until(() => followers.every(({ entries }) => entries.length >= count), { what: `${count} entries for each follower` });
const manySessions = () => Promise.all(Array.from({ length: 40 }, () => f.session([message('1')])));

async function lossyFeed(lookIntervalsMs = NO_LOOKS): Promise<AsyncDisposable & { feed: Feed; subscriber: LossySubscriber }> {
  const subscriber = createLossySubscriber(f.server.url);
  const feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs: f.blobs, log: silentLogger, subscriber, lookIntervalsMs });
  return {
    feed,
    subscriber,
    async [Symbol.asyncDispose]() {
      await feed.close();
      await subscriber.close();
    },
  };
}

test('on a cluster, followers of sessions in many slots get entries, large ones and previews, in order', async () => {
  await using on = await lossyFeed();
  const sessions = await manySessions();
  const followers = sessions.map(({ id }) => follow(on.feed, id, 0));
  const previews: string[] = [];
  const { id } = sessions[0]!;
  on.feed.previews(id, primaryThreadId(id), (frames) => void previews.push(...frames.map(({ text }) => text)));
  await Promise.all(sessions.map((session) => f.send(session.id, message('2'), picture(100_000))));
  await Promise.all(sessions.map((session) => f.send(session.id, message('4'))));
  await have(followers, 4);
  for (const { positions } of followers) expect(positions()).toEqual(upTo(4));
  await f.writer.preview({ sessionId: id, threadId: primaryThreadId(id) }, [
    { epoch: 1, after_position: 0, n: 1, event_id: 'sevt_x', kind: 'agent.message', start: false, index: 0, text: 'x' },
  ]);
  await until(() => previews.length > 0, { what: 'the preview' });
});

test('on a cluster, last messages that were lost are found by looks that touch one slot each', async () => {
  await using on = await lossyFeed({ working: 100, others: 1_000 });
  const sessions = await manySessions();
  const followers = sessions.map(({ id }) => follow(on.feed, id, 0));
  await have(followers, 1);
  on.subscriber.loses = () => true;
  await Promise.all(sessions.map(({ id }) => f.send(id, message('2'))));
  await have(followers, 2);
});

test('on a cluster, what was appended while the subscriber reconnected to one of the masters is read', async () => {
  await using on = await lossyFeed();
  const sessions = await manySessions();
  const followers = sessions.map(({ id }) => follow(on.feed, id, 0));
  await have(followers, 1);
  const node = createRedis(f.server.nodes[1]!.url, 'patient', silentLogger, 'test-node');
  await node.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await Promise.all(sessions.map(({ id }) => f.send(id, message('2'))));
  await node.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await have(followers, 2);
  for (const { positions } of followers) expect(positions()).toEqual([1, 2]);
  node.disconnect();
});
