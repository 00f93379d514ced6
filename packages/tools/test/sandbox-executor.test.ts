import { AppError, connectMessaging, type Messaging, systemClock } from '@manyhands/base';
import { callOutcomeKey, INLINE_BODY_MAX_BYTES, sandboxEndKey, workspaceSnapshotKey } from '@manyhands/contract';
import { silentLogger, startTestNats, type TestServer, until } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  createSandboxExecutor,
  type SandboxBinding,
  type SandboxExecutor,
  type SandboxExecutorOptions,
  sendPrewarm,
} from '../src/index.ts';
import { done, type ScriptedPool, says, sharedBinding, startScriptedPool, text } from './scripted-pool.ts';

const WORKSPACE = 'wrkspc_1';
const SPEC = { environment_id: 'env_1', networking: { type: 'unrestricted' } } as const;
const INTERRUPTED = 'Tool execution was interrupted before completion. Please retry.';

let nats: TestServer;
let messaging: Messaging;
let poolMessaging: Messaging;
let pool: ScriptedPool;
let pools: ScriptedPool[];
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
  pool = await addPool();
});
afterEach(() => Promise.all(pools.map((one) => one.stop())));

async function addPool(): Promise<ScriptedPool> {
  const added = await startScriptedPool(poolMessaging, `pool_${sessions}x${pools.length}`);
  pools.push(added);
  return added;
}

interface Fixture {
  executor: SandboxExecutor;
  /** Everything that `saveBinding` saved. */
  saved: SandboxBinding[];
  blobs: Map<string, Buffer>;
}
function makeExecutor(more: Partial<SandboxExecutorOptions> = {}): Fixture {
  const blobs = new Map<string, Buffer>();
  const { saved, saveBinding, currentBinding } = sharedBinding(more.binding);
  const executor = createSandboxExecutor({
    messaging,
    clock: systemClock,
    log: silentLogger,
    workspaceId: WORKSPACE,
    sessionId: `sesn_${sessions}`,
    spec: async () => SPEC,
    binding: null,
    ...{ saveBinding, currentBinding },
    putBody: async (key, body) => void blobs.set(key, body),
    getBody: async (key) => blobs.get(key) ?? null,
    findSnapshot: async () => null,
    poolSilenceLimitMs: 1_000,
    answerTimeoutMs: 300,
    ...more,
  });
  return { executor, saved, blobs };
}
const call = (key: string, input: Record<string, unknown> = { text: `result of ${key}` }) => ({ key, name: 'bash', input });
const verbs = () => pool.requests.map(({ verb }) => verb);

