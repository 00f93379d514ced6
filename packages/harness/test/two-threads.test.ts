/** Two threads of one session on two workers at once: each may die, wait, be answered and be stopped by itself (DESIGN 3a). */
import type { ClientEventBody, SessionEvent } from '@manyhands/contract';
import type { ModelClient } from '@manyhands/model';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { errors, expectSound, only, told } from './histories.ts';
import {
  answer,
  builtin,
  cents,
  confirm,
  custom,
  type Death,
  INTERRUPT,
  type Parking,
  type Session,
  script,
  startParking,
  type Worker,
} from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());
beforeEach(() => {
  parking.woken.length = 0;
});

const call = (tool: string) => ({ blocks: [{ tool, input: {} }] });
const say = (text: string) => ({ blocks: [{ text }] });
const PRIMARY_TOOLS = [custom('look_up')];
const CHILD_TOOLS = [custom('fetch_it')];
type Steps = Parameters<typeof script>[0];
const TO_PRIMARY: Steps = [call('look_up'), say('primary done')];
const TO_CHILD: Steps = [call('fetch_it'), say('child done')];
/** Another sort of message than the primary's, so that no worker's model confuses them. */
const order = (steps: Steps): ClientEventBody => script(steps, 'an order');

interface Pair {
  session: Session;
  child: string;
}
/** A session whose primary thread and a child have work. */
async function pair({
  budget,
  primary = TO_PRIMARY,
  child = TO_CHILD,
}: {
  budget?: number;
  primary?: Steps;
  child?: Steps;
} = {}): Promise<Pair> {
  const session = await parking.session(PRIMARY_TOOLS, budget === undefined ? {} : { budget: cents(budget) });
  await session.send(script(primary));
  return { session, child: await session.spawn(CHILD_TOOLS, order(child)) };
}

/** What a thread tells of itself, copies of others left out. */
async function ownOf({ session }: Pair, threadId: string): Promise<SessionEvent[]> {
  const entries = await parking.deps.log.read(session.id, 0, 1000, threadId);
  return entries.flatMap(({ event, kind, copyOf }) => (kind === 'event' && copyOf === null ? [event] : []));
}
/** What the thread did, whatever else its session told in its log. */
async function did(one: Pair, threadId: string): Promise<string[]> {
  const events = await ownOf(one, threadId);
  return told(events.filter(({ type }) => !type.startsWith('session.status_'))).concat(
    only(events, 'session.thread_status_idle').map(({ stop_reason }) => `rests: ${stop_reason.type}`),
  );
}
async function callOf(one: Pair, threadId: string, name: string): Promise<string> {
  return only(await ownOf(one, threadId), 'agent.custom_tool_use').find((event) => event.name === name)!.id;
}
const idles = async ({ session }: Pair) => only(await session.history(), 'session.status_idle').map(({ stop_reason }) => stop_reason.type);

/** Every entry of every thread has its place in one order, and a copy shares that of its original. */
async function expectOneOrder({ session, child }: Pair): Promise<void> {
  const [primary, others] = await Promise.all([session.primary, child].map((id) => parking.deps.log.read(session.id, 0, 1000, id)));
  const own = [...primary!, ...others!].filter(({ copyOf }) => copyOf === null);
  expect(own.map(({ sequence }) => sequence).sort((a, b) => a - b)).toEqual(Array.from({ length: own.length }, (_, i) => i + 1));
  expect((await session.state()).sequence).toBe(own.length);
  for (const log of [primary!, others!]) {
    const sequences = log.map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
    const times = log.flatMap(({ kind, event }) => (kind === 'event' && event.processed_at ? [Date.parse(event.processed_at)] : []));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  }
  for (const { event, sequence, kind } of primary!.filter(({ copyOf }) => copyOf === child)) {
    const original = others!.find((entry) => entry.sequence === sequence);
    expect(original).toMatchObject({ kind, event: { id: event.id, type: event.type, processed_at: event.processed_at } });
  }
}

