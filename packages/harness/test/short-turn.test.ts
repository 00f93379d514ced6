/** The short end of a turn: an answer that calls nothing, its idle and the end of the lease are one append (decision 0014). */
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Parking, script, startParking } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());

const types = (events: readonly { type: string }[]) => events.map(({ type }) => type);
const TURN = [
  'session.status_running',
  'session.thread_status_running',
  'user.message',
  'span.model_request_start',
  'agent.message',
  'span.model_request_end',
  'session.thread_status_idle',
  'session.usage',
  'session.status_idle',
];

test('a turn of one answer takes two appends', async () => {
  const session = await parking.session([]);
  await session.send(script([{ blocks: [{ text: 'hello' }] }]));
  await session.settle();
  expect(types(await session.history())).toEqual(TURN);
  expect(session.appends).toBe(2);
  expect(await session.leased()).toBe(false);
  expect(await session.due()).toBe(false);
});

test('a message that comes while the model answers is taken up in the same turn, with no idle between', async () => {
  const session = await parking.session([]);
  await session.send(script([{ blocks: [{ text: 'first' }] }]));
  let sent = false;
  await session.settle({
    async onAppend() {
      // As soon as the model is asked.
      if (sent) return;
      sent = true;
      await session.send(script([{ blocks: [{ text: 'second' }] }], 'more'));
    },
  });
  const events = await session.history();
  expect(types(events).filter((type) => type === 'session.status_idle')).toHaveLength(1);
  expect(types(events).filter((type) => type === 'agent.message')).toHaveLength(2);
  expect(types(events).at(-1)).toBe('session.status_idle');
});

for (const append of [1, 2] as const)
  for (const when of ['before', 'after'] as const)
    test(`a worker that dies ${when} append ${append} of a short turn costs nothing but the time`, async () => {
      const session = await parking.session([]);
      await session.send(script([{ blocks: [{ text: 'hello' }] }]));
      await session.settle({ death: { append, when } });
      const events = await session.history();
      expect(types(events).filter((type) => type === 'agent.message')).toHaveLength(1);
      expect(types(events).filter((type) => type === 'session.status_idle')).toHaveLength(1);
      expect(types(events).at(-1)).toBe('session.status_idle');
      expect((await parking.deps.log.get(session.id))!.state).toMatchObject({
        status: 'idle',
        primary_thread_id: primaryThreadId(session.id),
      });
    });
