/** The rest of a session with many threads: when it is told, for what reason, with what usage; and what keeps a thread from resting. */
import type { SessionEvent } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sessionKeys, threadKeys } from '../src/keys.ts';
import { type LogFixture, message, startLogFixture } from './log-fixture.ts';
import {
  answer,
  call,
  confirm,
  event,
  type Family,
  idle,
  messageTo,
  newThread,
  RUNNING,
  say,
  startFamily,
  stateOf,
  threadOf,
  typesIn,
} from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const CAP = { type: 'limit', max_list_cost: { amount: '2', currency: 'USD' } } as const;
const RAISED = { type: 'limit', max_list_cost: { amount: '900', currency: 'USD' } } as const;
const CAP_NANO = 20_000_000;

async function pair(family: Promise<Family>) {
  const { id, primary, children } = await family;
  return { id, primary, kid: children[0]!.worker, child: children[0]!.id };
}
const listed = async (id: string) => (await f.log.listEvents(id, { limit: 1_000, order: 'asc' })).events;
async function toldIdle(id: string): Promise<Extract<SessionEvent, { type: 'session.status_idle' }>[]> {
  return (await listed(id)).filter((one) => one.type === 'session.status_idle');
}
/** Of the last idle of the session. */
const stopOf = async (id: string) => (await toldIdle(id)).at(-1)?.stop_reason;

