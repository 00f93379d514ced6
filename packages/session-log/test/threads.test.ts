/** Many threads of one session: how they come to be, what the primary's log shows of them, and the one order of all they write. */
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { threadKeys } from '../src/keys.ts';
import type { LogEntry } from '../src/types.ts';
import { type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import {
  answer,
  call,
  confirm,
  dice,
  event,
  idle,
  messageTo,
  newThread,
  RUNNING,
  say,
  startFamily,
  startWorker,
  stateOf,
  threadOf,
  typesIn,
} from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const entriesOf = (id: string, threadId = primaryThreadId(id)) => f.log.read(id, 0, 10_000, threadId);
const told = ({ sequence, kind, event: { id, processed_at } }: LogEntry) => ({ sequence, kind, id, processed_at });
const body = ({ event: { id: _id, processed_at: _at, ...rest } }: LogEntry) => rest;
const copiesOf = async (id: string, child: string) => (await entriesOf(id)).filter(({ copyOf }) => copyOf === child);

describe('a new thread', () => {
  test('is created with its message by one call, which gives it work, marks it due and asks for a wake-up', async () => {
    const { id, primary } = await startFamily(f, []);
    const thread = newThread('kid');
    const { id: child } = thread.record;
    const batch = { entries: [say('I ask a helper')], threads: [thread], messages: [messageTo(child, primary.lease.threadId)] };
    expect(await primary.write(batch)).toMatchObject({ wakes: [child], sessionStatus: 'running' });
    expect(await threadOf(f, id, child)).toMatchObject({
      agent: { name: 'kid' },
      state: { status: 'running', head: 1, parent_thread_id: primary.lease.threadId },
    });
    expect(await stateOf(f, id)).toMatchObject({ children: 1 });
    expect((await f.marks(id)).map(({ threadId }) => threadId).toSorted()).toEqual([child, primary.lease.threadId].toSorted());
    expect((await typesIn(f, id)).slice(-3)).toEqual(['agent.message', 'session.thread_created', 'agent.thread_message_sent']);
    expect((await f.log.pending(id, undefined, child)).map(body)).toEqual([
      {
        type: 'agent.thread_message_received',
        from_session_thread_id: primary.lease.threadId,
        content: batch.messages[0]!.sent.body.content,
      },
    ]);
    const stored = await f.log.get(id);
    expect((await f.log.threads(stored!)).map((one) => one.id)).toEqual([primary.lease.threadId, child]);
  });

  test('and whatever else its append holds does not come to be when the append is refused', async () => {
    const { id, primary } = await startFamily(f, []);
    const { sequence } = await stateOf(f, id);
    const thread = newThread();
    const messages = [messageTo(thread.record.id, primary.lease.threadId), messageTo('sthr_stranger', primary.lease.threadId)];
    expect(await primary.append({ entries: [say('x')], threads: [thread], messages })).toEqual({ outcome: 'no_receiver', index: 1 });
    expect(await stateOf(f, id)).toMatchObject({ sequence, children: 0 });
    expect(await f.redis.keys(`*${thread.record.id}*`)).toEqual([]);
  });

  test('is acquired with its own agent, queue and log', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two']);
    const [one] = children;
    await one!.worker.release();
    const got = await f.writer.acquire({ sessionId: id, threadId: one!.id, workspaceId: WORKSPACE }, 'w', 5_000);
    if (!('lease' in got)) throw new Error(JSON.stringify(got));
    expect(got).toMatchObject({ thread: { id: one!.id, agent: { name: 'one' } }, queued: [], lease: { epoch: 2, recoveries: 0 } });
    expect(got.entries.map((entry) => entry.event.type)).toEqual([
      'agent.thread_message_received',
      'session.thread_status_running',
      'agent.thread_message_received',
    ]);
    expect(primary.lease.epoch).toBe(1);
  });
});

