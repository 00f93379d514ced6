/** Sessions whose calls wait for their client, and workers that die at every single append of such a session's life. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectSound, only, told, use } from './histories.ts';
import { answer, builtin, confirm, custom, type Death, INTERRUPT, type Parking, script, startParking } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());

const TOOLS = [builtin('web_search', 'always_ask'), custom('look_up'), custom('write_down')];
const CALLS = [
  { tool: 'look_up', input: { key: 'a' } },
  { tool: 'web_search', input: { query: 'q' } },
  { tool: 'write_down', input: { text: 'b' } },
  { tool: 'bash', input: { command: 'never' } },
];
const END = { blocks: [{ text: 'done' }] };

const USES = ['use look_up', 'use web_search', 'use write_down', 'use bash'];
const PARKED = ['session.status_running', 'user.message', ...USES, 'result bash', 'idle look_up+web_search+write_down'];

describe('a parked session', () => {
  test('leaves no lease and no mark, tells what it waits for, and a wake-up too many appends nothing', async () => {
    const session = await parking.session(TOOLS);
    await session.send(script([{ blocks: CALLS }, END]));
    await session.settle();
    expect(told(await session.history())).toEqual(PARKED);
    expect(await session.state()).toMatchObject({ status: 'idle', running_since_ms: null });
    expect([await session.due(), await session.leased()]).toEqual([false, false]);
    const { head } = await session.thread();
    await session.settle();
    expect(await session.work()).toBe('nothing');
    expect((await session.thread()).head).toBe(head);
  });

  test('tells idle again with the rest after each answer, and goes on after the last', async () => {
    const session = await parking.session(TOOLS);
    await session.send(script([{ blocks: CALLS }, END]));
    await session.settle();
    await session.send(answer(await use(session, 'write_down'), 'written'));
    await session.settle();
    await session.send(confirm(await use(session, 'web_search'), 'allow'));
    await session.settle();
    await session.send(answer(await use(session, 'look_up'), 'found'));
    await session.settle();
    const events = await session.history();
    expectSound(events);
    expect(told(events)).toEqual([
      ...PARKED,
      'answer write_down',
      'idle look_up+web_search',
      'allow web_search',
      'idle look_up',
      'answer look_up',
      'session.status_running',
      'result web_search',
      'agent.message',
      'idle end_turn',
    ]);
  });

  test('is never told idle for calls that were answered before it was', async () => {
    const early: [string, Death | null][] = [
      ['a live worker', null],
      ['a worker that dies then', { append: 2, when: 'after' }],
    ];
    for (const [which, death] of early) {
      const session = await parking.session([custom('look_up'), builtin('web_search', 'always_ask')]);
      await session.send(script([{ blocks: CALLS.slice(0, 2) }, END]));
      await session.settle({
        death,
        async onAppend(n) {
          if (n !== 2) return;
          await session.send(answer(await use(session, 'look_up'), 'found'), confirm(await use(session, 'web_search'), 'allow'));
        },
      });
      const events = await session.history();
      expectSound(events);
      expect(told(events), which).toEqual([
        'session.status_running',
        'user.message',
        'use look_up',
        'use web_search',
        'answer look_up',
        'allow web_search',
        'result web_search',
        'agent.message',
        'idle end_turn',
      ]);
    }
  });

  test('takes up what its client said while it worked, whatever the feed brings', async () => {
    const session = await parking.session([builtin('web_search', 'always_ask')]);
    const { feed } = parking.deps;
    await session.send(script([{ blocks: [CALLS[1]!, CALLS[3]!] }, END]));
    await session.work(session.primary, {
      deps: { feed: { ...feed, follow: () => ({ close: () => {} }) } },
      async onAppend(n) {
        // Behind it comes the result of the call that is refused: the word lies before it in the log.
        if (n === 2) await session.send(confirm(await use(session, 'web_search'), 'allow'));
      },
    });
    await session.settle();
    expect(told(await session.history()).slice(-4)).toEqual(['allow web_search', 'result web_search', 'agent.message', 'idle end_turn']);
  });

  test('passes over no answer that comes while a checkpoint is written', async () => {
    const session = await parking.session([custom('look_up')]);
    // So many that the first answer makes a checkpoint worth while.
    await session.send(...Array.from({ length: 250 }, () => INTERRUPT));
    await session.send(script([{ blocks: [CALLS[0]!] }, END]));
    let answered = false;
    parking.faults.slow = async (operation, key) => {
      if (answered || operation !== 'put' || !key.includes('/context/')) return;
      answered = true;
      await session.send(answer(await use(session, 'look_up'), 'found'));
    };
    await session.settle();
    parking.faults.slow = null;
    expect(answered).toBe(true);
    expect(told(await session.history()).slice(-4)).toEqual(['use look_up', 'answer look_up', 'agent.message', 'idle end_turn']);
  });

  test('of an interrupt gets an error for every call, and is idle again without another request', async () => {
    const session = await parking.session(TOOLS);
    await session.send(script([{ blocks: CALLS }, END]));
    await session.settle();
    await session.send(INTERRUPT);
    await session.settle();
    const events = await session.history();
    expectSound(events);
    const results = ['answer look_up', 'result web_search', 'answer write_down'];
    const after = told(events).slice(PARKED.length);
    expect([...after.slice(0, 3)].toSorted()).toEqual(results.toSorted());
    expect(after.slice(3)).toEqual(['user.interrupt', 'idle end_turn']);
    const errors = [...only(events, 'user.custom_tool_result'), ...only(events, 'agent.tool_result').slice(1)];
    for (const { content, is_error } of errors) {
      expect(is_error).toBe(true);
      expect(content).toEqual([{ type: 'text', text: 'Tool execution was interrupted before completion. Please retry.' }]);
    }
    // What follows is an ordinary turn, with every call answered before the model.
    await session.send(script([END], 'next'));
    await session.settle();
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
  });

  test('of a redirect takes up the message behind the interrupt, with no idle between', async () => {
    const session = await parking.session([custom('look_up')]);
    await session.send(script([{ blocks: [CALLS[0]!] }, END]));
    await session.settle();
    await session.send(INTERRUPT, script([{ blocks: [{ text: 'the other way' }] }]));
    await session.settle();
    expect(told(await session.history()).slice(-6)).toEqual([
      'answer look_up',
      'user.interrupt',
      'session.status_running',
      'user.message',
      'agent.message',
      'idle end_turn',
    ]);
  });

  test('keeps messages that were queued before it parked, and takes them up when its work is done', async () => {
    const session = await parking.session([custom('look_up')]);
    await session.send(script([{ blocks: [CALLS[0]!] }, END]), script([{ blocks: [{ text: 'second' }] }], 'two'));
    await session.settle();
    expect(told(await session.history())).toEqual([
      'session.status_running',
      'user.message',
      'use look_up',
      'idle look_up',
      'user.message',
    ]);
    expect(await session.due()).toBe(false);
    await session.send(answer(await use(session, 'look_up'), 'found'));
    await session.settle();
    expect(told(await session.history()).slice(4)).toEqual([
      'answer look_up',
      'session.status_running',
      'agent.message',
      'user.message',
      'agent.message',
      'idle end_turn',
    ]);
  });
});

describe('a worker that dies at any append', () => {
  /** A session's whole life; the worker dies once, the client notices nothing. */
  async function life(verdict: 'allow' | 'deny', death: Death | null) {
    const session = await parking.session(TOOLS);
    await session.send(script([{ blocks: CALLS }, END]));
    await session.settle({ death });
    await session.send(answer(await use(session, 'look_up'), 'found'), confirm(await use(session, 'web_search'), verdict));
    await session.settle({ death });
    await session.send(answer(await use(session, 'write_down'), 'written'));
    await session.settle({ death });
    return session;
  }

  test.each(['allow', 'deny'] as const)(
    'loses no answer, repeats no event and asks for no call twice, with a call that the client may %s',
    async (verdict) => {
      const calm = await life(verdict, null);
      const expected = told(await calm.history());
      expect(expected.filter((line) => line.startsWith('idle'))).toEqual([
        'idle look_up+web_search+write_down',
        'idle write_down',
        'idle end_turn',
      ]);
      for (let append = 1; append <= calm.appends; append++) {
        for (const when of ['before', 'after'] as const) {
          const events = await (await life(verdict, { append, when })).history();
          expectSound(events);
          expect(told(events), `dead ${when} append ${append}`).toEqual(expected);
        }
      }
    },
    120_000,
  );

  test('loses no interrupt of a parked session', async () => {
    const interrupted = async (death: Death | null) => {
      const session = await parking.session(TOOLS);
      await session.send(script([{ blocks: CALLS }, END]));
      await session.settle({ death });
      await session.send(INTERRUPT);
      await session.settle({ death });
      return session;
    };
    const calm = await interrupted(null);
    const expected = told(await calm.history()).toSorted();
    for (let append = 1; append <= calm.appends; append++) {
      for (const when of ['before', 'after'] as const) {
        const events = await (await interrupted({ append, when })).history();
        expectSound(events);
        expect(told(events).toSorted(), `dead ${when} append ${append}`).toEqual(expected);
        expect(told(events).slice(-2)).toEqual(['user.interrupt', 'idle end_turn']);
      }
    }
  }, 120_000);
});

describe('a refusal', () => {
  test('ends the turn with its reason, makes no calls, and stays out of what the model sees next', async () => {
    const session = await parking.session([custom('look_up')]);
    const stop_details = { type: 'refusal', category: 'cyber', explanation: 'no' };
    await session.send(script([{ blocks: [{ text: 'I cannot' }, CALLS[0]!], stop_reason: 'refusal', stop_details }]));
    await session.settle();
    const events = await session.history();
    expect(told(events)).toEqual(['session.status_running', 'user.message', 'agent.message', 'idle refusal']);
    expect(only(events, 'session.status_idle')[0]).toMatchObject({ stop_reason: { type: 'refusal' }, stop_details });
    expect(only(events, 'session.thread_status_idle')[0]).toMatchObject({ stop_reason: { type: 'refusal' }, stop_details });
    await session.send(script([END], 'another way'));
    await session.settle();
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
  });
});
