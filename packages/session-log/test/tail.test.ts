import { randomIds } from '@manyhands/base';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Fixture, message, startFixture } from './fixture.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

function follow(sessionId: string, after: number) {
  const positions: number[] = [];
  const subscription = f.tail.subscribe(sessionId, after, (entries) => void positions.push(...entries.map((e) => e.position)));
  return { positions, subscription };
}
const upTo = (n: number, from = 1) => Array.from({ length: n - from + 1 }, (_, i) => from + i);

test('many followers of many sessions get every entry in order and none twice while sessions are added', async () => {
  const sessions = await Promise.all(Array.from({ length: 10 }, () => f.session()));
  const followers = sessions.flatMap(({ id }) => [follow(id, 0), follow(id, 0)]);
  await Promise.all(
    sessions.map(async ({ id }) => {
      for (let i = 0; i < 20; i++) await f.send(id, message(String(i)));
    }),
  );
  await until(() => followers.every(({ positions }) => positions.length >= 20), { timeoutMs: 10_000, what: 'all entries' });
  for (const { positions, subscription } of followers) {
    expect(positions).toEqual(upTo(20));
    subscription.close();
  }
});

test('a follower that joins late reads what it missed and then goes live', async () => {
  const { id } = await f.session();
  const early = follow(id, 0);
  await f.send(id, message('1'), message('2'), message('3'));
  const late = follow(id, 1);
  await f.send(id, message('4'));
  await until(() => late.positions.length === 3 && early.positions.length === 4, { timeoutMs: 5_000, what: 'both caught up' });
  expect(late.positions).toEqual([2, 3, 4]);
  early.subscription.close();
  late.subscription.close();
});

test('a follower that cannot take more holds nobody up and misses nothing', async () => {
  const { id } = await f.session();
  const slow: number[] = [];
  let free!: () => void;
  const blocked = new Promise<void>((resolve) => {
    free = resolve;
  });
  let first = true;
  const subscription = f.tail.subscribe(id, 0, (entries) => {
    slow.push(...entries.map((e) => e.position));
    if (!first) return undefined;
    first = false;
    return blocked;
  });
  const quick = follow(id, 0);
  for (let i = 0; i < 30; i++) await f.send(id, message(String(i)));
  await until(() => quick.positions.length === 30, { timeoutMs: 5_000, what: 'the quick follower' });
  expect(slow.length).toBeLessThan(30);
  free();
  await until(() => slow.length === 30, { timeoutMs: 5_000, what: 'the slow follower' });
  expect(slow).toEqual(upTo(30));
  subscription.close();
  quick.subscription.close();
});

test('followers go on after Redis was killed and came back, and nothing acknowledged is lost', async () => {
  const { id } = await f.session();
  const follower = follow(id, 0);
  await f.send(id, message('before'));
  await f.server.kill();
  const sent = f.send(id, message('during'));
  await f.server.restart();
  expect((await sent).outcome).toBe('stored');
  await f.send(id, message('after'));
  await until(() => follower.positions.length >= 3, { timeoutMs: 15_000, what: 'entries after the restart' });
  expect(follower.positions).toEqual([1, 2, 3]);
  follower.subscription.close();
});

test('previews reach followers and are stored nowhere', async () => {
  const { id } = await f.session();
  const texts: string[] = [];
  const subscription = f.tail.subscribePreviews(id, (frames) => void texts.push(...frames.map((frame) => frame.text)));
  await until(
    async () => {
      await f.writer.preview(id, [
        { epoch: 1, after_position: 0, n: 1, event_id: randomIds.eventId(0), kind: 'agent.message', start: false, index: 0, text: 'x' },
      ]);
      return texts.length > 0;
    },
    { timeoutMs: 5_000, what: 'a preview' },
  );
  expect(await f.log.read(id, 0, 10)).toEqual([]);
  subscription.close();
});