describe("copies in the primary's log", () => {
  test('of lifecycle, calls that wait for the client and answers share id, sequence number and time, and name the thread', async () => {
    const { id, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    const ask = call('ask');
    const custom = call('custom');
    await worker!.write({ ...ask.batch, entries: [say('not for the primary'), ...ask.batch.entries] });
    await worker!.write(custom.batch);
    await f.send(id, confirm(ask.id), answer(custom.id));
    const [queued] = await f.log.pending(id, undefined, child);
    await worker!.write({ entries: [{ processed: queued!.position }, { status: 'rescheduled' }, RUNNING] });
    await worker!.write(idle());

    const copies = await copiesOf(id, child);
    expect(copies.map((entry) => entry.event.type)).toEqual([
      'session.thread_status_running',
      'agent.tool_use',
      'agent.custom_tool_use',
      'user.tool_confirmation',
      'user.custom_tool_result',
      'user.tool_confirmation',
      'session.thread_status_rescheduled',
      'session.thread_status_running',
      'session.thread_status_idle',
    ]);
    const originals = await entriesOf(id, child);
    const sequences = new Set(copies.map(({ sequence }) => sequence));
    expect(copies.map(told)).toEqual(originals.filter(({ sequence }) => sequences.has(sequence)).map(told));
    expect(originals.every(({ copyOf }) => copyOf === null)).toBe(true);
    for (const copy of copies) expect(copy.event).toMatchObject({ session_thread_id: child });
    // Both appearances of the confirmation: the second says where the primary's log shows the first.
    const [first, second] = copies.filter((entry) => entry.event.type === 'user.tool_confirmation');
    expect([first!.kind, second!.kind, second!.arrival]).toEqual(['queued', 'event', first!.position]);
  });

  test("are listed once among the primary's events, those that still wait last, and nothing else of the child is", async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    const ask = call('ask');
    await worker!.write(ask.batch);
    await f.send(id, message('for the primary'), confirm(ask.id));
    const list = async (order: 'asc' | 'desc') => (await f.log.listEvents(id, { limit: 100, order })).events;
    const waiting = (await list('asc')).slice(-2);
    expect(waiting).toMatchObject([
      { type: 'user.message', processed_at: null },
      { type: 'user.tool_confirmation', processed_at: null, session_thread_id: child },
    ]);
    expect((await list('desc')).map((one) => one.id)).toEqual((await list('asc')).map((one) => one.id).toReversed());
    // The primary's worker is not told to take up what waits for the child.
    expect((await f.log.pending(id)).map(body)).toMatchObject([{ type: 'user.message' }]);
    const [queued] = await f.log.pending(id, undefined, child);
    await worker!.write({ entries: [say('secret'), { processed: queued!.position }] });
    await primary.write({ entries: [say('shown')] });
    const events = await list('asc');
    expect(events.filter((one) => one.type === 'user.tool_confirmation')).toMatchObject([{ session_thread_id: child }]);
    expect(new Set(events.map((one) => one.id)).size).toBe(events.length);
    expect(events.flatMap((one) => (one.type === 'agent.message' ? one.content.map(({ text }) => text) : []))).toEqual(['shown']);
  });

  test('are nothing that the primary would have to fold', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const [{ worker } = { worker: null }] = children;
    const before = (await threadOf(f, id)).state.uncheckpointed;
    const calls = Array.from({ length: 600 }, () => call('custom'));
    await worker!.write({ entries: calls.flatMap(({ batch }) => batch.entries), calls: calls.flatMap(({ batch }) => batch.calls ?? []) });
    expect((await threadOf(f, id)).state.uncheckpointed).toBe(before);
    // A checkpoint at what the primary itself wrote leaves nothing to fold either.
    const { position } = (await entriesOf(id)).findLast(({ copyOf }) => copyOf === null)!;
    await primary.write({ entries: [], checkpoint: { position, blob: 'b' } });
    expect((await threadOf(f, id)).state.uncheckpointed).toBe(0);
    await primary.write({ entries: [say('one')] });
    await primary.write({ entries: [say('two')], checkpoint: { position, blob: 'b' } });
    expect((await threadOf(f, id)).state.uncheckpointed).toBe(2);
  });

  test('refuse no rest of the primary: what siblings write concerns nobody else', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const own = call('custom');
    const { head } = await primary.write(own.batch);
    for (let i = 0; i < 3; i++) await children[0]!.worker.write(call('custom').batch);
    expect((await threadOf(f, id)).state.head).toBeGreaterThan(head);
    expect((await primary.append(idle('requires_action', { known: head }))).outcome).toBe('applied');
    expect(await stateOf(f, id)).toMatchObject({ status: 'running' });
  });
});