describe('a session', () => {
  test('is told idle once, with its usage right before, by the append that ends the work of its last thread', async () => {
    const { id, primary, kid } = await pair(startFamily(f, ['kid']));
    expect(await primary.write(idle())).toMatchObject({ sessionStatus: 'running' });
    await primary.release();
    expect(await toldIdle(id)).toEqual([]);
    expect(await stateOf(f, id)).toMatchObject({ status: 'running' });
    expect(await kid.write(idle())).toMatchObject({ sessionStatus: 'idle' });
    expect((await typesIn(f, id)).slice(-3)).toEqual(['session.thread_status_idle', 'session.usage', 'session.status_idle']);
    expect(await toldIdle(id)).toMatchObject([{ stop_reason: { type: 'end_turn' }, stop_details: null }]);
    expect(await stateOf(f, id)).toMatchObject({ status: 'idle', running_since_ms: null });
    await kid.release();
    expect(await f.marks(id)).toEqual([]);
  });

  test('is told running once for all its threads, and each of them for itself', async () => {
    const { id } = await pair(startFamily(f, ['kid']));
    const types = (await listed(id)).map((one) => one.type);
    expect(types.filter((type) => type === 'session.status_running')).toHaveLength(1);
    expect(types.filter((type) => type === 'session.thread_status_running')).toHaveLength(2);
  });

  test('is not told idle by an append that gives another thread work', async () => {
    const { id, primary, kid, child } = await pair(startFamily(f, ['kid']));
    await kid.write(idle());
    await kid.release();
    const message_ = messageTo(child, primary.lease.threadId);
    expect(await primary.write({ ...idle(), messages: [message_] })).toMatchObject({ sessionStatus: 'running', wakes: [child] });
    expect(await toldIdle(id)).toEqual([]);
    expect((await threadOf(f, id, child)).state).toMatchObject({ status: 'running' });
  });

  test('rests for the open calls of all its threads, in their order, whoever rests last and for what reason', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two']);
    const [one, two] = children.map(({ worker }) => worker);
    const calls = [call('custom'), call('ask'), call('custom')];
    await two!.write(calls[0]!.batch);
    await primary.write(calls[1]!.batch);
    await two!.write(calls[2]!.batch);
    await two!.write(idle('requires_action'));
    await primary.write(idle('requires_action'));
    await one!.write(idle('retries_exhausted'));
    expect(await stopOf(id)).toEqual({ type: 'requires_action', event_ids: calls.map((made) => made.id) });
    const threads = (await listed(id)).filter((told) => told.type === 'session.thread_status_idle');
    expect(threads.map((told) => told.stop_reason)).toEqual([
      { type: 'requires_action', event_ids: [calls[0]!.id, calls[2]!.id] },
      { type: 'requires_action', event_ids: [calls[1]!.id] },
      { type: 'retries_exhausted' },
    ]);
  });

  test('rests at its budget if any thread stopped at it, else for what its primary thread stopped for last', async () => {
    const { id, primary, kid } = await pair(startFamily(f, ['kid'], undefined, CAP));
    await kid.write({ entries: [], usage: { list_cost_nano: CAP_NANO } });
    await kid.write({ ...idle('budget_reached'), budget: 'reached' });
    await primary.write(idle());
    expect(await stopOf(id)).toEqual({ type: 'budget_reached' });

    const other = await pair(startFamily(f, ['kid']));
    const refusal = { type: 'refusal', category: 'cyber', explanation: 'no' } as const;
    await other.primary.write(idle('refusal', { details: refusal }));
    await other.kid.write(idle('retries_exhausted'));
    expect(await toldIdle(other.id)).toMatchObject([{ stop_reason: { type: 'refusal' }, stop_details: refusal }]);
  });

  test('is told rescheduling when all that is left at work waits to try again, and running when one goes on', async () => {
    const { id, primary, kid } = await pair(startFamily(f, ['kid']));
    const last = async () => (await listed(id)).findLast((told) => told.type.startsWith('session.status_'))?.type;
    await kid.write({ entries: [{ status: 'rescheduled' }] });
    expect([await last(), (await stateOf(f, id)).status]).toEqual(['session.status_running', 'running']);
    await primary.write(idle());
    expect([await last(), (await stateOf(f, id)).status]).toEqual(['session.status_rescheduled', 'rescheduling']);
    await kid.write({ entries: [RUNNING] });
    expect([await last(), (await stateOf(f, id)).status]).toEqual(['session.status_running', 'running']);
    await kid.write({ entries: [{ status: 'rescheduled' }] });
    expect(await last()).toBe('session.status_rescheduled');
    await kid.write(idle());
    expect([await last(), (await stateOf(f, id)).status]).toEqual(['session.status_idle', 'idle']);
  });

  test('counts time at which several threads work once, and each thread its own', async () => {
    const { id, primary, kid, child } = await pair(startFamily(f, ['kid']));
    const since = async (key: string, seconds: number) => {
      const now = Number(await f.redis.hget(key, 'running_since'));
      await f.redis.hset(key, 'running_since', now - seconds * 1_000);
    };
    await since(sessionKeys(id).state, 100);
    await since(threadKeys(id, primary.lease.threadId).state, 100);
    await since(threadKeys(id, child).state, 40);
    await kid.write(idle());
    expect((await stateOf(f, id)).active_ms).toBe(0);
    await primary.write(idle());
    const seconds = (ms: number) => Math.floor(ms / 10_000) * 10;
    expect(seconds((await stateOf(f, id)).active_ms)).toBe(100);
    expect(seconds((await threadOf(f, id)).state.active_ms)).toBe(100);
    expect(seconds((await threadOf(f, id, child)).state.active_ms)).toBe(40);
    // Its cost: eight cents an hour.
    const usage = (await listed(id)).findLast((told) => told.type === 'session.usage');
    expect(usage).toMatchObject({ usage: { list_cost: { amount: '0', currency: 'USD' } } });
    expect(Math.floor(usage!.usage.active_seconds / 10)).toBe(10);
  });

  test('adds up what its threads use, for each of them and for itself, however they interleave', async () => {
    const { id, primary, kid, child } = await pair(startFamily(f, ['kid']));
    const used = { input_tokens: 3, output_tokens: 5, cache_creation_5m: 7, web_search_requests: 1, list_cost_nano: 6_000_000 };
    await Promise.all(
      [primary, kid].map(async (worker) => {
        for (let i = 0; i < 10; i++) await worker.write({ entries: [], usage: used });
      }),
    );
    await kid.write({ entries: [], usage: { output_tokens: 1 } });
    const times = (n: number, more = 0) => ({
      input_tokens: 3 * n,
      output_tokens: 5 * n + more,
      cache_creation_5m: 7 * n,
      web_search_requests: n,
      list_cost_nano: 6_000_000 * n,
    });
    expect((await stateOf(f, id)).usage).toMatchObject(times(20, 1));
    expect((await threadOf(f, id)).state.usage).toMatchObject(times(10));
    expect((await threadOf(f, id, child)).state.usage).toMatchObject(times(10, 1));
    await primary.write(idle());
    await kid.write(idle());
    expect((await listed(id)).findLast((told) => told.type === 'session.usage')).toMatchObject({
      usage: {
        input_tokens: 60,
        output_tokens: 101,
        cache_creation: { ephemeral_5m_input_tokens: 140, ephemeral_1h_input_tokens: 0 },
        list_cost: { amount: '12', currency: 'USD' },
        server_tool_use: { web_search_requests: 20, web_fetch_requests: 0 },
      },
    });
  });

  test('does not rest until the outputs were captured at the sandbox’s current use count, which concerns its last thread only', async () => {
    const { id, primary, kid } = await pair(startFamily(f, ['kid']));
    await kid.write({ entries: [say('ran')], sandboxUses: 2 });
    expect((await primary.append(idle())).outcome).toBe('applied');
    expect(await kid.append(idle())).toEqual({ outcome: 'uncaptured', sandboxUses: 2 });
    expect((await stateOf(f, id)).status).toBe('running');
    expect(await kid.append({ ...idle('end_turn', { captured: 2 }), sandboxUses: 1 })).toEqual({ outcome: 'uncaptured', sandboxUses: 3 });
    expect(await kid.append(idle('end_turn', { captured: 2 }))).toMatchObject({
      outcome: 'applied',
      sandboxUses: 2,
      sessionStatus: 'idle',
    });
  });

  test('whose budget is raised gives work to every thread that stopped at it, and to no other', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two', 'three'], undefined, CAP);
    const [one, two, three] = children.map(({ worker }) => worker);
    await one!.write({ entries: [], usage: { list_cost_nano: CAP_NANO } });
    for (const worker of [primary, one!, two!]) await worker.write({ ...idle('budget_reached'), budget: 'reached' });
    await three!.write(idle());
    for (const worker of [primary, one!, two!, three!]) await worker.release();
    expect(await f.marks(id)).toEqual([]);
    const stopped = [primary, one!, two!].map(({ lease }) => lease.threadId);
    const raised = await f.log.update(id, 0, { budget: RAISED });
    expect(raised).toEqual({ outcome: 'updated', wakes: expect.any(Array) });
    expect('wakes' in raised && raised.wakes.toSorted()).toEqual(stopped.toSorted());
    expect((await f.marks(id)).map(({ threadId }) => threadId).toSorted()).toEqual(stopped.toSorted());
    expect((await threadOf(f, id, three!.lease.threadId)).state.status).toBe('idle');
  });
});

