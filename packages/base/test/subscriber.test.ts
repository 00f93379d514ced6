/** What a subscriber promises, with one server, with a master behind sentinels, and with a cluster. */
import { silentLogger, startTestRedisCluster, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRedis, createSubscriber, type Redis } from '../src/index.ts';
import { KINDS, startPlace, type TestPlace } from './redis-servers.ts';

/** Of a cluster each is on another master. */
const CHANNELS = ['{a}:log', '{b}:log', '{c}:log'];
const [CHANNEL = ''] = CHANNELS;
const FAILOVER_MS = 60_000;

function clientOf(url: string) {
  const redis = createRedis(url, 'patient', silentLogger, 'test');
  return Object.assign(redis, { [Symbol.dispose]: () => redis.disconnect() });
}
function subscriberTo(url: string) {
  const subscriber = createSubscriber(url, silentLogger, 'test-subscriber');
  return Object.assign(subscriber, { [Symbol.asyncDispose]: () => subscriber.close() });
}

/** Subscriptions of `channel` on the server that messages are published to. */
async function subscriptions(place: TestPlace, channel: string): Promise<number> {
  using redis = clientOf((await place.master(channel)).url);
  const [, count] = (await redis.call('PUBSUB', 'SHARDNUMSUB', channel)) as [string, number];
  return count;
}
async function onEach(place: TestPlace, command: string, ...args: string[]): Promise<unknown[]> {
  return Promise.all(
    place.servers.map(async ({ url }) => {
      using redis = clientOf(url);
      return await redis.call(command, ...args);
    }),
  );
}

