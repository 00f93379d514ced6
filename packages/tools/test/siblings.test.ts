/** Threads of one session, each with an executor in another worker, that share one sandbox and nothing but the session's binding. */
import { AppError, connectMessaging, type Messaging, systemClock } from '@manyhands/base';
import { workspaceSnapshotKey } from '@manyhands/contract';
import { silentLogger, startTestNats, type TestServer, until } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createSandboxExecutor, type SandboxExecutor, type SandboxExecutorOptions, type SaveBinding } from '../src/index.ts';
import { type ScriptedPool, says, sharedBinding, startScriptedPool, text } from './scripted-pool.ts';

const WORKSPACE = 'wrkspc_1';
const SPEC = { environment_id: 'env_1', networking: { type: 'unrestricted' } } as const;
const CLEARED = { pool_id: null, sandbox_id: null };

let nats: TestServer;
let messaging: Messaging;
let poolMessaging: Messaging;
let pool: ScriptedPool;
let pools: ScriptedPool[];
let session: ReturnType<typeof sharedBinding>;
let sessions = 0;

beforeAll(async () => {
  nats = await startTestNats();
  [messaging, poolMessaging] = await Promise.all([
    connectMessaging(nats.url, silentLogger, 'harness'),
    connectMessaging(nats.url, silentLogger, 'pool'),
  ]);
});
afterAll(async () => {
  await Promise.all([messaging.close(), poolMessaging.close()]);
  await nats[Symbol.asyncDispose]();
});
beforeEach(async () => {
  sessions++;
  pools = [];
  session = sharedBinding();
  pool = await addPool();
});
afterEach(() => Promise.all(pools.map((one) => one.stop())));

async function addPool(): Promise<ScriptedPool> {
  const added = await startScriptedPool(poolMessaging, `pool_${sessions}x${pools.length}`);
  pools.push(added);
  return added;
}
/** A thread's executor; its worker read the binding when it was made. */
function makeExecutor(more: Partial<SandboxExecutorOptions> = {}): SandboxExecutor {
  const { binding, saveBinding, currentBinding } = session;
  return createSandboxExecutor({
    ...{ messaging, clock: systemClock, log: silentLogger, workspaceId: WORKSPACE, sessionId: `sesn_${sessions}` },
    ...{ binding, saveBinding, currentBinding },
    spec: async () => SPEC,
    putBody: async () => undefined,
    getBody: async () => null,
    findSnapshot: async () => null,
    poolSilenceLimitMs: 600,
    answerTimeoutMs: 200,
    ...more,
  });
}
const call = (key: string, input: Record<string, unknown> = { text: `result of ${key}` }) => ({ key, name: 'bash', input });
const runningCall = (key: string) => call(key, {});
const asked = (verb: string, of = pool) => of.requests.filter((request) => request.verb === verb);
const onlySandbox = (of = pool) => [...of.sandboxes.values()][0];
/** Saves only when so many want to, in the order in which they came. */
function savesTogether(count: number): SaveBinding {
  let come = 0;
  let last: Promise<unknown> = Promise.resolve();
  return (next, expected) => {
    come++;
    const turn = last.then(() => until(() => come >= count, { what: 'all want to save' })).then(() => session.saveBinding(next, expected));
    last = turn.catch(() => undefined);
    return turn;
  };
}

