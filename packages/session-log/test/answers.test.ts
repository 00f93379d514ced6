/** Calls that wait for their client: which answers are taken, and what a session that awaits action takes. */
import { randomIds } from '@manyhands/base';
import { type ClientEventBody, type EventBody, primaryThreadId, type StopReason } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CallWait } from '../src/work-port.ts';
import { AGENT, type LogFixture, message, startLogFixture } from './log-fixture.ts';
import { answer, confirm, event, INTERRUPT, idle, startWorker, stateOf, threadOf, typesIn, type Worker } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

interface Awaiting {
  id: string;
  threadId: string;
  ask: string;
  custom: string;
  allowed: string;
  /** What a worker does next. */
  worker: Worker;
}

/** A session with one call of each kind, told idle for the two that wait. */
async function awaitingSession(queued: ClientEventBody[] = []): Promise<Awaiting> {
  const { id } = await f.session([message('go')]);
  const worker = await startWorker(f, id);
  const input = {};
  const uses = [
    event({ type: 'agent.tool_use', name: 'bash', input, evaluated_permission: 'ask', evaluation: { type: 'always_ask' } }),
    event({ type: 'agent.custom_tool_use', name: 'look_up', input }),
    event({ type: 'agent.tool_use', name: 'read', input, evaluated_permission: 'allow', evaluation: { type: 'always_allow' } }),
  ];
  const [ask, custom, allowed] = uses.map((use) => use.event.id) as [string, string, string];
  const calls: { id: string; waitsFor: CallWait }[] = [
    { id: ask, waitsFor: 'ask' },
    { id: custom, waitsFor: 'custom' },
  ];
  await worker.write({ entries: [{ processed: 1 }, ...uses], calls });
  if (queued.length > 0) await f.send(id, ...queued);
  await worker.write(idle('requires_action'));
  return { id, threadId: primaryThreadId(id), ask, custom, allowed, worker };
}
const isDue = async (id: string) => (await f.marks(id)).length > 0;
const sequenceOf = async (id: string) => (await stateOf(f, id)).sequence;
/** What tells that a session is idle for these calls. */
const toldIdle = (threadId: string, event_ids: string[]): object[] => {
  const stop = { stop_reason: { type: 'requires_action', event_ids } satisfies StopReason, stop_details: null };
  return [
    { type: 'session.thread_status_idle', session_thread_id: threadId, agent_name: AGENT.name, ...stop },
    { type: 'session.usage', usage: expect.any(Object), budget: null },
    { type: 'session.status_idle', ...stop },
  ];
};
const bodiesBehind = async (id: string, after: number) =>
  (await f.log.read(id, after, 100)).map(({ event: { id: _id, processed_at: _at, ...body } }) => body);

