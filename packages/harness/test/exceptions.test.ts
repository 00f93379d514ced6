/** An exception in a turn is no worker's death (I15): it is told, tried again with a back-off, and leaves nothing behind. */
import { AppError } from '@manyhands/base';
import { EGRESS_SEARCH_SUBJECT } from '@manyhands/contract';
import type { ModelClient } from '@manyhands/model';
import type { Lease, SessionWriter } from '@manyhands/session-log';
import { until } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { errors, expectSound, only, told } from './histories.ts';
import { builtin, custom, diskError, INTERRUPT, type Parking, type Session, script, startParking } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());
afterEach(() => {
  parking.faults.outage = () => null;
});

const END = { blocks: [{ text: 'done' }] };
/** A body that lies in the blob store. */
const LONG = 'x'.repeat(70_000);
const EXCEPTIONS_MAX = 5;

/** The model port, broken by a mistake of the program. */
function broken(error: () => Error = () => new TypeError('a mistake')): ModelClient {
  return { ...parking.deps.model, stream: () => Promise.reject(error()) };
}
async function asked(): Promise<Session> {
  const session = await parking.session([]);
  await session.send(script([END]));
  return session;
}
function expectNothingLeft(): void {
  expect(parking.followers.now).toBe(0);
}

describe('while the blob store is away', () => {
  const phases = {
    start: {
      fails: (operation: string, key: string) => operation === 'get' && key.includes('/events/'),
      begin: async (session: Session) => session.send(script([END], LONG)),
    },
    'after the model': {
      fails: (operation: string, key: string) => operation === 'put' && key.includes('/events/'),
      begin: async (session: Session) => session.send(script([{ blocks: [{ text: LONG }] }])),
    },
    'at the end': {
      fails: (operation: string, key: string) => operation === 'put' && key.includes('/context/'),
      begin: async (session: Session) => {
        await session.send(...Array.from({ length: 100 }, () => INTERRUPT));
        await session.send(script([END]));
      },
    },
  };

  test.each(Object.entries(phases))('a turn waits as rescheduling and goes on: %s', async (_phase, { fails, begin }) => {
    const session = await parking.session([]);
    await begin(session);
    parking.faults.outage = (operation, key) => (fails(operation, key) ? diskError() : null);
    for (let tries = 0; tries <= EXCEPTIONS_MAX; tries++) {
      const now = Date.now();
      expect(await session.work()).toBe('failed');
      expect((await session.state()).status).toBe('rescheduling');
      expect([await session.leased(), Number(await session.field('recoveries')), Number(await session.field('exceptions'))]).toEqual([
        false,
        0,
        0,
      ]);
      // Redis and the test share a clock here.
      const waitMs = (await session.dueAtMs()) - now;
      expect(waitMs).toBeGreaterThanOrEqual(Math.min(30_000, 1_000 * 2 ** tries) - 1);
      expect(waitMs).toBeLessThan(31_000);
      expectNothingLeft();
    }
    parking.faults.outage = () => null;
    await session.settle();
    const events = await session.history();
    expectSound(events);
    expect(new Set(errors(events))).toEqual(new Set(['retrying']));
    // Told once for each time that it came to run.
    expect(errors(events)).toHaveLength(only(events, 'session.status_rescheduled').length);
    expect(told(events).slice(-2)).toEqual([expect.stringMatching(/^(agent.message|session.status_rescheduled)$/), 'idle end_turn']);
    expect(only(events, 'agent.message')).toHaveLength(1);
    expect(only(events, 'user.message')).toHaveLength(1);
  });

  test('a queued message whose turn could not begin is not answered after an interrupt', async () => {
    const session = await parking.session([]);
    await session.send(script([END], LONG));
    parking.faults.outage = (operation) => (operation === 'get' ? diskError() : null);
    expect(await session.work()).toBe('failed');
    await session.send(INTERRUPT);
    parking.faults.outage = () => null;
    await session.settle();
    const events = await session.history();
    expect(told(events)).toEqual([
      'session.error',
      'session.status_rescheduled',
      'session.status_running',
      'user.message',
      'user.interrupt',
      'idle end_turn',
    ]);
    expect(only(events, 'span.model_request_start')).toEqual([]);
  });

  test('a log that is folded without a turn is tried again later, and nothing is told of it', async () => {
    const session = await parking.session([]);
    await session.send(...Array.from({ length: 600 }, () => INTERRUPT));
    parking.faults.outage = (operation) => (operation === 'put' ? diskError() : null);
    expect(await session.work()).toBe('failed');
    expect(await session.thread()).toMatchObject({ head: 600, status: 'idle', exceptions: 0, checkpoint: null });
    expect(await session.due()).toBe(true);
    parking.faults.outage = () => null;
    await session.settle();
    expect(await session.thread()).toMatchObject({ head: 600, status: 'idle', checkpoint: { position: 600 } });
  });

  test('what a turn leaves behind it does not take its end back', async () => {
    const session = await parking.session([]);
    await session.send(...Array.from({ length: 100 }, () => INTERRUPT));
    await session.send(script([END]));
    parking.faults.outage = (operation) => (operation === 'list' ? diskError() : null);
    expect(await session.work()).toBe('idle');
    expect([await session.due(), await session.leased(), errors(await session.history())]).toEqual([false, false, []]);
  });
});

