/** Calls that wait for their client: which answers are taken, and what a parked session takes. */
import { randomIds } from '@manyhands/base';
import type { ClientEventBody, EventBody } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CallWait, type Lease, NO_USAGE, usageReport } from '../src/index.ts';
import { type Fixture, message, startFixture } from './fixture.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const confirm = (id: string, result: 'allow' | 'deny' = 'allow'): ClientEventBody => ({
  type: 'user.tool_confirmation',
  tool_use_id: id,
  result,
});
const answer = (id: string, text = 'out'): ClientEventBody => ({
  type: 'user.custom_tool_result',
  custom_tool_use_id: id,
  content: [{ type: 'text', text }],
});
const interrupt: ClientEventBody = { type: 'user.interrupt', session_thread_id: null };
const idle = (event_ids: string[]): EventBody => ({
  type: 'session.status_idle',
  stop_reason: { type: 'requires_action', event_ids },
  stop_details: null,
});

interface Parked {
  id: string;
  ask: string;
  custom: string;
  allowed: string;
  lease: Lease;
  /** What a worker does next; counts its appends. */
  append(batch: Parameters<Fixture['writer']['append']>[2]): ReturnType<Fixture['writer']['append']>;
  state(): Promise<{ status: string; head: number }>;
}

/** A session with one call of each kind, told idle for the two that wait. */
async function parkedSession(queued: ClientEventBody[] = []): Promise<Parked> {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  const [ask, custom, allowed] = [1, 2, 3].map(() => randomIds.eventId(lease.head)) as [string, string, string];
  let n = 0;
  const append: Parked['append'] = (batch) => f.writer.append(lease, ++n, batch);
  const use = (event: string, body: EventBody) => ({ event: { id: event, body } });
  const input = {};
  const calls: { id: string; waitsFor: CallWait }[] = [
    { id: ask, waitsFor: 'ask' },
    { id: custom, waitsFor: 'custom' },
  ];
  const applied = await append({
    entries: [
      { stamp: 1 },
      use(ask, { type: 'agent.tool_use', name: 'bash', input, evaluated_permission: 'ask', evaluation: { type: 'always_ask' } }),
      use(custom, { type: 'agent.custom_tool_use', name: 'look_up', input }),
      use(allowed, { type: 'agent.tool_use', name: 'read', input, evaluated_permission: 'allow', evaluation: { type: 'always_allow' } }),
    ],
    calls,
  });
  if (queued.length > 0) await f.send(id, ...queued);
  const head = applied.outcome === 'applied' ? applied.head + queued.length : 0;
  const parked = await append({
    entries: [{ event: { id: randomIds.eventId(head), body: idle([ask, custom]) } }],
    state: { status: 'idle' },
    parkAt: head,
  });
  expect(parked.outcome).toBe('applied');
  return {
    id,
    ask,
    custom,
    allowed,
    lease,
    append,
    state: async () => (await f.log.get(id))!.state,
  };
}
const dirty = async (id: string) => (await f.writer.due(1000, 0)).some(({ sessionId }) => sessionId === id);