describe('the order of a session', () => {
  test.each([1, 2, Date.now() % 1_000_000])(
    'has no gap and no repetition over all logs while many append at random (seed %i)',
    async (seed) => {
      const { id, primary, children } = await startFamily(f, ['one', 'two']);
      const throwDice = dice(seed);
      const custom: string[] = [];
      const round = async (worker: typeof primary) => {
        for (let i = 0; i < 40; i++) {
          const made = call('custom');
          const choices = [
            { entries: [say(`${i}`)] },
            { entries: [say('a'), say('b'), event({ type: 'agent.thinking' })] },
            { entries: [RUNNING] },
            made.batch,
            { entries: [], messages: [messageTo(children[throwDice(2)]!.id, worker.lease.threadId)] },
          ];
          const chosen = choices[throwDice(choices.length)]!;
          await worker.append(chosen);
          if (chosen === made.batch) custom.push(made.id);
        }
      };
      const client = async () => {
        for (let i = 0; i < 40; i++) {
          const id_ = custom.splice(throwDice(custom.length || 1), 1)[0];
          await f.send(id, ...(id_ === undefined ? [message(`${i}`)] : [answer(id_), message('and')]));
        }
      };
      await Promise.all([round(primary), ...children.map(({ worker }) => round(worker)), client()]);

      const logs = await Promise.all([primaryThreadId(id), ...children.map((child) => child.id)].map((thread) => entriesOf(id, thread)));
      for (const log of logs) {
        expect(log.map(({ position }) => position)).toEqual(log.map((_, i) => i + 1));
        const sequences = log.map(({ sequence }) => sequence);
        expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
      }
      const own = logs.flat().filter(({ copyOf }) => copyOf === null);
      own.sort((a, b) => a.sequence - b.sequence);
      expect(own.map(({ sequence }) => sequence)).toEqual(own.map((_, i) => i + 1));
      expect((await stateOf(f, id)).sequence).toBe(own.length);
      for (const copy of logs.flat().filter(({ copyOf }) => copyOf !== null)) expect(told(copy)).toEqual(told(own[copy.sequence - 1]!));
      const times = own.flatMap((entry) => entry.event.processed_at ?? []);
      expect(times).toEqual(times.toSorted());
    },
  );

  test('lets an event of any thread be found by its id, in the logs of all threads that show it', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two']);
    for (let round = 0; round < 30; round++) {
      for (const { worker } of children)
        await worker.write({ entries: [event({ type: 'agent.thinking' }, worker.lease.sequence), ...call('custom').batch.entries] });
      await primary.write({ entries: [event({ type: 'agent.thinking' }, primary.lease.sequence)] });
    }
    for (const threadId of [primaryThreadId(id), ...children.map((child) => child.id)]) {
      const log = await entriesOf(id, threadId);
      const first = new Map<string, number>();
      for (const entry of log) if (!first.has(entry.event.id)) first.set(entry.event.id, entry.position);
      for (const [eventId, position] of [...first].slice(-40)) expect(await f.log.findEvent(id, eventId, threadId)).toBe(position);
    }
    const [foreign] = (await entriesOf(id, children[0]!.id)).filter((entry) => entry.event.type === 'agent.thinking');
    expect(await f.log.findEvent(id, foreign!.event.id)).toBeNull();
    expect(await f.log.findEvent(id, foreign!.event.id, children[1]!.id)).toBeNull();
  });

  test('counts numbers of appends for each thread by itself: repeated ones apply nothing, a gap is refused', async () => {
    const { id, children } = await startFamily(f, ['one', 'two']);
    const [one, two] = children.map(({ worker }) => worker.lease);
    const batch = { entries: [say('once')] };
    const first = await f.writer.append(one!, 2, batch);
    expect(await f.writer.append(one!, 2, batch)).toEqual(first);
    await expect(f.writer.append(one!, 4, batch)).rejects.toMatchObject({ code: 'internal' });
    expect((await f.writer.append(two!, 2, batch)).outcome).toBe('applied');
    await expect(f.writer.append({ ...two!, epoch: 0 }, 3, batch)).rejects.toMatchObject({ code: 'fenced' });
    expect((await f.writer.append(one!, 3, batch)).outcome).toBe('applied');
    expect((await typesIn(f, id, 0, one!.threadId)).filter((type) => type === 'agent.message')).toHaveLength(2);
  });
});

test('a thread of another session is no thread of this one', async () => {
  const { id } = await startFamily(f, []);
  const other = await startFamily(f, ['kid']);
  const child = other.children[0]!.id;
  const interrupt = { type: 'user.interrupt', session_thread_id: child } as const;
  expect(await f.send(id, message('x'), interrupt)).toEqual({ outcome: 'no_such_thread', index: 1 });
  expect(await f.writer.acquire({ sessionId: id, threadId: child, workspaceId: WORKSPACE }, 'w', 5_000)).toEqual({ missing: true });
  const stored = await f.log.get(id);
  expect(await f.log.thread(stored!, child)).toBeNull();
  expect(await f.log.listEvents(id, { limit: 10, order: 'asc' }, child)).toEqual({ events: [], nextCursor: null });
  await expect(f.writer.append({ ...other.children[0]!.worker.lease, sessionId: id }, 2, { entries: [say('x')] })).rejects.toMatchObject({
    code: 'fenced',
  });
  const primary = await startWorker(f, (await f.session([message('x')])).id);
  expect(await primary.append({ entries: [], messages: [messageTo(child, primary.lease.threadId)] })).toEqual({
    outcome: 'no_receiver',
    index: 0,
  });
  expect(await f.redis.exists(threadKeys(id, child).state)).toBe(0);
});

test('a thread sends itself no message', async () => {
  const { primary } = await startFamily(f, []);
  const { threadId } = primary.lease;
  const outcome = { outcome: 'no_receiver', index: 0 };
  expect(await primary.append({ ...idle(), messages: [messageTo(threadId, threadId)] })).toEqual(outcome);
});