describe('an exception that is no outage', () => {
  test('five times in a row ends the turn as exhausted, and a new message works', async () => {
    const session = await asked();
    for (let tries = 1; tries < EXCEPTIONS_MAX; tries++) {
      expect(await session.work(session.primary, { deps: { model: broken() } })).toBe('failed');
      expect((await session.state()).status).toBe('rescheduling');
      expect(await session.field('exceptions')).toBe(String(tries));
      expect(await session.leased()).toBe(false);
    }
    expect(await session.work(session.primary, { deps: { model: broken() } })).toBe('failed');
    const events = await session.history();
    expectSound(events);
    expect(errors(events)).toEqual([...Array.from({ length: EXCEPTIONS_MAX - 1 }, () => 'retrying'), 'exhausted']);
    expect(told(events).slice(-1)).toEqual(['idle retries_exhausted']);
    expect([await session.due(), await session.leased(), await session.field('recoveries')]).toEqual([false, false, '0']);
    expectNothingLeft();

    await session.send(script([END], 'once more'));
    await session.settle();
    expect(told(await session.history()).slice(-4)).toEqual(['session.status_running', 'user.message', 'agent.message', 'idle end_turn']);
  });

  test('four times and then well leaves no error but those that told of trying again', async () => {
    const session = await asked();
    for (let tries = 1; tries < EXCEPTIONS_MAX; tries++) await session.work(session.primary, { deps: { model: broken() } });
    await session.settle();
    const events = await session.history();
    expectSound(events);
    expect(new Set(errors(events))).toEqual(new Set(['retrying']));
    expect(told(events).slice(-2)).toEqual(['agent.message', 'idle end_turn']);
    expect((await session.thread()).exceptions).toBe(0);
  });

  test('after progress counts as the first', async () => {
    const session = await parking.session([]);
    await session.send(script([{ blocks: [{ tool: 'nothing_like_it', input: {} }] }, END]));
    for (let tries = 1; tries < EXCEPTIONS_MAX; tries++) await session.work(session.primary, { deps: { model: broken() } });
    let requests = 0;
    const oneAnswer: ModelClient = {
      ...parking.deps.model,
      stream: (...request) => (requests++ === 0 ? parking.deps.model.stream(...request) : Promise.reject(new TypeError('a mistake'))),
    };
    expect(await session.work(session.primary, { deps: { model: oneAnswer } })).toBe('failed');
    expect(await session.field('exceptions')).toBe('1');
    await session.settle();
    expect(errors(await session.history())).not.toContain('exhausted');
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
  });

  test('of a log that cannot be read ends the turn, too, and what was queued is kept', async () => {
    const session = await parking.session([]);
    await session.send(script([END], LONG));
    parking.faults.outage = (operation) => (operation === 'get' ? new AppError('internal', 'damaged') : null);
    for (let tries = 1; tries <= EXCEPTIONS_MAX; tries++) expect(await session.work()).toBe('failed');
    parking.faults.outage = () => null;
    const events = await session.history();
    expect(told(events)).toEqual([
      'session.error',
      'session.status_rescheduled',
      'session.error',
      'user.message',
      'idle retries_exhausted',
    ]);
    expect(errors(events)).toEqual(['retrying', 'exhausted']);
    expect([await session.due(), await session.leased()]).toEqual([false, false]);
    await session.send(script([END], 'once more'));
    await session.settle();
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
  });

  test('of a checkpoint that cannot be written ends the turn, too, without one', async () => {
    const session = await parking.session([]);
    await session.send(...Array.from({ length: 100 }, () => INTERRUPT));
    await session.send(script([END]));
    parking.faults.outage = (operation) => (operation === 'put' ? new AppError('internal', 'a mistake') : null);
    // The first one made progress, behind which the count begins.
    for (let tries = 1; tries <= EXCEPTIONS_MAX; tries++) expect(await session.work()).toBe('failed');
    expect(told(await session.history()).at(-1)).toBe('idle retries_exhausted');
    expect([await session.due(), await session.leased()]).toEqual([false, false]);
  });
});