describe('a parked session', () => {
  test('is idle and not due, with messages queued behind its calls', async () => {
    const { id, lease, state } = await parkedSession([message('later')]);
    await f.writer.release(lease, false);
    expect((await state()).status).toBe('idle');
    expect(await dirty(id)).toBe(false);
  });

  test('refuses messages, names the calls, and stores nothing of the request', async () => {
    const { id, ask, custom, state } = await parkedSession();
    const { head } = await state();
    const refused = await f.send(id, message('no'));
    expect(refused).toMatchObject({ outcome: 'waiting', index: 0 });
    expect('calls' in refused && refused.calls.toSorted()).toEqual([ask, custom].toSorted());
    expect(await f.send(id, confirm(ask), message('no'))).toEqual({ outcome: 'waiting', index: 1, calls: [custom] });
    expect(await state()).toMatchObject({ head, status: 'idle' });
    expect(await f.send(id, confirm(ask))).toMatchObject({ outcome: 'stored' });
  });

  test('takes a message behind the last answer, or behind an interrupt, of the same request', async () => {
    const one = await parkedSession();
    expect(await f.send(one.id, confirm(one.ask), answer(one.custom), message('yes'))).toMatchObject({
      outcome: 'stored',
      startsWork: true,
    });
    const two = await parkedSession();
    expect(await f.send(two.id, interrupt, message('yes'))).toMatchObject({ outcome: 'stored', startsWork: true });
  });

  test('keeps refusing messages while only some of its calls are answered, and starts work for each answer', async () => {
    const { id, ask, custom, lease, state } = await parkedSession();
    await f.writer.release(lease, false);
    expect(await f.send(id, confirm(ask))).toMatchObject({ outcome: 'stored', startsWork: true });
    expect((await state()).status).toBe('running');
    expect(await f.send(id, message('no'))).toMatchObject({ outcome: 'waiting', calls: [custom] });
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'stored' });
    expect(await f.send(id, message('yes'))).toMatchObject({ outcome: 'stored' });
    expect(await dirty(id)).toBe(true);
  });

  test('is told idle again, with the rest, by the result that leaves other calls open, and stays idle', async () => {
    const { id } = await f.session([message('go')]);
    const lease = await f.acquire(id);
    const uses = ['a', 'b', 'c'].map((name) => ({
      id: randomIds.eventId(1),
      body: { type: 'agent.custom_tool_use' as const, name, input: {} },
    }));
    const [a, b, c] = uses.map((use) => use.id) as [string, string, string];
    await f.writer.append(lease, 1, {
      entries: [{ stamp: 1 }, ...uses.map((event) => ({ event }))],
      calls: uses.map((use) => ({ id: use.id, waitsFor: 'custom' })),
    });
    const { list_cost: _cost, server_tool_use: _tools, ...counts } = usageReport(NO_USAGE, 5, null);
    const usage: EventBody = { type: 'session.usage', usage: counts, budget: null };
    const triple = (ids: string[]): EventBody[] => [
      { ...idle(ids), type: 'session.thread_status_idle', session_thread_id: 'sthr_x', agent_name: 'n "event_ids":[]' } as EventBody,
      usage,
      idle(ids),
    ];
    const entries = triple([a, b, c]).map((body) => ({ event: { id: randomIds.eventId(4), body } }));
    expect(await f.writer.append(lease, 2, { entries, state: { status: 'idle' }, parkAt: 5 })).toMatchObject({ outcome: 'applied' });
    await f.writer.release(lease, false);
    const { epoch } = (await f.log.get(id))!.state;

    const told = async (after: number) =>
      (await f.log.read(id, after, 100)).map(({ event: { id: _id, processed_at: _at, ...body } }) => body);
    expect(await f.send(id, answer(b))).toMatchObject({ outcome: 'stored', startsWork: false });
    expect(await told(8)).toEqual([answer(b), ...triple([a, c])]);
    expect(await f.send(id, answer(a), answer(b))).toMatchObject({ outcome: 'stored', startsWork: false });
    expect(await told(12)).toEqual([answer(a), ...triple([c])]);
    expect((await f.log.get(id))!.state).toMatchObject({ status: 'idle', epoch, head: 16 });
    expect(await dirty(id)).toBe(false);
    expect(await f.send(id, message('no'))).toMatchObject({ outcome: 'waiting', calls: [c] });
    const times = (await f.log.read(id, 8, 100)).map(({ event }) => event.processed_at);
    expect(times).toEqual(times.toSorted());
    // The last one is work.
    expect(await f.send(id, answer(c))).toMatchObject({ outcome: 'stored', startsWork: true });
    expect((await f.log.get(id))!.state).toMatchObject({ status: 'running', head: 17 });
  });

  test('leaves it to a worker to tell idle again after the session was changed', async () => {
    const { id, custom, lease, state } = await parkedSession();
    await f.writer.release(lease, false);
    expect(await f.log.update(id, (await f.log.get(id))!.state.revision, { title: 'new' })).toBe('updated');
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'stored', startsWork: true });
    expect((await state()).status).toBe('running');
  });

  test('is not told idle for something that was answered meanwhile', async () => {
    const { id } = await f.session([message('go')]);
    const lease = await f.acquire(id);
    const use = randomIds.eventId(1);
    const custom: EventBody = { type: 'agent.custom_tool_use', name: 'look_up', input: {} };
    await f.writer.append(lease, 1, {
      entries: [{ stamp: 1 }, { event: { id: use, body: custom } }],
      calls: [{ id: use, waitsFor: 'custom' }],
    });
    await f.send(id, answer(use));
    const entries = [{ event: { id: randomIds.eventId(3), body: idle([use]) } }];
    expect(await f.writer.append(lease, 2, { entries, state: { status: 'idle' }, parkAt: 3 })).toEqual({ outcome: 'pending' });
    expect((await f.log.get(id))!.state).toMatchObject({ status: 'running', head: 4 });
  });
});