describe('a call', () => {
  test('leases a sandbox once, saves the binding before anything is started, and answers the outcome', async () => {
    const order: string[] = [];
    pool.script = (verb) => void order.push(verb);
    const { executor, saved } = makeExecutor({
      async saveBinding() {
        order.push('saved');
        return { saved: true };
      },
    });
    expect(await executor.execute(call('one'))).toEqual(done('result of one'));
    expect(await executor.execute(call('two'))).toEqual(done('result of two'));
    expect(order).toEqual(['hint', 'lease', 'saved', 'start', 'start']);
    expect(saved).toEqual([]);
    expect(pool.ran).toEqual(['one', 'two']);
  });

  test('that runs is waited for until its end', async () => {
    const { executor } = makeExecutor();
    const outcome = executor.execute(call('slow', {}));
    await until(() => verbs().includes('wait'), { what: 'it is waited for' });
    pool.finish('slow', 'at last');
    expect(text(await outcome)).toBe('at last');
  });

  test('started side by side with others shares their lease', async () => {
    const { executor, saved } = makeExecutor();
    const outcomes = await Promise.all(['a', 'b', 'c'].map((key) => executor.execute(call(key))));
    expect(outcomes.map(text)).toEqual(['result of a', 'result of b', 'result of c']);
    expect(saved).toHaveLength(1);
    expect(verbs().filter((verb) => verb === 'lease')).toHaveLength(1);
  });

  test('uses the pool of a prewarm, and the snapshot of the session', async () => {
    const other = await addPool();
    const { executor, saved } = makeExecutor({ prewarmed: Promise.resolve(other.id), findSnapshot: async () => 'w/s/snapshot' });
    await executor.execute(call('one'));
    expect(saved[0]).toMatchObject({ pool_id: other.id, generation: 1 });
    expect([...other.sandboxes.values()][0]?.restoredFrom).toBe('w/s/snapshot');
  });

  test('is not started when the binding could not be saved, and what saving threw is thrown', async () => {
    const { executor } = makeExecutor({
      saveBinding: () => Promise.reject(new AppError('fenced', 'another worker')),
    });
    await expect(executor.execute(call('one'))).rejects.toMatchObject({ code: 'fenced' });
    expect(pool.ran).toEqual([]);
  });

  test('with a large input or outcome sends it through the blob store', async () => {
    const { executor, blobs } = makeExecutor();
    const large = 'x'.repeat(INLINE_BODY_MAX_BYTES + 1);
    pool.script = (verb) => (verb === 'start' ? { ok: true, outcome_ref: 'ref' } : undefined);
    blobs.set('ref', Buffer.from(JSON.stringify(done(large))));
    expect(await executor.execute(call('large', { command: large }))).toEqual(done(large));
    const key = `${WORKSPACE}/sesn_${sessions}/inputs/large`;
    expect(JSON.parse(blobs.get(key)?.toString() ?? '')).toEqual({ command: large });
    expect(pool.requests.at(-1)?.body).toMatchObject({ input_ref: key });
    expect(pool.requests.at(-1)?.body).not.toHaveProperty('input');
    blobs.delete('ref');
    expect(text(await executor.execute(call('missing')))).toMatch(/not in the blob store/);
  });

  test('that the pool refuses is an outcome with its reason, and the sandbox stays', async () => {
    const { executor, saved } = makeExecutor();
    pool.script = (verb, body) => (verb === 'start' && body['key'] === 'bad' ? says('invalid_request', 'input: too large') : undefined);
    expect(text(await executor.execute(call('bad')))).toMatch(/input: too large/);
    expect(await executor.execute(call('good'))).toEqual(done('result of good'));
    expect(saved).toHaveLength(1);
  });
});

describe('a pool that does not answer', () => {
  test('is asked again by key, and the call runs once', async () => {
    const { executor, saved } = makeExecutor();
    let starts = 0;
    pool.script = (verb) => (verb === 'start' && ++starts <= 2 ? 'mute' : undefined);
    expect(text(await executor.execute(call('once')))).toBe('result of once');
    expect(starts).toBe(3);
    expect(pool.ran).toEqual(['once']);
    expect(saved).toHaveLength(1);
  });

  test('may be restarted while a call runs, within its limit', async () => {
    const { executor, saved } = makeExecutor({ poolSilenceLimitMs: 20_000 });
    const outcome = executor.execute(call('long', {}));
    await until(() => verbs().includes('wait'), { what: 'it is waited for' });
    await pool.stop();
    pool.finish('long', 'survived');
    const stoppedAt = performance.now();
    // Longer than one request, so that some found nobody.
    await until(() => performance.now() - stoppedAt > 3_000, { what: 'requests were made in vain' });
    pool.serve();
    expect(text(await outcome)).toBe('survived');
    expect(pool.ran).toEqual(['long']);
    expect(saved).toHaveLength(1);
  });

  test('beyond its limit has lost the call: the outcome says so, the binding is cleared, the next call has the next generation', async () => {
    const { executor, saved } = makeExecutor();
    pool.script = (verb, body) => (verb === 'start' && body['generation'] === 1 ? 'mute' : undefined);
    const outcome = await executor.execute(call('lost'));
    expect(outcome.is_error).toBe(true);
    expect(text(outcome)).toMatch(/sandbox was lost.*next call/s);
    expect(saved.at(-1)).toEqual({ pool_id: null, sandbox_id: null, generation: 1 });
    expect(text(await executor.execute(call('next')))).toBe('result of next');
    expect(saved.at(-1)).toMatchObject({ pool_id: pool.id, generation: 2 });
    expect(pool.ran).toEqual(['lost', 'next']);
    await until(() => [...pool.sandboxes.values()].every(({ generation }) => generation === 2), { what: 'the old one was released' });
  });

  test('and is certainly not there never got the call: it runs in a fresh sandbox of another', async () => {
    const other = await addPool();
    await other.stop();
    const { executor, saved } = makeExecutor({ binding: { pool_id: other.id, sandbox_id: 'sbx_1', generation: 4 } });
    expect(text(await executor.execute(call('moved')))).toBe('result of moved');
    expect(saved).toEqual([
      { pool_id: null, sandbox_id: null, generation: 4 },
      expect.objectContaining({ pool_id: pool.id, generation: 5 }),
    ]);
  });

  test('is not blamed while NATS itself is away', async () => {
    await using ownNats = await startTestNats();
    const [mine, its] = await Promise.all([
      connectMessaging(ownNats.url, silentLogger, 'harness'),
      connectMessaging(ownNats.url, silentLogger, 'pool'),
    ]);
    const ownPool = await startScriptedPool(its, 'pool_own');
    const { executor, saved } = makeExecutor({ messaging: mine, poolSilenceLimitMs: 1_500 });
    const outcome = executor.execute(call('outage', {}));
    await until(() => ownPool.requests.some(({ verb }) => verb === 'wait'), { what: 'it is waited for' });
    const downAt = performance.now();
    await ownNats.kill();
    ownPool.finish('outage', 'still here');
    await until(() => performance.now() - downAt > 2_500, { what: 'an outage longer than the limit' });
    await ownNats.restart();
    expect(text(await outcome)).toBe('still here');
    expect(saved).toHaveLength(1);
    await Promise.all([mine.close(), its.close()]);
  });
});