describe.each(KINDS)('on %s', (kind) => {
  let place: TestPlace;
  let publisher: Redis;
  beforeAll(async () => {
    place = await startPlace(kind);
    publisher = clientOf(place.url);
  });
  afterAll(async () => {
    publisher?.disconnect();
    await place?.[Symbol.asyncDispose]();
  });

  /** Of a subscriber to all channels: what arrives of what is published in the moment when a gap is told. */
  async function following() {
    const subscriber = subscriberTo(place.url);
    const heard: string[] = [];
    const subscribed = CHANNELS.map((channel) => subscriber.subscribe(channel, (message) => heard.push(message)));
    await Promise.all(subscribed.map(({ ready }) => ready));
    let gaps = 0;
    subscriber.onGap(() => {
      const gap = ++gaps;
      for (const channel of CHANNELS) void publisher.spublish(channel, `${channel} after gap ${gap}`).catch(() => {});
    });
    return {
      subscriber,
      heard,
      gaps: () => gaps,
      /** Every channel lost its subscription at most as often as gaps were told, and has it again. */
      async works() {
        await until(() => gaps > 0, { what: 'a gap is told', timeoutMs: 30_000 });
        await until(() => heard.includes(`${CHANNEL} after gap ${gaps}`), { what: 'what was published at the last gap arrived' });
        for (const channel of CHANNELS) {
          await publisher.spublish(channel, `${channel} in the end`);
          await until(() => heard.includes(`${channel} in the end`), { what: `${channel} is heard` });
        }
      },
      [Symbol.asyncDispose]: () => subscriber.close(),
    };
  }

  test('all listeners of a channel hear what is published once one of them is ready, over one subscription', async () => {
    await using subscriber = subscriberTo(place.url);
    const heard: string[] = [];
    const first = subscriber.subscribe(CHANNEL, (message) => heard.push(`first ${message}`));
    const second = subscriber.subscribe(CHANNEL, (message) => heard.push(`second ${message}`));
    const other = subscriber.subscribe('{b}:log', (message) => heard.push(`other ${message}`));
    await Promise.all([first.ready, second.ready, other.ready]);
    expect(await subscriptions(place, CHANNEL)).toBe(1);
    expect(await publisher.spublish(CHANNEL, 'hello')).toBe(1);
    await until(() => heard.length === 2, { what: 'both heard it' });
    first.close();
    await publisher.spublish(CHANNEL, 'more');
    await until(() => heard.length === 3, { what: 'one hears more' });
    expect(heard).toEqual(['first hello', 'second hello', 'second more']);
  });

  test('a message that a script publishes arrives', async () => {
    await using subscriber = subscriberTo(place.url);
    const heard: string[] = [];
    await subscriber.subscribe('{a}:scripted', (message) => heard.push(message)).ready;
    await publisher.eval("return redis.call('SPUBLISH', KEYS[1], ARGV[1])", 1, '{a}:scripted', 'from a script');
    await until(() => heard.length === 1, { what: 'it is heard' });
    expect(heard).toEqual(['from a script']);
  });

  test('the last listener that goes takes the subscription with it', async () => {
    await using subscriber = subscriberTo(place.url);
    const [one, two] = [subscriber.subscribe(CHANNEL, () => {}), subscriber.subscribe(CHANNEL, () => {})];
    await one.ready;
    one.close();
    one.close();
    expect(await subscriptions(place, CHANNEL)).toBe(1);
    two.close();
    await until(async () => (await subscriptions(place, CHANNEL)) === 0, { what: 'nobody is subscribed' });
  });

  test('a channel that is wanted and not wanted in quick turns costs a handful of commands and ends as it was wanted last', async () => {
    await using subscriber = subscriberTo(place.url);
    await subscriber.subscribe('{a}:other', () => {}).ready;
    await onEach(place, 'CONFIG', 'RESETSTAT');
    for (let i = 0; i < 200; i++) subscriber.subscribe(CHANNEL, () => {}).close();
    const heard: string[] = [];
    await subscriber.subscribe(CHANNEL, (message) => heard.push(message)).ready;
    await publisher.spublish(CHANNEL, 'hello');
    await until(() => heard.length > 0, { what: 'it is heard' });
    const stats = (await onEach(place, 'INFO', 'commandstats')).join('\n');
    const calls = [...stats.matchAll(/^cmdstat_s(?:un)?subscribe:calls=(\d+)/gm)].map((match) => Number(match[1]));
    expect(calls.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(4);
  });

  test('a listener that throws keeps nothing from the others', async () => {
    await using subscriber = subscriberTo(place.url);
    const heard: string[] = [];
    const broken = subscriber.subscribe(CHANNEL, () => {
      throw new Error('broken');
    });
    await broken.ready;
    await subscriber.subscribe(CHANNEL, (message) => heard.push(message)).ready;
    await publisher.spublish(CHANNEL, 'one');
    await publisher.spublish(CHANNEL, 'two');
    await until(() => heard.length === 2, { what: 'both are heard' });
  });

  test('a subscription that is closed before it was made, or is asked of a closed subscriber, is aborted', async () => {
    const subscriber = subscriberTo(place.url);
    const early = subscriber.subscribe(CHANNEL, () => {});
    early.close();
    await expect(early.ready).rejects.toMatchObject({ code: 'aborted' });
    const open = subscriber.subscribe(CHANNEL, () => {});
    await subscriber.close();
    await expect(open.ready).rejects.toMatchObject({ code: 'aborted' });
    await expect(subscriber.subscribe(CHANNEL, () => {}).ready).rejects.toMatchObject({ code: 'aborted' });
    await until(async () => (await subscriptions(place, CHANNEL)) === 0, { what: 'nobody is subscribed' });
  });

  test('a killed connection is made again, and the gap is told when all subscriptions exist', async () => {
    await using followed = await following();
    await onEach(place, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
    await followed.works();
    // One for each connection at most.
    expect(followed.gaps()).toBeLessThanOrEqual(CHANNELS.length);
  });

  test('a channel that nobody wants any more is not asked for again', async () => {
    await using subscriber = subscriberTo(place.url);
    const gone = subscriber.subscribe(CHANNEL, () => {});
    const kept = subscriber.subscribe('{a}:kept', () => {});
    await Promise.all([gone.ready, kept.ready]);
    await onEach(place, 'CLIENT', 'KILL', 'TYPE', 'pubsub');
    gone.close();
    await until(async () => (await subscriptions(place, '{a}:kept')) === 1, { what: 'the other one is back' });
    await until(async () => (await subscriptions(place, CHANNEL)) === 0, { what: 'nobody is subscribed' });
  });

  test('a master that is killed is survived', { timeout: FAILOVER_MS }, async () => {
    await using followed = await following();
    await place.failover(CHANNEL, (master) => master.kill());
    await followed.works();
  });

  test('a master that falls silent is survived', { timeout: FAILOVER_MS }, async () => {
    await using followed = await following();
    await place.failover(CHANNEL, (master) => master.pause());
    await followed.works();
  });

  test('a subscription that is asked for while nothing answers is made as soon as something does, and is no gap', {
    timeout: FAILOVER_MS,
  }, async () => {
    await Promise.all(place.servers.map((server) => server.stop()));
    await using subscriber = subscriberTo(place.url);
    let gaps = 0;
    subscriber.onGap(() => gaps++);
    const heard: string[] = [];
    let made = false;
    const { ready } = subscriber.subscribe(CHANNEL, (message) => heard.push(message));
    void ready.then(() => (made = true));
    expect(made).toBe(false);
    await Promise.all(place.servers.map((server) => server.restart()));
    await ready;
    await publisher.spublish(CHANNEL, 'hello');
    await until(() => heard.length === 1, { what: 'it is heard' });
    expect(gaps).toBe(0);
  });
});

test('in a cluster each master with channels has one connection, and channels follow a slot that moves', {
  timeout: FAILOVER_MS,
}, async () => {
  await using cluster = await startTestRedisCluster({ password: 'secret' });
  using publisher = clientOf(cluster.url);
  await using subscriber = subscriberTo(cluster.url);
  const heard: string[] = [];
  const channels = [...CHANNELS, '{a}:more', '{c}:more'];
  await Promise.all(channels.map((channel) => subscriber.subscribe(channel, (message) => heard.push(message)).ready));
  const connections = async () => {
    const lists = await Promise.all(
      cluster.nodes.map(async ({ url }) => {
        using redis = clientOf(url);
        return String(await redis.call('CLIENT', 'LIST', 'TYPE', 'pubsub'))
          .split('\n')
          .filter(Boolean).length;
      }),
    );
    return lists.join();
  };
  expect(await connections()).toBe('1,1,1');

  const from = await cluster.masterOf(CHANNEL);
  const to = cluster.nodes.find((node) => node !== from);
  const told: string[] = [];
  subscriber.onGap(() => {
    told.push('gap');
    void publisher.spublish(CHANNEL, 'after the move').catch(() => {});
  });
  using source = clientOf(from.url);
  using target = clientOf(to?.url ?? '');
  const slot = String(await source.call('CLUSTER', 'KEYSLOT', CHANNEL));
  const [sourceId, targetId] = [String(await source.call('CLUSTER', 'MYID')), String(await target.call('CLUSTER', 'MYID'))];
  await target.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', sourceId);
  await source.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', targetId);
  await target.call('CLUSTER', 'SETSLOT', slot, 'NODE', targetId);
  await source.call('CLUSTER', 'SETSLOT', slot, 'NODE', targetId);
  await until(() => heard.includes('after the move'), { what: 'the channel is heard at its new place' });
  expect(told.length).toBeGreaterThan(0);
  heard.length = 0;
  for (const channel of channels) await publisher.spublish(channel, channel);
  await until(() => heard.length >= channels.length, { what: 'all channels are heard' });
  expect(heard.sort()).toEqual([...channels].sort());
  expect(await source.call('PUBSUB', 'SHARDCHANNELS')).not.toContain(CHANNEL);
});

test('while a master of a cluster stays away, the rest is asked a few times a second at most and goes on', async () => {
  await using cluster = await startTestRedisCluster();
  using publisher = clientOf(cluster.url);
  await using subscriber = subscriberTo(cluster.url);
  const heard: string[] = [];
  await Promise.all(CHANNELS.map((channel) => subscriber.subscribe(channel, (message) => heard.push(message)).ready));
  const away = await cluster.masterOf(CHANNEL);
  const rest = cluster.nodes.filter((node) => node !== away);
  using other = clientOf(rest[0]?.url ?? '');
  await other.config('RESETSTAT');
  const begin = performance.now();
  await away.kill();
  await until(async () => /cluster_state:fail/.test(await other.cluster('INFO')), { what: 'the master counts as gone' });
  const calls = Number(/cmdstat_cluster\|slots:calls=(\d+)/.exec(await other.info('commandstats'))?.[1] ?? 0);
  expect(calls).toBeLessThan(5 + (performance.now() - begin) / 100);
  await away.restart();
  await until(async () => /cluster_state:ok/.test(await other.cluster('INFO')), { what: 'all slots are served' });
  for (const channel of CHANNELS) {
    // The subscription may be made anew only after the slot is served again.
    await until(async () => (await publisher.spublish(channel, channel)) === 1, { what: `${channel} is subscribed` });
    await until(() => heard.includes(channel), { what: `${channel} is heard` });
  }
});