describe('two that lease at once', () => {
  test('share the sandbox that was bound first; the loser lets go of its own', async () => {
    const other = await addPool();
    const saveBinding = savesTogether(2);
    const executors = [
      makeExecutor({ saveBinding, prewarmed: Promise.resolve(pool.id) }),
      makeExecutor({ saveBinding, prewarmed: Promise.resolve(other.id) }),
    ];
    const outcomes = await Promise.all(executors.map((executor, index) => executor.execute(call(`call${index}`))));
    expect(outcomes.map(text)).toEqual(['result of call0', 'result of call1']);
    expect(session.saved).toHaveLength(1);
    const [winner, loser] = session.binding?.pool_id === pool.id ? [pool, other] : [other, pool];
    expect(winner.ran.sort()).toEqual(['call0', 'call1']);
    await until(() => loser.sandboxes.size === 0, { what: 'the loser released its own' });
    expect([winner.sandboxes.size, loser.ran]).toEqual([1, []]);
  });

  test('of one pool have the same sandbox, which nobody lets go of', async () => {
    const saveBinding = savesTogether(2);
    const executors = [makeExecutor({ saveBinding }), makeExecutor({ saveBinding })];
    await Promise.all(executors.map((executor, index) => executor.execute(call(`call${index}`))));
    expect([session.saved.length, pool.sandboxes.size, pool.ran.length]).toEqual([1, 1, 2]);
    // Answered after whatever was sent before it.
    await Promise.all(executors.map((executor) => executor.outputs()));
    expect(asked('release')).toEqual([]);
  });

  test('and of which the winner has given its sandbox up already: the loser leases under the next generation', async () => {
    let stolen = false;
    const executor = makeExecutor({
      async saveBinding(next, expected) {
        if (!stolen) session.binding = { ...CLEARED, generation: 4 };
        stolen = true;
        return session.saveBinding(next, expected);
      },
    });
    expect(text(await executor.execute(call('one')))).toBe('result of one');
    expect(session.binding).toMatchObject({ pool_id: pool.id, generation: 5 });
    await until(() => pool.sandboxes.size === 1, { what: 'the first one was released' });
  });

  test('while there is room for one only: who still waits has it as well', async () => {
    pool.setRoom(false);
    await poolMessaging.ping();
    const told: string[] = [];
    const waiting = makeExecutor({ onWaiting: () => void told.push('waits'), onLeased: (outcome) => void told.push(outcome) });
    const outcome = waiting.execute(call('late'));
    await until(() => told.length > 0, { what: 'it waits' });
    const other = await addPool();
    other.script = (verb) => (verb === 'lease' || verb === 'hint' ? 'deaf' : undefined);
    other.sandboxes.set('sbx_sibling', {
      ...{ sessionId: `sesn_${sessions}`, generation: 1, restoredFrom: null, calls: new Map(), acked: new Set() },
      ...{ parkedAs: null, uses: 0 },
    });
    await session.saveBinding({ pool_id: other.id, sandbox_id: 'sbx_sibling', generation: 1 }, null);
    expect(text(await outcome)).toBe('result of late');
    expect([other.ran, told.at(-1), session.saved.length]).toEqual([['late'], 'adopted', 1]);
  });

  test('when saving is refused with an older binding than was known, that is an error of ours', async () => {
    session.binding = { ...CLEARED, generation: 7 };
    const older = { pool_id: pool.id, sandbox_id: 'sbx_old', generation: 6 };
    const executor = makeExecutor({ saveBinding: async () => ({ saved: false, bound: older }) });
    await expect(executor.execute(call('one'))).rejects.toMatchObject({ code: 'internal' });
    const none = makeExecutor({ saveBinding: async () => ({ saved: false, bound: null }) });
    await expect(none.execute(call('two'))).rejects.toMatchObject({ code: 'internal' });
    expect(pool.ran).toEqual([]);
  });
});