describe('an answer', () => {
  test('of a custom tool is handled on receipt and never queued; a confirmation is queued', async () => {
    const { id, ask, custom } = await parkedSession();
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
    const { id, ask, custom, state, append } = await parkedSession();
    const first = await f.send(id, answer(custom, 'first'), confirm(ask, 'allow'));
    const { head } = await state();
    const again = await f.send(id, answer(custom, 'second'), confirm(ask, 'deny'));
    expect(again).toMatchObject({ outcome: 'stored', startsWork: false });
    expect('events' in again && again.events).toEqual('events' in first && first.events);
    expect((await state()).head).toBe(head);
    const [pending] = await f.log.pending(id);
    await append({ entries: [{ stamp: pending!.position }] });
    const later = await f.send(id, confirm(ask, 'deny'));
    expect(later).toMatchObject({ events: [{ result: 'allow', processed_at: expect.any(String) }] });
  });

  test('given twice in one request is stored once', async () => {
    const { id, custom } = await parkedSession();
    const sent = await f.send(id, answer(custom, 'first'), answer(custom, 'second'));
    if (!('events' in sent)) throw new Error(sent.outcome);
    expect(sent.events[1]).toEqual(sent.events[0]);
    expect(
      (await f.log.listEvents(id, { limit: 100, order: 'asc' })).events.filter(({ type }) => type === 'user.custom_tool_result'),
    ).toHaveLength(1);
  });

  test('given by many at once is taken from one of them', async () => {
    const { id, custom } = await parkedSession();
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => f.send(id, answer(custom, `${i}`))));
    const ids = all.map((sent) => ('events' in sent ? sent.events[0]!.id : sent.outcome));
    expect(new Set(ids).size).toBe(1);
  });

  test('that answers nothing is refused with the reason, and nothing of its request is stored', async () => {
    const { id, ask, custom, allowed, state } = await parkedSession();
    const { head } = await state();
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
    expect((await state()).head).toBe(head);
    expect(await f.send(id, answer(custom))).toMatchObject({ outcome: 'stored' });
  });

  test('that comes after the server gave one in its place is refused', async () => {
    const { id, ask, custom, append } = await parkedSession();
    const content = [{ type: 'text' as const, text: 'interrupted' }];
    const gone = (body: EventBody, hidden?: object) => ({ event: { id: randomIds.eventId(6), body, hidden } });
    await append({
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
    const { id, custom, append, state } = await parkedSession();
    await f.send(id, answer(custom));
    const { head } = await state();
    const body: EventBody = { type: 'user.custom_tool_result', custom_tool_use_id: custom, is_error: true, content: [] };
    const entries = [{ event: { id: randomIds.eventId(head), body } }];
    expect(await append({ entries, calls: [{ id: custom, waitsFor: 'taken' }] })).toEqual({ outcome: 'pending' });
    expect((await state()).head).toBe(head);
  });
});

describe('an interrupt', () => {
  test('of a parked session is queued and starts work', async () => {
    const { id, state } = await parkedSession();
    expect(await f.send(id, interrupt)).toMatchObject({ outcome: 'stored', startsWork: true, events: [{ processed_at: null }] });
    expect((await state()).status).toBe('running');
  });
});
