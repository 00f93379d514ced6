/** What a worker remembers of a thread is used when the log still has it, and only then (decision 0014). */
import { threadKeys } from '@manyhands/session-log';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Context } from '../src/context/context.ts';
import { createContextMemory, type Remembered } from '../src/context/context-memory.ts';
import { type Parking, script, startParking } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());

/** The fake model says what it was told. */
const echo = (said: string) => script([{ blocks: [{ text: `heard ${said}` }] }], said);
const answers = (events: readonly { type: string; content?: unknown }[]) =>
  events.filter(({ type }) => type === 'agent.message').map(({ content }) => (content as { text: string }[])[0]!.text);

/** The positions from which a session's log is read at its leases. */
async function reads(worker: object, turns: string[], between: () => Promise<void> = async () => {}) {
  const session = await parking.session([]);
  const first: number[] = [];
  const { writer } = parking.deps;
  const watched = {
    ...writer,
    async acquire(...given: Parameters<typeof writer.acquire>) {
      const got = await writer.acquire(...given);
      if ('lease' in got) first.push(got.entries[0]?.position ?? 0);
      return got;
    },
  };
  for (const said of turns) {
    await session.send(echo(said));
    await session.settle({ deps: { writer: watched, ...worker } });
    await between();
  }
  return { session, first };
}

test('a worker that has run the thread before is brought what came since, and asks the model with the whole conversation', async () => {
  const { session, first } = await reads({ contexts: createContextMemory() }, ['one', 'two', 'three']);
  // Nine of each turn and a queued one.
  expect(first).toEqual([1, 11, 21]);
  expect(answers(await session.history())).toEqual(['heard one', 'heard two', 'heard three']);
});

test('what is remembered of a log that lost its end is not used', async () => {
  const contexts = createContextMemory();
  const stale: Remembered[] = [];
  const watching = {
    ...contexts,
    keep(threadId: string, remembered: Remembered) {
      // As after a fail-over: another entry stands there now.
      contexts.keep(threadId, { ...remembered, last: { ...remembered.last, id: `${remembered.last.id.slice(0, -1)}x` } });
      stale.push(remembered);
    },
  };
  const { session, first } = await reads({ contexts: watching }, ['one', 'two']);
  expect(stale).toHaveLength(2);
  expect(first).toEqual([1, 1]);
  expect(answers(await session.history())).toEqual(['heard one', 'heard two']);
});

test('another worker that wrote meanwhile makes what is remembered older, not wrong', async () => {
  const mine = createContextMemory();
  const session = await parking.session([]);
  for (const [said, contexts] of [
    ['one', mine],
    ['two', createContextMemory()],
    ['three', mine],
  ] as const) {
    await session.send(echo(said));
    await session.settle({ deps: { contexts } });
  }
  const events = await session.history();
  expect(answers(events)).toEqual(['heard one', 'heard two', 'heard three']);
  const { head } = await session.thread();
  expect(mine.lastOf(session.primary)?.position).toBe(head);
  const { log } = threadKeys(session.id, session.primary);
  expect(log).toContain(session.primary);
});

test('long contexts and contexts with media are not kept, and each is given to one turn only', () => {
  const memory = createContextMemory();
  const last = { position: 1, id: 'sevt_1' };
  const context = (more: object) => ({ messages: [], tokens: 0, grown: 0, ...more }) as unknown as Context;
  memory.keep('long', { context: context({ tokens: 60_000 }), last });
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } };
  memory.keep('media', { context: context({ messages: [{ role: 'user', content: [image] }] }), last });
  memory.keep('short', { context: context({}), last });
  expect(['long', 'media', 'short'].map((id) => memory.lastOf(id)?.position)).toEqual([undefined, undefined, 1]);
  expect(memory.take('short')).not.toBeNull();
  expect(memory.take('short')).toBeNull();
});
