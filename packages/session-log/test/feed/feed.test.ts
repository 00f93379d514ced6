import { randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFeed, type Feed } from '../../src/index.ts';
import { AGENT, type Fixture, message, startFixture } from '../fixture.ts';
import { countsAtRest, createGate, type Following, follow, NO_LOOKS, upTo, watchCommand } from './followers.ts';

let f: Fixture;
let feed: Feed;
beforeAll(async () => {
  f = await startFixture();
  feed = createFeed({ redisUrl: f.server.url, redis: f.redis, blobs: f.blobs, log: silentLogger, lookIntervalsMs: NO_LOOKS });
});
afterAll(async () => {
  await feed.close();
  await f[Symbol.asyncDispose]();
});

const have = (followers: Following[], count: number) =>
  until(() => followers.every(({ entries }) => entries.length >= count), { what: `${count} entries for each follower` });

test('many followers of many sessions get every entry in order and none twice while sessions are added', async () => {
  const sessions = await Promise.all(Array.from({ length: 20 }, () => f.session()));
  const followers: Following[] = [];
  await Promise.all(
    sessions.map(async ({ id }) => {
      for (let i = 0; i < 20; i++) {
        // Each joins somewhere in the middle, from the start of the log.
        if (i % 5 === 0) followers.push(follow(feed, id, 0), follow(feed, id, 0));
        await f.send(id, message(String(i)), message(`${i} again`));
      }
    }),
  );
  await have(followers, 40);
  for (const { positions, close } of followers) {
    expect(positions()).toEqual(upTo(40));
    close();
  }
});

test('what is appended around the moment of joining comes once, wherever the follower begins', async () => {
  const { id } = await f.session();
  const followers: Following[] = [];
  const sending = (async () => {
    for (let i = 0; i < 100; i++) await f.send(id, message(String(i)));
  })();
  for (let i = 0; i < 40; i++) {
    const state = (await f.log.get(id))!.state;
    followers.push(follow(feed, id, state.sequence));
  }
  await sending;
  await until(() => followers.every(({ entries }) => entries.at(-1)?.position === 100), { what: 'the last entry' });
  for (const { positions, close } of followers) {
    expect(positions()).toEqual(upTo(100, positions()[0]));
    close();
  }
});

test('a follower that joins late reads what it missed and then goes live', async () => {
  const { id } = await f.session();
  const early = follow(feed, id, 0);
  await f.send(id, message('1'), message('2'), message('3'));
  const late = follow(feed, id, 1);
  await f.send(id, message('4'));
  await until(() => late.entries.length === 3 && early.entries.length === 4, { what: 'both caught up' });
  expect(late.positions()).toEqual([2, 3, 4]);
  early.close();
  late.close();
});

test('a follower that cannot take more holds nobody up, is handed nothing meanwhile and misses nothing', async () => {
  const { id } = await f.session();
  const gate = createGate();
  let first = true;
  const slow = follow(feed, id, 0, {
    onEntries() {
      if (!first) return undefined;
      first = false;
      return gate.opened;
    },
  });
  const quick = follow(feed, id, 0);
  for (let i = 0; i < 30; i++) await f.send(id, message(String(i)));
  await have([quick], 30);
  expect(slow.deliveries).toHaveLength(1);
  gate.open();
  await have([slow], 30);
  expect(slow.positions()).toEqual(upTo(30));
  slow.close();
  quick.close();
});

test('a follower that had to wait for room and missed nothing meanwhile goes on without a read', async () => {
  let reads = 0;
  const redis = watchCommand(f.redis, 'mhRead', (read) => {
    reads++;
    return read();
  });
  const own = createFeed({ redisUrl: f.server.url, redis, blobs: f.blobs, log: silentLogger, lookIntervalsMs: NO_LOOKS });
  const { id } = await f.session();
  let gate = createGate();
  const slow = follow(own, id, 0, { onEntries: () => gate.opened });
  const quick = follow(own, id, 0);
  await f.send(id, message('1'));
  await have([slow, quick], 1);
  gate.open();
  await f.send(id, message('2'));
  await have([slow, quick], 2);
  await countsAtRest(f.redis);
  const before = reads;
  for (let i = 3; i <= 10; i++) {
    gate = createGate();
    await f.send(id, message(String(i)));
    await have([slow, quick], i);
    gate.open();
  }
  expect(reads).toBe(before);
  expect(slow.positions()).toEqual(upTo(10));
  await own.close();
});

test('all live followers of a thread get the same object for an entry, so that what is made of it can be kept by it', async () => {
  const { id } = await f.session([message('0')]);
  const followers = [follow(feed, id, 0), follow(feed, id, 0), follow(feed, id, 0)];
  await have(followers, 1);
  await f.send(id, message('1'), message('2'));
  // Too large for a message: they read it.
  await f.send(id, message('x'.repeat(20_000)));
  await have(followers, 4);
  const [one, ...others] = followers;
  for (const { entries } of others) for (const [i, entry] of entries.entries()) expect(entry).toBe(one!.entries[i]);
  for (const { close } of followers) close();
});