describe('a sandbox that is gone', () => {
  test('and never got the call: the call runs in a fresh one with the workspace restored', async () => {
    const { executor, saved } = makeExecutor({
      binding: { pool_id: pool.id, sandbox_id: 'sbx_let_go', generation: 7 },
      findSnapshot: async () => 'w/s/snapshot',
    });
    expect(text(await executor.execute(call('woken')))).toBe('result of woken');
    expect(saved.at(-1)).toMatchObject({ generation: 8 });
    expect([...pool.sandboxes.values()][0]?.restoredFrom).toBe('w/s/snapshot');
  });

  test('while calls run: each is told, the binding is cleared once, nothing runs again', async () => {
    const { executor, saved } = makeExecutor();
    const outcomes = ['a', 'b'].map((key) => executor.execute(call(key, {})));
    await until(() => verbs().filter((verb) => verb === 'wait').length >= 2, { what: 'both are waited for' });
    const [sandbox] = pool.sandboxes.values();
    pool.sandboxes.clear();
    for (const one of sandbox?.calls.values() ?? []) for (const wake of one.waiters) wake();
    for (const outcome of await Promise.all(outcomes)) expect(text(outcome)).toMatch(/sandbox was lost/);
    expect(saved.map(({ sandbox_id }) => sandbox_id === null)).toEqual([false, true]);
    expect(pool.ran).toEqual(['a', 'b']);
  });

  test.each(['sandbox_lost', 'stale_generation', 'unknown_sandbox'] as const)('as %s says while the call runs', async (code) => {
    const { executor, saved } = makeExecutor();
    pool.script = (verb) => (verb === 'wait' ? says(code) : undefined);
    expect(text(await executor.execute(call('one', {})))).toMatch(/sandbox was lost/);
    expect(saved.at(-1)).toEqual({ pool_id: null, sandbox_id: null, generation: 1 });
  });

  test('or was replaced behind our back: a call that it does not know any more is lost', async () => {
    const { executor } = makeExecutor();
    pool.script = (verb) => (verb === 'wait' ? { ok: true, call: { state: 'unknown' } } : undefined);
    expect(text(await executor.execute(call('one', {})))).toMatch(/sandbox was lost/);
  });

  test('while a start is under way may have run it, so it is not run again', async () => {
    const { executor } = makeExecutor();
    pool.script = (verb, body) => (verb === 'start' && body['generation'] === 1 ? says('sandbox_lost') : undefined);
    expect(text(await executor.execute(call('one')))).toMatch(/sandbox was lost/);
    expect(pool.ran).toEqual([]);
  });
});