describe('a session that awaits action', () => {
  test('is idle and not due, with messages queued behind its calls', async () => {
    const { id, worker } = await awaitingSession([message('later')]);
    await worker.release();
    expect((await stateOf(f, id)).status).toBe('idle');
    expect(await isDue(id)).toBe(false);
  });

  test('refuses messages, names the calls, and stores nothing of the request', async () => {
    const { id, ask, custom } = await awaitingSession();
    const sequence = await sequenceOf(id);
    expect(await f.send(id, message('no'))).toEqual({ outcome: 'waiting', index: 0, calls: [ask, custom] });
    expect(await f.send(id, confirm(ask), message('no'))).toEqual({ outcome: 'waiting', index: 1, calls: [custom] });
    expect(await stateOf(f, id)).toMatchObject({ sequence, status: 'idle' });
    expect(await f.send(id, confirm(ask))).toMatchObject({ outcome: 'stored' });
  });

  test('takes a message behind the last answer, or behind an interrupt, of the same request', async () => {
    const one = await awaitingSession();
    expect(await f.send(one.id, confirm(one.ask), answer(one.custom), message('yes'))).toMatchObject({
      outcome: 'stored',
      wakes: [one.threadId],
    });
    const two = await awaitingSession();
    expect(await f.send(two.id, INTERRUPT, message('yes'))).toMatchObject({ outcome: 'stored', wakes: [two.threadId] });
  });

  test('keeps refusing messages while only some of its calls are answered, and starts work for a confirmation', async () => {
    const { id, ask, custom, worker, threadId } = await awaitingSession();
    await worker.release();
    expect(await f.send(id, confirm(ask))).toMatchObject({ outcome: 'stored', wakes: [threadId] });
    expect((await stateOf(f, id)).status).toBe('running');
    expect(await f.send(id, message('no'))).toMatchObject({ outcome: 'waiting', calls: [custom] });
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'stored', wakes: [] });
    expect(await f.send(id, message('yes'))).toMatchObject({ outcome: 'stored' });
    expect(await isDue(id)).toBe(true);
  });

  test('is told idle again, with the rest, by the result that leaves other calls open, and stays idle', async () => {
    const { id } = await f.session([message('go')]);
    const threadId = primaryThreadId(id);
    const worker = await startWorker(f, id);
    const uses = ['a', 'b', 'c'].map((name) => event({ type: 'agent.custom_tool_use', name, input: {} }, 1));
    const [a, b, c] = uses.map((use) => use.event.id) as [string, string, string];
    await worker.write({
      entries: [{ processed: 1 }, ...uses],
      calls: [a, b, c].map((use) => ({ id: use, waitsFor: 'custom' })),
    });
    await worker.write(idle('requires_action'));
    await worker.release();
    expect(await bodiesBehind(id, 5)).toEqual(toldIdle(threadId, [a, b, c]));

    expect(await f.send(id, answer(b))).toMatchObject({ outcome: 'stored', wakes: [] });
    expect(await bodiesBehind(id, 8)).toEqual([answer(b), ...toldIdle(threadId, [a, c])]);
    expect(await f.send(id, answer(a), answer(b))).toMatchObject({ outcome: 'stored', wakes: [] });
    expect(await bodiesBehind(id, 12)).toEqual([answer(a), ...toldIdle(threadId, [c])]);
    expect(await stateOf(f, id)).toMatchObject({ status: 'idle', sequence: 16 });
    expect(await isDue(id)).toBe(false);
    expect(await f.send(id, message('no'))).toMatchObject({ outcome: 'waiting', calls: [c] });
    const times = (await f.log.read(id, 8, 100)).map((entry) => entry.event.processed_at);
    expect(times).toEqual(times.toSorted());
    // The last one is work.
    expect(await f.send(id, answer(c))).toMatchObject({ outcome: 'stored', wakes: [threadId] });
    expect(await stateOf(f, id)).toMatchObject({ status: 'running', sequence: 17 });
    expect((await f.acquire(id)).epoch).toBe(worker.lease.epoch + 1);
  });

  test('is told idle again with what it has become after it was changed', async () => {
    const { id, ask, custom, worker, threadId } = await awaitingSession();
    await worker.release();
    const budget = { type: 'limit', max_list_cost: { amount: '500', currency: 'USD' } } as const;
    expect(await f.log.update(id, (await stateOf(f, id)).revision, { title: 'new', budget })).toMatchObject({ outcome: 'updated' });
    const { sequence } = await stateOf(f, id);
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'stored', wakes: [] });
    const [thread, usage, session] = toldIdle(threadId, [ask]);
    expect(await bodiesBehind(id, sequence)).toEqual([answer(custom), thread, { ...usage, budget }, session]);
    expect(await stateOf(f, id)).toMatchObject({ status: 'idle', title: 'new' });
    expect(await isDue(id)).toBe(false);
  });

  test('is not told idle for something that was answered meanwhile', async () => {
    const { id } = await f.session([message('go')]);
    const worker = await startWorker(f, id);
    const use = event({ type: 'agent.custom_tool_use', name: 'look_up', input: {} });
    const { head } = await worker.write({
      entries: [{ processed: 1 }, use],
      calls: [{ id: use.event.id, waitsFor: 'custom' }],
    });
    await f.send(id, answer(use.event.id));
    expect(await worker.append(idle('requires_action', { known: head }))).toEqual({ outcome: 'pending' });
    expect(await stateOf(f, id)).toMatchObject({ status: 'running', sequence: 4 });
  });
});