test('a subscription may be closed in any callback, and nothing comes after that', async () => {
  const { id } = await f.session();
  const other = follow(feed, id, 0, { onEntries: () => self.close() });
  const self = follow(feed, id, 0, { onEntries: () => self.close() });
  const bystander = follow(feed, id, 0);
  for (let i = 0; i < 5; i++) await f.send(id, message(String(i)));
  await have([bystander, other], 5);
  expect(self.entries.length).toBeLessThanOrEqual(1);
  // The last one to leave, and one that comes again at once.
  const again = follow(feed, id, 0, { onEntries: () => again.close() });
  other.close();
  bystander.close();
  await until(() => again.entries.length > 0, { what: 'an entry for the one that came again' });
});

test('a callback that fails ends its own follower with an error, and the others go on', async () => {
  const { id } = await f.session();
  const throwing = follow(feed, id, 0, {
    onEntries: () => {
      throw new Error('cannot');
    },
  });
  const rejecting = follow(feed, id, 0, { onEntries: () => Promise.reject(new Error('will not')) });
  const well = follow(feed, id, 0);
  await f.send(id, message('1'));
  await f.send(id, message('2'));
  await have([well], 2);
  await until(() => throwing.errors.length === 1 && rejecting.errors.length === 1, { what: 'both errors' });
  expect([throwing.positions(), rejecting.positions()].map((positions) => positions[0])).toEqual([1, 1]);
  await f.send(id, message('3'));
  await have([well], 3);
  expect(throwing.deliveries).toHaveLength(1);
  expect(rejecting.deliveries).toHaveLength(1);
  well.close();
});

test('previews reach all who asked for them and are stored nowhere', async () => {
  const { id } = await f.session();
  const threadId = primaryThreadId(id);
  const texts: [string, string][] = [];
  const subscriptions = ['a', 'b'].map((name) =>
    feed.previews(id, threadId, (frames) => {
      for (const { text } of frames) texts.push([name, text]);
      if (name === 'a') subscriptions[0]!.close();
    }),
  );
  const follower = follow(feed, id, 0);
  const preview = {
    epoch: 1,
    after_position: 0,
    n: 1,
    event_id: randomIds.eventId(0),
    kind: 'agent.message',
    start: false,
    index: 0,
  } as const;
  await f.send(id, message('the subscription is there'));
  await have([follower], 1);
  await f.writer.preview({ sessionId: id, threadId }, [{ ...preview, text: 'x' }]);
  await f.writer.preview({ sessionId: id, threadId }, [{ ...preview, text: 'y' }]);
  await until(() => texts.some(([, text]) => text === 'y'), { what: 'the second preview' });
  expect(texts).toEqual([
    ['a', 'x'],
    ['b', 'x'],
    ['b', 'y'],
  ]);
  expect(await f.log.read(id, 0, 10)).toHaveLength(1);
  expect(follower.entries).toHaveLength(1);
  follower.close();
  subscriptions[1]!.close();
});

test('an interrupt of the session reaches a child at work by its sequence number, and the child has a log of its own', async () => {
  const { id } = await f.session([message('go')]);
  const primary = primaryThreadId(id);
  const child = randomIds.id('thread');
  const content = [{ type: 'text', text: 'do' }] as const;
  const lease = await f.acquire(id);
  const made = await f.writer.append(lease, 1, {
    entries: [],
    threads: [{ record: { id: child, agent: AGENT }, eventId: randomIds.eventId(0) }],
    messages: [
      {
        to: child,
        sent: { id: randomIds.eventId(0), body: { type: 'agent.thread_message_sent', to_session_thread_id: child, content: [...content] } },
        received: {
          id: randomIds.eventId(0),
          body: { type: 'agent.thread_message_received', from_session_thread_id: primary, content: [...content] },
        },
      },
    ],
  });
  expect(made).toMatchObject({ outcome: 'applied', wakes: [child] });
  const interrupts: number[] = [];
  const subscription = feed.interrupts(id, child, (sequence) => void interrupts.push(sequence));
  const ofChild = follow(feed, id, 0, { threadId: child });
  const ofPrimary = follow(feed, id, 0);
  await have([ofChild], 1);
  expect(ofChild.entries[0]).toMatchObject({ position: 1, kind: 'queued', event: { type: 'agent.thread_message_received' } });
  await f.send(id, { type: 'user.interrupt', session_thread_id: null });
  await until(() => interrupts.length > 0, { what: 'the interrupt' });
  await until(() => ofPrimary.entries.some(({ event }) => event.type === 'user.interrupt'), { what: 'its entry' });
  expect(interrupts).toEqual([ofPrimary.entries.find(({ event }) => event.type === 'user.interrupt')!.sequence]);
  expect(ofChild.entries).toHaveLength(1);
  ofChild.close();
  ofPrimary.close();
  subscription.close();
});