describe('a pool that leaves', () => {
  test('is asked again until the sandbox is gone, and the call, which it did not start, runs in a fresh one', async () => {
    const first = makeExecutor();
    await first.executor.execute(call('before'));
    let refusals = 0;
    pool.script = (verb) => {
      if (verb !== 'start' || refusals > 3) return undefined;
      return ++refusals > 3 ? says('unknown_sandbox') : says('leaving');
    };
    expect(text(await first.executor.execute(call('late')))).toBe('result of late');
    expect(pool.ran).toEqual(['before', 'late']);
    expect(first.saved.at(-1)).toMatchObject({ generation: 2 });
  });

  test('for good left word: a new call has another sandbox at once', async () => {
    const { executor, saved, blobs } = makeExecutor({ poolSilenceLimitMs: 60_000 });
    await executor.execute(call('before'));
    await pool.stop();
    blobs.set(sandboxEndKey(WORKSPACE, `sesn_${sessions}`), Buffer.from('{"generation":1}'));
    const other = await addPool();
    expect(text(await executor.execute(call('after')))).toBe('result of after');
    expect(other.ran).toEqual(['after']);
    expect(saved.at(-1)).toMatchObject({ pool_id: other.id, generation: 2 });
  });

  test('and whose word is about an older sandbox may be restarting: it is waited for', async () => {
    const { executor, blobs, saved } = makeExecutor({ poolSilenceLimitMs: 60_000, binding: null });
    pool.script = (verb, body) => (verb === 'lease' && body['generation'] === 1 ? says('stale_generation') : undefined);
    await executor.execute(call('before'));
    blobs.set(sandboxEndKey(WORKSPACE, `sesn_${sessions}`), Buffer.from('{"generation":1}'));
    await pool.stop();
    const outcome = executor.execute(call('after'));
    const stoppedAt = performance.now();
    await until(() => performance.now() - stoppedAt > 1_500, { what: 'requests were made in vain' });
    pool.serve();
    expect(text(await outcome)).toBe('result of after');
    expect(saved.map(({ generation }) => generation)).toEqual([2]);
  });

  test('kept the outcome of a call that nobody had collected', async () => {
    const { executor, blobs } = makeExecutor({ binding: { pool_id: pool.id, sandbox_id: 'sbx_gone', generation: 1 } });
    blobs.set(callOutcomeKey(WORKSPACE, `sesn_${sessions}`, 'ran'), Buffer.from(JSON.stringify(done('kept'))));
    expect(text(await executor.execute({ ...call('ran'), resumed: true }))).toBe('kept');
    const cleared = makeExecutor({ binding: { pool_id: null, sandbox_id: null, generation: 1 } });
    cleared.blobs.set(callOutcomeKey(WORKSPACE, `sesn_${sessions}`, 'ran'), Buffer.from(JSON.stringify(done('kept'))));
    expect(text(await cleared.executor.execute({ ...call('ran'), resumed: true }))).toBe('kept');
    expect(pool.ran).toEqual([]);
  });
});

describe('a call that an earlier worker may have started', () => {
  test('is collected where it runs, and runs once', async () => {
    const first = makeExecutor();
    const leave = new AbortController();
    const left = first.executor.execute(call('moved', {}), { detach: leave.signal });
    await until(() => verbs().includes('wait'), { what: 'it runs' });
    leave.abort();
    await expect(left).rejects.toMatchObject({ code: 'drained' });
    const second = makeExecutor({ binding: first.saved.at(-1) ?? null });
    const outcome = second.executor.execute({ ...call('moved', {}), resumed: true });
    pool.finish('moved', 'collected');
    expect(text(await outcome)).toBe('collected');
    expect(pool.ran).toEqual(['moved']);
    expect(verbs()).not.toContain('cancel');
  });

  test('is never run in another sandbox than the one it may be in', async () => {
    const { executor, saved } = makeExecutor({ binding: { pool_id: pool.id, sandbox_id: 'sbx_gone', generation: 3 } });
    expect(text(await executor.execute({ ...call('one'), resumed: true }))).toMatch(/sandbox was lost/);
    expect(saved).toEqual([{ pool_id: null, sandbox_id: null, generation: 3 }]);
    const cleared = makeExecutor({ binding: { pool_id: null, sandbox_id: null, generation: 3 } });
    expect(text(await cleared.executor.execute({ ...call('one'), resumed: true }))).toMatch(/sandbox was lost/);
    expect(pool.ran).toEqual([]);
  });

  test('runs if the session never had a sandbox', async () => {
    const { executor } = makeExecutor();
    expect(text(await executor.execute({ ...call('one'), resumed: true }))).toBe('result of one');
  });

  test('and whose result was acknowledged is not run again', async () => {
    const { executor } = makeExecutor();
    await executor.execute(call('one'));
    await executor.acknowledge(['one']);
    expect(text(await executor.execute({ ...call('one'), resumed: true }))).toMatch(/not run a second time/);
    expect(pool.ran).toEqual(['one']);
  });
});