describe('an answer', () => {
  test('of a custom tool is handled on receipt and never queued; a confirmation is queued', async () => {
    const { id, ask, custom } = await awaitingSession();
    const sent = await f.send(id, answer(custom), confirm(ask));
    expect(sent).toMatchObject({
      outcome: 'stored',
      events: [
        { type: 'user.custom_tool_result', processed_at: expect.any(String) },
        { type: 'user.tool_confirmation', processed_at: null },
      ],
    });
    expect((await f.log.pending(id)).map(({ event }) => event.type)).toEqual(['user.tool_confirmation']);
  });

  test('given again, in any words and at any time, is told as it was first, and changes nothing', async () => {
    const { id, ask, custom, worker } = await awaitingSession();
    const first = await f.send(id, answer(custom, 'first'), confirm(ask, 'allow'));
    const sequence = await sequenceOf(id);
    const again = await f.send(id, answer(custom, 'second'), confirm(ask, 'deny'));
    expect(again).toMatchObject({ outcome: 'stored', wakes: [] });
    expect('events' in again && again.events).toEqual('events' in first && first.events);
    expect(await sequenceOf(id)).toBe(sequence);
    const [pending] = await f.log.pending(id);
    await worker.write({ entries: [{ processed: pending!.position }] });
    const later = await f.send(id, confirm(ask, 'deny'));
    expect(later).toMatchObject({ events: [{ result: 'allow', processed_at: expect.any(String) }] });
  });

  test('given twice in one request is stored once', async () => {
    const { id, custom } = await awaitingSession();
    const sent = await f.send(id, answer(custom, 'first'), answer(custom, 'second'));
    if (!('events' in sent)) throw new Error(sent.outcome);
    expect(sent.events[1]).toEqual(sent.events[0]);
    expect(
      (await f.log.listEvents(id, { limit: 100, order: 'asc' })).events.filter(({ type }) => type === 'user.custom_tool_result'),
    ).toHaveLength(1);
  });

  test('given by many at once is taken from one of them', async () => {
    const { id, custom } = await awaitingSession();
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => f.send(id, answer(custom, `${i}`))));
    const ids = all.map((sent) => ('events' in sent ? sent.events[0]!.id : sent.outcome));
    expect(new Set(ids).size).toBe(1);
  });

  test('that answers nothing is refused with the reason, and nothing of its request is stored', async () => {
    const { id, ask, custom, allowed } = await awaitingSession();
    const sequence = await sequenceOf(id);
    const stranger = randomIds.eventId(1);
    const cases: [ClientEventBody, string][] = [
      [confirm(stranger), 'unknown'],
      [answer('no id at all'), 'unknown'],
      [confirm(custom), 'other_kind'],
      [answer(ask), 'other_kind'],
      [confirm(allowed), 'not_asked'],
      [answer(allowed), 'other_kind'],
    ];
    for (const [body, why] of cases)
      expect(await f.send(id, answer(custom), body)).toMatchObject({ outcome: 'no_such_call', index: 1, why });
    expect(await sequenceOf(id)).toBe(sequence);
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'stored' });
  });

  test('that comes after the server gave one in its place is refused', async () => {
    const { id, ask, custom, worker } = await awaitingSession();
    const content = [{ type: 'text' as const, text: 'interrupted' }];
    const gone = (body: EventBody, hidden?: object) => ({ event: { id: randomIds.eventId(6), body, hidden } });
    await worker.write({
      entries: [
        gone({ type: 'agent.tool_result', tool_use_id: ask, is_error: true, content }),
        gone({ type: 'user.custom_tool_result', custom_tool_use_id: custom, is_error: true, content }, { synthetic: true }),
      ],
      calls: [
        { id: ask, waitsFor: null },
        { id: custom, waitsFor: 'taken' },
      ],
    });
    expect(await f.send(id, confirm(ask))).toMatchObject({ outcome: 'no_such_call', why: 'over' });
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'no_such_call', why: 'over' });
  });

  test('of the client and one in its place never stand both', async () => {
    const { id, custom, worker } = await awaitingSession();
    await f.send(id, answer(custom));
    const sequence = await sequenceOf(id);
    const body: EventBody = { type: 'user.custom_tool_result', custom_tool_use_id: custom, is_error: true, content: [] };
    const entries = [{ event: { id: randomIds.eventId(sequence), body } }];
    expect(await worker.append({ entries, calls: [{ id: custom, waitsFor: 'taken' }] })).toEqual({ outcome: 'pending' });
    expect(await sequenceOf(id)).toBe(sequence);
  });
});

describe('an interrupt', () => {
  test('of a session that awaits action is queued and starts work', async () => {
    const { id, threadId } = await awaitingSession();
    expect(await f.send(id, INTERRUPT)).toMatchObject({ outcome: 'stored', wakes: [threadId], events: [{ processed_at: null }] });
    expect((await stateOf(f, id)).status).toBe('running');
    expect((await threadOf(f, id)).state.status).toBe('running');
    expect((await typesIn(f, id)).at(-1)).toBe('user.interrupt');
  });
});