describe('a start that fails', () => {
  test('leaks no subscription, no timer and no lease, and the next worker has the thread at once', async () => {
    const session = await parking.session([]);
    await session.send(script([END], LONG));
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    parking.faults.outage = (operation) => (operation === 'get' ? new AppError('internal', 'damaged') : null);
    expect(await session.work()).toBe('failed');
    expectNothingLeft();
    expect(await session.leased()).toBe(false);
    await until(() => timers() <= before, { what: 'its timers are gone' });
    parking.faults.outage = () => null;
    const taken = await parking.deps.writer.acquire(
      { sessionId: session.id, threadId: session.primary, workspaceId: 'wrkspc_test' },
      'the next one',
      5_000,
    );
    expect(taken).toMatchObject({ lease: { recoveries: 0 } });
    if ('lease' in taken) await parking.deps.writer.release(taken.lease, 'done');
    await session.settle();
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
  });

  test('because its lease was given with what cannot be understood leaves no lease', async () => {
    const session = await asked();
    const [key] = await parking.redis.keys(`mh:*:${session.id}:record`);
    const record = (await parking.redis.get(key!))!;
    await parking.redis.set(key!, JSON.stringify({ ...JSON.parse(record), format: 99 }));
    await expect(session.work()).rejects.toMatchObject({ code: 'newer_format' });
    expect([await session.leased(), await session.due()]).toEqual([false, true]);
    await parking.redis.set(key!, record);
    await session.settle();
    expect(await session.field('recoveries')).toBe('0');
  });
});

describe('when one of several sibling calls throws', () => {
  test('the others have settled before the lease is given back, and the result that was there is kept', async () => {
    const session = await parking.session([custom('look_up')]);
    const steps: string[] = [];
    const { writer } = parking.deps;
    const careless: SessionWriter = {
      ...writer,
      async append(lease, n, batch) {
        const results = batch.entries.filter((entry) => 'event' in entry && entry.event.body.type === 'agent.tool_result');
        if (results.length > 0 && !steps.includes('threw')) {
          steps.push('threw');
          throw new TypeError('a mistake');
        }
        const appended = await writer.append(lease, n, batch);
        if (results.length > 0) steps.push('kept a result');
        return appended;
      },
      async release(lease, how) {
        steps.push(`released: ${how}`);
        await writer.release(lease, how);
      },
    };
    const calls = ['one', 'two', 'three'].map((tool) => ({ tool, input: {} }));
    await session.send(script([{ blocks: calls }, END]));
    expect(await session.work(session.primary, { deps: { writer: careless } })).toBe('failed');
    expect(steps).toEqual(['threw', 'kept a result', 'kept a result', 'released: failed']);
    await session.settle();
    const events = await session.history();
    expectSound(events);
    expect(only(events, 'agent.tool_result')).toHaveLength(3);
    expect(told(events).at(-1)).toBe('idle end_turn');
  });
});