describe('a sandbox that is gone for all', () => {
  test('is cleared once, and all go on in one new sandbox', async () => {
    const executors = [makeExecutor(), makeExecutor(), makeExecutor()];
    await executors[0]?.execute(call('first'));
    await Promise.all(executors.map((executor) => executor.provision()));
    const old = session.binding;
    pool.sandboxes.clear();
    const outcomes = await Promise.all(executors.map((executor, index) => executor.execute(call(`next${index}`))));
    expect(outcomes.map(text)).toEqual(['result of next0', 'result of next1', 'result of next2']);
    expect(session.saved.map(({ generation, sandbox_id }) => [generation, sandbox_id === null])).toEqual([
      [1, false],
      [1, true],
      [2, false],
    ]);
    expect(session.binding?.sandbox_id).not.toBe(old?.sandbox_id);
    expect(pool.sandboxes.size).toBe(1);
  });

  test('of which a sibling moved on: a new call is started where the session is now, and nothing is saved', async () => {
    const sibling = makeExecutor();
    await sibling.execute(call('first'));
    const stale = makeExecutor();
    pool.sandboxes.clear();
    await sibling.execute(call('second'));
    const saved = session.saved.length;
    expect(text(await stale.execute(call('third')))).toBe('result of third');
    expect([onlySandbox()?.generation, session.saved.length, asked('lease').length]).toEqual([2, saved, 2]);
    expect(pool.ran).toEqual(['first', 'second', 'third']);
  });

  test('of which a sibling moved on: a call that ran in it is told lost, and what the sibling has stays', async () => {
    const [one, sibling] = [makeExecutor(), makeExecutor()];
    await sibling.execute(call('first'));
    const running = one.execute(runningCall('second'));
    await until(() => asked('wait').length > 0, { what: 'it is waited for' });
    const [old] = pool.sandboxes.values();
    pool.sandboxes.clear();
    await sibling.execute(call('third'));
    const { binding } = session;
    for (const { waiters } of old?.calls.values() ?? []) for (const wake of waiters) wake();
    expect(text(await running)).toMatch(/sandbox was lost/);
    expect(session.binding).toEqual(binding);
    expect(text(await one.execute(call('fourth')))).toBe('result of fourth');
    expect(onlySandbox()?.generation).toBe(2);
  });

  test('of which a sibling moved on while its pool is gone: nobody waits for that pool any longer', async () => {
    const other = await addPool();
    const stale = makeExecutor({
      binding: { pool_id: 'pool_gone', sandbox_id: 'sbx_gone', generation: 1 },
      poolSilenceLimitMs: 600_000,
    });
    session.binding = { ...CLEARED, generation: 1 };
    await makeExecutor({ prewarmed: Promise.resolve(other.id) }).execute(call('first'));
    expect(text(await stale.execute(call('second')))).toBe('result of second');
    expect(other.ran).toEqual(['first', 'second']);
  });

  test('is given up by none before the clearing of another call is over, and what saving throws is thrown to both', async () => {
    session.binding = { pool_id: pool.id, sandbox_id: 'sbx_gone', generation: 3 };
    const fenced = new AppError('fenced', 'another worker');
    const saveBinding = () => until(() => asked('start').length === 2, { what: 'both were refused' }).then(() => Promise.reject(fenced));
    const executor = makeExecutor({ saveBinding });
    const calls = ['a', 'b'].map((key) => executor.execute(call(key)));
    for (const one of calls) await expect(one).rejects.toMatchObject({ code: 'fenced' });
    expect(asked('lease')).toEqual([]);
  });
});

describe('a call that may be in a sandbox which was given up', () => {
  test('is collected from the present one if it is there', async () => {
    const executor = makeExecutor();
    const outcome = executor.execute(runningCall('one'));
    await until(() => asked('wait').length > 0, { what: 'it runs' });
    const next = makeExecutor().execute({ ...runningCall('one'), resumed: true, astray: true });
    pool.finish('one', 'found');
    expect([text(await outcome), text(await next)]).toEqual(['found', 'found']);
  });

  test('is never started in the present one, and costs it nothing', async () => {
    const executor = makeExecutor();
    await executor.execute(call('first'));
    expect(text(await executor.execute({ ...call('second'), resumed: true, astray: true }))).toMatch(/sandbox was lost/);
    expect(pool.ran).toEqual(['first']);
    expect(text(await executor.execute(call('third')))).toBe('result of third');
    expect(session.saved).toHaveLength(1);
  });
});