describe('no room', () => {
  test('is waited for, and progress is told', async () => {
    pool.setRoom(false);
    await poolMessaging.ping();
    const waits: string[] = [];
    const { executor } = makeExecutor({ onWaiting: ({ reason }) => void waits.push(reason) });
    const outcome = executor.execute(call('one'));
    await until(() => waits.length >= 2, { what: 'it waits' });
    pool.setRoom(true);
    expect(text(await outcome)).toBe('result of one');
    expect(waits[0]).toBe('busy');
  });

  test('for too long is an outcome that says so', async () => {
    pool.script = (verb) => (verb === 'lease' ? says('at_capacity') : undefined);
    const { executor, saved } = makeExecutor({ leaseLimitMs: 500 });
    expect(text(await executor.execute(call('one')))).toMatch(/All sandboxes are busy.*not run/s);
    expect(saved).toEqual([]);
    pool.script = () => undefined;
    expect(text(await executor.execute(call('two')))).toBe('result of two');
  });

  test('in the prewarmed pool is found in another', async () => {
    const full = await addPool();
    full.setRoom(false);
    full.script = (verb) => (verb === 'lease' ? says('at_capacity') : undefined);
    const { executor, saved } = makeExecutor({ prewarmed: Promise.resolve(full.id) });
    expect(text(await executor.execute(call('one')))).toBe('result of one');
    expect(saved[0]?.pool_id).toBe(pool.id);
  });
});

describe('a lease', () => {
  test('whose generation is used up is asked for under the next', async () => {
    pool.script = (verb, body) => {
      if (verb !== 'lease') return undefined;
      const generation = body['generation'] as number;
      if (generation === 3) return says('sandbox_lost');
      return generation < 3 ? says('stale_generation') : undefined;
    };
    const { executor, saved } = makeExecutor();
    expect(text(await executor.execute(call('one')))).toBe('result of one');
    expect(saved).toEqual([expect.objectContaining({ generation: 4 })]);
  });

  test('that is slow is asked for again of the same pool and gives one sandbox', async () => {
    const other = await addPool();
    let leases = 0;
    pool.script = (verb) => (verb === 'lease' && ++leases <= 2 ? 'mute' : undefined);
    const { executor } = makeExecutor({ prewarmed: Promise.resolve(pool.id) });
    expect(text(await executor.execute(call('one')))).toBe('result of one');
    expect([pool.sandboxes.size, other.sandboxes.size, leases]).toEqual([1, 0, 3]);
  });

  test('that a pool of the group did not answer is asked of another under the next generation', async () => {
    const other = await addPool();
    for (const one of pools)
      one.script = (verb, body) => (verb === 'hint' || (verb === 'lease' && body['generation'] === 1) ? 'mute' : undefined);
    const { executor, saved } = makeExecutor();
    expect(text(await executor.execute(call('one')))).toBe('result of one');
    expect(saved).toEqual([expect.objectContaining({ generation: 2 })]);
    const given = [...pool.sandboxes.values(), ...other.sandboxes.values()].map(({ generation }) => generation);
    expect(given.sort()).toEqual([1, 2]);
  });

  test('goes past a pool that does not answer a prewarm', async () => {
    pool.script = () => 'deaf';
    const other = await addPool();
    for (let i = 0; i < 4; i++) {
      sessions++;
      // Whom the queue group asks is chance: it may be the silent one several times in a row, also for the lease.
      const { executor, saved } = makeExecutor({ answerTimeoutMs: 500 });
      expect(text(await executor.execute(call(`one${i}`)))).toBe(`result of one${i}`);
      expect(saved.at(-1)?.pool_id).toBe(other.id);
    }
  }, 120_000);

  test('that cannot be given is an outcome with the reason', async () => {
    pool.script = (verb) => (verb === 'lease' ? says('failed', 'bwrap: no permission') : undefined);
    const { executor } = makeExecutor();
    expect(text(await executor.execute(call('one')))).toMatch(/bwrap: no permission.*not run/s);
    await expect(executor.provision()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('no permission') });
  });

  test('can be had before the first call', async () => {
    const { executor, saved } = makeExecutor();
    await executor.provision();
    expect(saved).toHaveLength(1);
    await executor.execute(call('one'));
    expect(verbs().filter((verb) => verb === 'lease')).toHaveLength(1);
  });
});