describe('an answer of the client', () => {
  test("reaches the thread that asked by the call's id alone, and no other thread gets work", async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two']);
    const [one, two] = children.map(({ worker }) => worker);
    const asked = call('ask');
    const custom = call('custom');
    await one!.write(asked.batch);
    await two!.write(custom.batch);
    for (const worker of [primary, one!, two!]) {
      await worker.write(idle(worker === primary ? 'end_turn' : 'requires_action'));
      await worker.release();
    }
    expect(await f.send(id, confirm(asked.id))).toMatchObject({ outcome: 'stored', wakes: [one!.lease.threadId] });
    expect(await f.send(id, answer(custom.id))).toMatchObject({ outcome: 'stored', wakes: [two!.lease.threadId] });
    expect((await typesIn(f, id, 0, one!.lease.threadId)).at(-1)).toBe('user.tool_confirmation');
    expect((await typesIn(f, id, 0, two!.lease.threadId)).at(-1)).toBe('user.custom_tool_result');
    expect((await f.log.pending(id, undefined, one!.lease.threadId)).map((entry) => entry.event.type)).toEqual(['user.tool_confirmation']);
    expect((await threadOf(f, id)).state.status).toBe('idle');
    // Given again, it is told as it was first.
    const [first] = (await listed(id)).filter((told) => told.type === 'user.custom_tool_result');
    expect(await f.send(id, answer(custom.id, 'other'))).toMatchObject({ outcome: 'stored', wakes: [], events: [first] });
    expect(await f.send(id, answer(asked.id))).toMatchObject({ outcome: 'no_such_call', why: 'other_kind' });
  });

  test('that leaves other calls of several threads open tells each of them idle again, and the session once', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two']);
    const calls = [1, 2].map(() => [call('custom'), call('custom')]);
    for (const [i, { worker }] of children.entries()) {
      for (const made of calls[i]!) await worker.write(made.batch);
      await worker.write(idle('requires_action'));
    }
    await primary.write(idle());
    const before = (await threadOf(f, id)).state.head;
    expect(await f.send(id, answer(calls[0]![0]!.id), answer(calls[1]![1]!.id))).toMatchObject({ outcome: 'stored', wakes: [] });
    expect(await typesIn(f, id, before)).toEqual([
      'user.custom_tool_result',
      'user.custom_tool_result',
      'session.thread_status_idle',
      'session.thread_status_idle',
      'session.usage',
      'session.status_idle',
    ]);
    expect(await stopOf(id)).toEqual({ type: 'requires_action', event_ids: [calls[0]![1]!.id, calls[1]![0]!.id] });
  });

  test('that is work for one thread does not let the session be told idle for what another still waits for', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two']);
    const [one, two] = children.map(({ worker }) => worker);
    const [left, given, last] = [call('custom'), call('custom'), call('custom')];
    await one!.write(left.batch);
    await one!.write(given.batch);
    await two!.write(last.batch);
    for (const worker of [one!, two!]) await worker.write(idle('requires_action'));
    await primary.write(idle());
    const before = (await threadOf(f, id)).state.head;
    expect(await f.send(id, answer(given.id), answer(last.id))).toMatchObject({ outcome: 'stored', wakes: [two!.lease.threadId] });
    expect(await typesIn(f, id, before)).toEqual(['user.custom_tool_result', 'user.custom_tool_result', 'session.thread_status_idle']);
    expect((await stateOf(f, id)).status).toBe('running');
  });
});