describe('a silent pool', () => {
  test('is asked on while siblings have answers, and lost when none has', async () => {
    let agoMs: number | null = 0;
    const looks: number[] = [];
    const executor = makeExecutor({
      async lastAnswerMs(generation) {
        looks.push(generation);
        return agoMs;
      },
    });
    await executor.execute(call('first'));
    pool.script = (verb) => (verb === 'start' ? 'mute' : undefined);
    const outcome = executor.execute(runningCall('long'));
    // Each look came after the bound of 600 ms was over.
    await until(() => looks.length >= 3, { what: 'its own bound is over' });
    expect(session.binding).toMatchObject({ generation: 1, pool_id: pool.id });
    pool.script = () => undefined;
    pool.finish('long', 'survived');
    expect(text(await outcome)).toBe('survived');
    pool.script = (verb) => (verb === 'start' ? 'mute' : undefined);
    agoMs = 600;
    expect(text(await executor.execute(runningCall('lost')))).toMatch(/sandbox was lost/);
    expect(session.binding).toEqual({ ...CLEARED, generation: 1 });
    expect(new Set(looks)).toEqual(new Set([1]));
  });

  test('of whose answers nothing is known is lost by its own bound', async () => {
    const executor = makeExecutor({ lastAnswerMs: async () => null });
    await executor.execute(call('first'));
    pool.script = (verb) => (verb === 'start' ? 'mute' : undefined);
    expect(text(await executor.execute(call('lost')))).toMatch(/sandbox was lost/);
  });

  test('that answers again is told once in 5 s, and once for each sandbox', async () => {
    let now = 1_000_000;
    const told: number[] = [];
    const executor = makeExecutor({ clock: { now: () => now }, onAnswer: (generation) => void told.push(generation) });
    for (const key of ['a', 'b', 'c']) await executor.execute(call(key));
    expect(told).toEqual([1]);
    now += 4_999;
    await executor.execute(call('d'));
    expect(told).toEqual([1]);
    now += 1;
    await executor.execute(call('e'));
    expect(told).toEqual([1, 1]);
    // That it is gone is no sign of life of this sandbox; the next one is another.
    pool.sandboxes.clear();
    now += 10_000;
    await executor.execute(call('f'));
    expect(told).toEqual([1, 1, 2]);
  });
});

describe('use counts', () => {
  test('are the highest that was seen of the sandbox, and begin anew with the next one', async () => {
    const executor = makeExecutor();
    expect(executor.uses()).toBeNull();
    await executor.execute(call('a'));
    await executor.execute(call('b'));
    expect(executor.uses()).toBe(2);
    const isRunning = { ok: true, call: { state: 'running' } };
    pool.script = (verb) => (verb === 'start' ? { ...isRunning, uses: 1 } : verb === 'wait' ? isRunning : undefined);
    const running = executor.execute(runningCall('c'));
    await until(() => asked('wait').length > 0, { what: 'it is waited for' });
    expect(executor.uses()).toBe(2);
    pool.script = (verb) => (verb === 'wait' ? says('sandbox_lost') : undefined);
    await running;
    expect(executor.uses()).toBeNull();
    pool.script = () => undefined;
    await executor.execute(call('d'));
    expect(executor.uses()).toBe(1);
  });

  test('decide who parks: who does not know of a sibling’s use leaves it to that one', async () => {
    const [one, sibling] = [makeExecutor(), makeExecutor()];
    await one.execute(call('a'));
    await sibling.execute(call('b'));
    await one.park();
    expect(asked('park').at(-1)?.body).toMatchObject({ uses: 1 });
    expect(onlySandbox()?.parkedAs).toBeNull();
    await sibling.park();
    expect(onlySandbox()?.parkedAs).toBe(workspaceSnapshotKey(WORKSPACE, `sesn_${sessions}`, 1));
  });

  test('come with the outputs, also to a thread that never used the sandbox of its siblings and is the last one', async () => {
    const last = makeExecutor();
    await makeExecutor().execute(call('a'));
    await last.park();
    expect(onlySandbox()?.parkedAs).toBeNull();
    expect(await last.outputs()).toEqual([]);
    expect(last.uses()).toBe(1);
    await last.park();
    expect(onlySandbox()?.parkedAs).not.toBeNull();
  });

  test('of a pool of 0.1.0, which has none, are null, and it parks', async () => {
    pool.script = (verb) => {
      if (verb === 'start') return { ok: true, call: { state: 'done', outcome: { is_error: false, content: [] } } };
      return verb === 'park' ? { ok: true } : undefined;
    };
    const executor = makeExecutor();
    await executor.execute(call('a'));
    expect(executor.uses()).toBeNull();
    await executor.park();
    expect(asked('park')).toHaveLength(1);
  });
});

test('calls name the thread of their executor, if it has one', async () => {
  await makeExecutor({ threadId: 'sthr_1' }).execute(call('a'));
  await makeExecutor().execute(call('b'));
  expect(asked('start').map(({ body }) => body['thread'])).toEqual(['sthr_1', undefined]);
});