describe('a sibling of a call that throws', () => {
  test('is left where it is, so that nobody waits for it, and nothing of it is written under the lease that was given back', async () => {
    const session = await parking.session([builtin('web_search', 'always_allow')]);
    const { writer, messaging } = parking.deps;
    let searches = 0;
    let answer = () => {};
    const held = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const egress = messaging.serve(EGRESS_SEARCH_SUBJECT, async () => {
      if (searches++ === 0) await held;
      return { ok: true, results: [] };
    });
    await messaging.ping();
    const steps: string[] = [];
    const careless: SessionWriter = {
      ...writer,
      async append(lease, n, batch) {
        if (batch.entries.some((entry) => 'event' in entry && entry.event.body.type === 'agent.tool_result')) {
          await until(() => searches > 0, { what: 'the sibling runs' });
          throw new TypeError('a mistake');
        }
        steps.push('append');
        return writer.append(lease, n, batch);
      },
      async release(lease, how) {
        await writer.release(lease, how);
        steps.push('released');
      },
    };
    await session.send(
      script([
        {
          blocks: [
            { tool: 'nothing_like_it', input: {} },
            { tool: 'web_search', input: { query: 'q' } },
          ],
        },
        END,
      ]),
    );
    expect(await session.work(session.primary, { deps: { writer: careless } })).toBe('failed');
    expect(steps.at(-1)).toBe('released');
    const { length } = steps;
    answer();
    await session.settle();
    await egress.stop();
    expect(steps).toHaveLength(length);
    const events = await session.history();
    expectSound(events);
    expect([searches, only(events, 'agent.tool_result').length, told(events).at(-1)]).toEqual([2, 2, 'idle end_turn']);
  });
});

describe('an exception while nothing can be appended', () => {
  test.each(['paused', 'killed'] as const)('leaves the thread due once Redis, which was %s, is back', async (how) => {
    const session = await asked();
    const { server } = parking;
    let away = false;
    const model: ModelClient = {
      ...parking.deps.model,
      async stream() {
        if (how === 'paused') server.pause();
        else await server.kill();
        away = true;
        throw new TypeError('a mistake');
      },
    };
    const working = session.work(session.primary, { deps: { model } });
    await until(() => away, { what: 'Redis is away' });
    if (how === 'paused') server.resume();
    else await server.restart();
    expect(await working).toBe('failed');
    expect([await session.due(), await session.leased(), await session.field('exceptions')]).toEqual([true, false, '1']);
    await session.settle();
    const events = await session.history();
    expectSound(events);
    expect(told(events).at(-1)).toBe('idle end_turn');
    expect(await session.field('recoveries')).toBe('0');
  });

  test('and whose lease ran out meanwhile is told by the next worker', async () => {
    const session = await asked();
    const { writer } = parking.deps;
    const cut: SessionWriter = {
      ...writer,
      append: () => Promise.reject(new AppError('unavailable', 'no connection')),
      release: () => Promise.reject(new AppError('unavailable', 'no connection')),
    };
    const lost: Lease[] = [];
    const acquire: SessionWriter['acquire'] = async (...request) => {
      const taken = await writer.acquire(...request);
      if ('lease' in taken) lost.push(taken.lease);
      return taken;
    };
    expect(await session.work(session.primary, { deps: { writer: { ...cut, acquire } } })).toBe('failed');
    expect([lost.length, await session.due(), await session.leased()]).toEqual([1, true, true]);
    await session.expire();
    await session.settle();
    expect(told(await session.history()).at(-1)).toBe('idle end_turn');
  });
});