/** A model that says nothing until it is stopped. */
function silent(): ModelClient {
  return {
    ...parking.deps.model,
    stream: (_request, _listener, signal) =>
      new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true })),
  };
}
/** Both threads in a request of the model that does not end. */
async function bothAtWork(one: Pair, how: Worker = {}): Promise<Promise<string>[]> {
  const { session, child } = one;
  const working = [session.primary, child].map((threadId) => session.work(threadId, { ...how, deps: { ...how.deps, model: silent() } }));
  await until(
    async () =>
      (await Promise.all([session.primary, child].map((id) => ownOf(one, id)))).every(
        (events) => only(events, 'span.model_request_start').length === 1,
      ),
    { what: 'both threads ask the model' },
  );
  return working;
}

describe('two threads of a session', () => {
  test('run at once, rest on their own calls, and the session is told idle once, after the last', async () => {
    const one = await pair();
    const { session, child } = one;
    expect((await session.marks()).toSorted()).toEqual([session.primary, child].toSorted());
    await session.settle({}, true);
    expect(await idles(one)).toEqual(['requires_action']);
    const calls = [await callOf(one, session.primary, 'look_up'), await callOf(one, child, 'fetch_it')];
    const [idle] = only(await session.history(), 'session.status_idle');
    expect(idle!.stop_reason).toMatchObject({ type: 'requires_action', event_ids: expect.arrayContaining(calls) });
    await session.send(...calls.map((id) => answer(id, 'found')));
    await session.settle({}, true);
    expect(await idles(one)).toEqual(['requires_action', 'end_turn']);
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
    expect(await did(one, child)).toEqual([
      'agent.thread_message_received',
      'use fetch_it',
      'answer fetch_it',
      'agent.message',
      'rests: requires_action',
      'rests: end_turn',
    ]);
    await expectOneOrder(one);
    expect([await session.due(), await session.leased(), parking.followers.now]).toEqual([false, false, 0]);
  });

  test("of which the child's call is answered by its id alone: only the child goes on", async () => {
    const one = await pair();
    const { session, child } = one;
    await session.settle({}, true);
    const before = { epoch: await session.field('epoch'), did: await did(one, session.primary) };
    const sent = await session.send(answer(await callOf(one, child, 'fetch_it'), 'fetched'));
    expect(sent).toMatchObject({ outcome: 'stored', wakes: [child] });
    expect(await session.marks()).toEqual([child]);
    await session.settle({}, true);
    expect(await idles(one)).toEqual(['requires_action', 'requires_action']);
    expect(only(await session.history(), 'session.status_idle').at(-1)!.stop_reason).toEqual({
      type: 'requires_action',
      event_ids: [await callOf(one, session.primary, 'look_up')],
    });
    expect((await did(one, child)).at(-1)).toBe('rests: end_turn');
    expect({ epoch: await session.field('epoch'), did: await did(one, session.primary) }).toEqual(before);
    await expectOneOrder(one);
  });
});

describe('a worker that dies at any append of one of two threads', () => {
  async function life(death: Death | null): Promise<Pair> {
    const one = await pair();
    const { session, child } = one;
    const bound = death?.thread === 'child' ? { ...death, thread: child } : death ? { ...death, thread: session.primary } : null;
    await session.settle({ death: bound }, true);
    await session.send(
      answer(await callOf(one, child, 'fetch_it'), 'found'),
      answer(await callOf(one, session.primary, 'look_up'), 'found'),
    );
    await session.settle({ death: bound }, true);
    return one;
  }

  test('pauses its own thread alone, and the session tells the same', async () => {
    const calm = await life(null);
    const expected = { primary: await did(calm, calm.session.primary), child: await did(calm, calm.child) };
    const epochs = { primary: await calm.session.field('epoch'), child: await calm.session.field('epoch', calm.child) };
    expect(await idles(calm)).toEqual(['requires_action', 'end_turn']);
    for (const thread of ['primary', 'child'] as const) {
      const other = thread === 'child' ? 'primary' : 'child';
      const appends = calm.session.appendsOf(thread === 'child' ? calm.child : calm.session.primary);
      expect(appends).toBeGreaterThanOrEqual(5);
      for (let append = 1; append <= appends; append++) {
        for (const when of ['before', 'after'] as const) {
          const one = await life({ append, when, thread });
          const { session, child } = one;
          const place = `the ${thread}'s worker dead ${when} append ${append}`;
          expect({ primary: await did(one, session.primary), child: await did(one, child) }, place).toEqual(expected);
          expect(await idles(one), place).toEqual(['requires_action', 'end_turn']);
          expect(errors(await session.history()), place).toEqual([]);
          expectSound(await ownOf(one, child));
          await expectOneOrder(one);
          // Nobody but the dead worker's successor came twice.
          const ids = { primary: session.primary, child };
          expect(await session.field('epoch', ids[other]), place).toBe(epochs[other]);
          expect(Number(await session.field('epoch', ids[thread])), place).toBeGreaterThanOrEqual(Number(epochs[thread]));
          expect([await session.due(), await session.leased()], place).toEqual([false, false]);
        }
      }
    }
  }, 180_000);
});

