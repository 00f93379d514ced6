/** Pages of events, while events come, and are processed in another order than they came: none is lost, none is shown twice (I2). */
import { randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LogFixture, message, startLogFixture } from './log-fixture.ts';
import { call, confirm, dice, messageTo, say, startFamily } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const SEEDS = [1, 2, 3, Date.now() % 1_000_000];

/** A session whose log changes by `step` as chance wills: events come for the primary thread and for a child, and are taken up in any order. */
async function lively(throwDice: (below: number) => number) {
  const { id, primary, children } = await startFamily(f, ['kid']);
  const { worker: kid, id: child } = children[0]!;
  const threads = [
    { worker: primary, threadId: primaryThreadId(id) },
    { worker: kid, threadId: child },
  ];
  const steps = [
    () => f.send(id, message('a'), message('b')),
    () => primary.write({ entries: [say('x')] }),
    () => kid.write({ entries: [], messages: [messageTo(primaryThreadId(id), child)] }),
    async () => {
      const asked = call('ask');
      await kid.write(asked.batch);
      await f.send(id, confirm(asked.id));
    },
    ...[0, 1, 2].map(() => async () => {
      const { worker, threadId } = threads[throwDice(2)]!;
      const queued = await f.log.pending(id, undefined, threadId);
      const one = queued[throwDice(queued.length || 1)];
      if (one) await worker.write({ entries: [{ processed: one.position }] });
    }),
  ];
  return { id, step: () => steps[throwDice(steps.length)]!() };
}
async function listAll(id: string): Promise<string[]> {
  return (await f.log.listEvents(id, { limit: 1_000, order: 'asc' })).events.map((one) => one.id);
}
async function walk(
  id: string,
  order: 'asc' | 'desc',
  throwDice: (below: number) => number,
  step: () => Promise<unknown>,
): Promise<string[]> {
  const seen: string[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = await f.log.listEvents(id, { limit: 1 + throwDice(4), order, cursor });
    seen.push(...page.events.map((one) => one.id));
    if (page.nextCursor === null) return seen;
    cursor = page.nextCursor;
    // Less than a page shows, or an ascending list would never end.
    if (throwDice(2) === 0) await step();
  }
}

test.each(SEEDS)('descending pages show what there was when the first was made, each event once (seed %i)', async (seed) => {
  const throwDice = dice(seed);
  const { id, step } = await lively(throwDice);
  for (let i = 0; i < 60; i++) await step();
  const there = await listAll(id);
  const seen = await walk(id, 'desc', throwDice, step);
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.toSorted()).toEqual(there.toSorted());
});

test.each(SEEDS)('ascending pages show what there is by the last of them, each event once (seed %i)', async (seed) => {
  const throwDice = dice(seed);
  const { id, step } = await lively(throwDice);
  for (let i = 0; i < 60; i++) await step();
  const seen = await walk(id, 'asc', throwDice, step);
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.toSorted()).toEqual((await listAll(id)).toSorted());
});

test('a list that nobody changes is the same in both orders, in pages of any size', async () => {
  const throwDice = dice(7);
  const { id, step } = await lively(throwDice);
  for (let i = 0; i < 80; i++) await step();
  const there = await listAll(id);
  for (const limit of [1, 2, 7, 100]) {
    for (const order of ['asc', 'desc'] as const) {
      const seen = await walk(
        id,
        order,
        () => limit - 1,
        async () => {},
      );
      expect(seen).toEqual(order === 'asc' ? there : there.toReversed());
    }
  }
});

test('a message of another thread is shown when it is processed, and not before', async () => {
  const { id, primary, children } = await startFamily(f, ['kid']);
  const sent = messageTo(primaryThreadId(id), children[0]!.id);
  await children[0]!.worker.write({ entries: [], messages: [sent] });
  await f.send(id, message('behind it'));
  const first = await f.log.listEvents(id, { limit: 1_000, order: 'asc' });
  expect(first.events.map((one) => one.id)).not.toContain(sent.received.id);
  expect(await f.log.findEvent(id, sent.received.id)).not.toBeNull();
  expect(await f.log.findEvent(id, randomIds.eventId(0))).toBeNull();
  // What is queued behind it was given out before it is processed.
  const page = await f.log.listEvents(id, { limit: first.events.length, order: 'asc' });
  expect(page.nextCursor).toBeNull();
  const [waiting] = await f.log.pending(id);
  await f.send(id, message('one more'));
  const { nextCursor } = await f.log.listEvents(id, { limit: first.events.length, order: 'asc' });
  await primary.write({ entries: [{ processed: waiting!.position }] });
  const rest = await f.log.listEvents(id, { limit: 100, order: 'asc', cursor: nextCursor! });
  expect(rest.events.map((one) => one.id)[0]).toBe(sent.received.id);
});