test('a message gives a thread at rest work, marks it due and asks for a wake-up; one that works has its worker', async () => {
  const { id, primary, kid, child } = await pair(startFamily(f, ['kid']));
  const send = () => primary.write({ entries: [], messages: [messageTo(child, primary.lease.threadId, 'more')] });
  expect(await send()).toMatchObject({ wakes: [] });
  expect(await kid.append(idle())).toEqual({ outcome: 'pending' });
  const [queued] = await f.log.pending(id, undefined, child);
  await kid.write({ entries: [{ processed: queued!.position }] });
  await kid.write(idle());
  await kid.release();
  expect((await f.marks(id)).map(({ threadId }) => threadId)).toEqual([primary.lease.threadId]);
  expect(await send()).toMatchObject({ wakes: [child], sessionStatus: 'running' });
  expect((await f.marks(id)).map(({ threadId }) => threadId)).toContain(child);
  // Nothing of it is shown in the primary's log but what the primary itself sent.
  expect((await listed(id)).map((told) => told.type)).not.toContain('agent.thread_message_received');
  const sent = (await typesIn(f, id)).filter((type) => type === 'agent.thread_message_sent');
  expect(sent).toHaveLength(3);
});

test('a child may have children, and a message to the primary is work for it', async () => {
  const { id, primary, kid, child } = await pair(startFamily(f, ['kid']));
  const grandchild = newThread('grandchild');
  await kid.write({ entries: [], threads: [grandchild], messages: [messageTo(grandchild.record.id, child)] });
  expect((await threadOf(f, id, grandchild.record.id)).state).toMatchObject({ parent_thread_id: child, status: 'running' });
  expect((await listed(id)).findLast((told) => told.type === 'session.thread_created')).toMatchObject({
    session_thread_id: grandchild.record.id,
    agent_name: 'grandchild',
  });
  await primary.write(idle());
  await primary.release();
  expect(await kid.write({ ...idle(), messages: [messageTo(primary.lease.threadId, child)] })).toMatchObject({
    wakes: [primary.lease.threadId],
  });
  expect((await f.log.pending(id)).map((entry) => entry.event.type)).toEqual(['agent.thread_message_received']);
  expect((await stateOf(f, id)).status).toBe('running');
});

test('a client message reaches the primary thread only, and is told to nobody else', async () => {
  const { id, primary, kid, child } = await pair(startFamily(f, ['kid']));
  await primary.write(idle());
  await primary.release();
  expect(await f.send(id, message('hello'))).toMatchObject({ wakes: [primary.lease.threadId] });
  expect(await f.log.pending(id, undefined, child)).toEqual([]);
  expect((await kid.append({ ...idle(), entries: [event({ type: 'agent.thinking' })] })).outcome).toBe('applied');
});