describe('an interrupt of the whole session', () => {
  test('ends both threads at work, and the session is told idle once', async () => {
    const one = await pair();
    const { session, child } = one;
    const working = await bothAtWork(one);
    await session.send(INTERRUPT);
    expect(await Promise.all(working)).toEqual(['idle', 'idle']);
    await session.settle({}, true);
    expect(await idles(one)).toEqual(['end_turn']);
    expect(only(await session.history(), 'user.interrupt')).toHaveLength(1);
    expect(await did(one, child)).toEqual(['agent.thread_message_received', 'rests: end_turn']);
    expectSound(await ownOf(one, child));
    await expectOneOrder(one);
    // What follows is an ordinary turn of the primary alone.
    await session.send(script([say('next')], 'next'));
    expect(await session.marks()).toEqual([session.primary]);
    await session.settle();
    expect(told(await session.history()).slice(-2)).toEqual(['agent.message', 'idle end_turn']);
  });

  test('reaches a child even if its message to it is lost', async () => {
    const one = await pair();
    const { feed } = parking.deps;
    const working = await bothAtWork(one, { deps: { feed: { ...feed, interrupts: () => ({ close: () => {} }) } } });
    await one.session.send(INTERRUPT);
    expect(await Promise.all(working)).toEqual(['idle', 'idle']);
    expect(await did(one, one.child)).toEqual(['agent.thread_message_received', 'rests: end_turn']);
  });

  test('that comes while a child is about to rest on its call ends the call', async () => {
    for (const heard of [true, false]) {
      const one = await pair();
      const { session, child } = one;
      const { feed } = parking.deps;
      await session.work(child, {
        deps: heard ? {} : { feed: { ...feed, interrupts: () => ({ close: () => {} }) } },
        // The second append of this child is the answer with the call.
        async onAppend(_n, threadId) {
          if (threadId === child && session.appendsOf(child) === 2) await session.send(INTERRUPT);
        },
      });
      await session.settle();
      expect(await did(one, child), `heard: ${heard}`).toEqual([
        'agent.thread_message_received',
        'use fetch_it',
        'answer fetch_it',
        'rests: end_turn',
      ]);
      expect((await session.thread(child)).interrupt).toBe(0);
      expect(await idles(one)).toEqual(['end_turn']);
    }
  });

  test('that comes while a child is about to ask the model is not taken for handled by what it asks', async () => {
    const one = await pair({ primary: [say('primary done')], child: [say('first order done')] });
    const { session, child } = one;
    await session.settle({}, true);
    // So many entries that a checkpoint is written before the model is asked.
    await session.send(...Array.from({ length: 300 }, (): ClientEventBody => ({ type: 'user.interrupt', session_thread_id: child })));
    await session.send(script([say('primary done')], 'on'));
    await session.tell(child, order([say('not to be said')]));
    const { feed } = parking.deps;
    let heard = false;
    const interrupts: typeof feed.interrupts = (sessionId, threadId, onInterrupt) =>
      feed.interrupts(sessionId, threadId, (sequence) => {
        onInterrupt(sequence);
        heard = true;
      });
    parking.faults.slow = async (operation, key) => {
      if (operation !== 'put' || !key.includes('/context/')) return;
      parking.faults.slow = null;
      await session.send(INTERRUPT);
      await until(() => heard, { what: 'the child hears of the interrupt' });
    };
    await session.work(child, { deps: { feed: { ...feed, interrupts } } });
    await session.settle();
    expect(heard).toBe(true);
    expect(only(await ownOf(one, child), 'agent.message')).toHaveLength(1);
    expect((await session.thread(child)).interrupt).toBe(0);
  });

  test('ends a message to a child that no worker took up yet, and no message that came after it', async () => {
    const one = await pair();
    const { session, child } = one;
    await session.send(INTERRUPT);
    await session.work();
    await session.send(script([say('on')], 'on'));
    await session.tell(child, order([say('second order done')]));
    await session.settle({}, true);
    const spoken = only(await ownOf(one, child), 'agent.message').flatMap(({ content }) => content.map(({ text }) => text));
    expect(spoken).toEqual(['second order done']);
    expect(only(await ownOf(one, child), 'agent.thread_message_received')).toHaveLength(2);
    expect((await session.thread(child)).interrupt).toBe(0);
    await expectOneOrder(one);
  });

  test('that comes behind confirmations which no worker took up yet ends the calls and keeps the confirmations', async () => {
    const session = await parking.session(PRIMARY_TOOLS);
    await session.send(script([say('primary done')]));
    const asks = { blocks: [1, 2].map((n) => ({ tool: 'web_search', input: { query: `q${n}` } })) };
    const child = await session.spawn([builtin('web_search', 'always_ask')], order([asks, say('never')]));
    const one = { session, child };
    await session.settle();
    const calls = only(await ownOf(one, child), 'agent.tool_use').map(({ id }) => id);
    await session.send(...calls.map((id) => confirm(id, 'allow')));
    await session.send(INTERRUPT);
    await session.settle();
    expect((await did(one, child)).slice(3)).toEqual([
      'result web_search',
      'result web_search',
      'allow web_search',
      'allow web_search',
      'rests: requires_action',
      'rests: end_turn',
    ]);
    expect((await idles(one)).at(-1)).toBe('end_turn');
  });

  test('and the budget together let a child rest, its later message kept for when the budget is raised', async () => {
    const one = await pair({ budget: 1 });
    const { session, child } = one;
    await session.send(INTERRUPT);
    await session.work();
    await session.send(script([call('nothing_like_it'), say('never')], 'on'));
    await session.tell(child, order([say('second order done')]));
    await session.work();
    expect(await session.work(child)).toBe('idle');
    expect(await did(one, child)).toEqual(['agent.thread_message_received', 'agent.thread_message_received', 'rests: budget_reached']);
    await session.settle();
    // The child had work all the while.
    expect(await idles(one)).toEqual(['budget_reached']);
    await raise(session);
    await session.settle({}, true);
    expect((await did(one, child)).filter((line) => line === 'agent.message')).toHaveLength(1);
    expect((await idles(one)).at(-1)).toBe('end_turn');
  });
});

async function raise(session: Session): Promise<string[]> {
  const { revision } = await session.state();
  const raised = await parking.deps.log.update(session.id, revision, { budget: cents(1_000_000) });
  return 'wakes' in raised ? raised.wakes : [];
}

test('the budget stops both threads, and raising it wakes both', async () => {
  const again = (text: string) => [call('nothing_like_it'), say(text)];
  const one = await pair({ budget: 1, primary: again('primary done'), child: again('child done') });
  const { session, child } = one;
  await session.settle({}, true);
  expect(await idles(one)).toEqual(['budget_reached']);
  for (const threadId of [session.primary, child]) {
    expect((await did(one, threadId)).at(-1)).toBe('rests: budget_reached');
    expect(await session.work(threadId)).toBe('nothing');
  }
  expect((await raise(session)).toSorted()).toEqual([session.primary, child].toSorted());
  await session.settle({}, true);
  expect(await idles(one)).toEqual(['budget_reached', 'end_turn']);
  for (const threadId of [session.primary, child]) expect((await did(one, threadId)).slice(-1)).toEqual(['rests: end_turn']);
  await expectOneOrder(one);
});