describe('an interrupt', () => {
  test('kills the call and answers what it came to', async () => {
    const { executor } = makeExecutor();
    const interrupt = new AbortController();
    const outcome = executor.execute(call('one', {}), { signal: interrupt.signal });
    await until(() => verbs().includes('wait'), { what: 'it runs' });
    interrupt.abort();
    expect(await outcome).toEqual({ is_error: true, content: [{ type: 'text', text: 'killed' }] });
  });

  test('before the call was started starts nothing', async () => {
    const { executor } = makeExecutor();
    expect(text(await executor.execute(call('one'), { signal: AbortSignal.abort() }))).toBe(INTERRUPTED);
    pool.setRoom(false);
    await poolMessaging.ping();
    const interrupt = new AbortController();
    const waiting = makeExecutor({ onWaiting: () => interrupt.abort() });
    const outcome = waiting.executor.execute(call('two'), { signal: interrupt.signal });
    expect(text(await outcome)).toBe(INTERRUPTED);
    expect(pool.ran).toEqual([]);
  });

  test('of a call that an earlier worker started kills it there', async () => {
    const first = makeExecutor();
    const leave = new AbortController();
    const left = first.executor.execute(call('one', {}), { detach: leave.signal });
    await until(() => verbs().includes('wait'), { what: 'it runs' });
    leave.abort();
    await left.catch(() => undefined);
    const second = makeExecutor({ binding: first.saved.at(-1) ?? null });
    expect(text(await second.executor.execute({ ...call('one', {}), resumed: true }, { signal: AbortSignal.abort() }))).toBe('killed');
  });

  test('of a sandbox that is gone is an interrupt all the same', async () => {
    const { executor } = makeExecutor();
    const interrupt = new AbortController();
    const outcome = executor.execute(call('one', {}), { signal: interrupt.signal });
    await until(() => verbs().includes('wait'), { what: 'it runs' });
    pool.script = (verb) => (verb === 'cancel' ? says('sandbox_lost') : undefined);
    interrupt.abort();
    expect(text(await outcome)).toBe(INTERRUPTED);
  });
});

describe('what the pool is told', () => {
  test('acknowledgements that were not answered are told with the next, and come before a park', async () => {
    const { executor } = makeExecutor();
    await Promise.all(['a', 'b'].map((key) => executor.execute(call(key))));
    let acks = 0;
    pool.script = (verb) => (verb === 'ack' && ++acks === 1 ? 'deaf' : undefined);
    void executor.acknowledge(['a']);
    void executor.acknowledge(['b']);
    await executor.park();
    const [sandbox] = pool.sandboxes.values();
    expect([...(sandbox?.acked ?? [])]).toEqual(['a', 'b']);
    expect(sandbox?.parkedAs).toBe(workspaceSnapshotKey(WORKSPACE, `sesn_${sessions}`, 1));
  });

  test('a release ends the sandbox, and a later call has a fresh one', async () => {
    const { executor } = makeExecutor();
    await executor.execute(call('one'));
    await executor.release();
    expect(pool.sandboxes.size).toBe(0);
    expect(text(await executor.execute(call('two')))).toBe('result of two');
    expect([...pool.sandboxes.values()][0]?.generation).toBe(2);
  });

  test('nothing of it fails when there is no pool or no sandbox', async () => {
    const { executor } = makeExecutor();
    await Promise.all([executor.acknowledge(['x']), executor.park(), executor.release()]);
    expect(pool.requests).toEqual([]);
    await executor.execute(call('one'));
    await pool.stop();
    await Promise.all([executor.acknowledge(['one']), executor.park(), executor.release()]);
  });

  test('a prewarm answers the pool, or null when there is none', async () => {
    const prewarm = { session_id: `sesn_${sessions}`, workspace_id: WORKSPACE, spec: SPEC };
    expect(await sendPrewarm(messaging, prewarm)).toBe(pool.id);
    await pool.stop();
    expect(await sendPrewarm(messaging, prewarm)).toBeNull();
  });
});
