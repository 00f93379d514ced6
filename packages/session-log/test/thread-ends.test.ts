/** What all threads of a session share, and what ends them: the sandbox binding, archiving, deletion. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bucketOf, bucketPrefix, threadKeys } from '../src/keys.ts';
import type { SandboxBinding } from '../src/types.ts';
import { type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { answer, call, idle, messageTo, newThread, say, startFamily, startWorker, stateOf, typesIn } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const bound = (generation: number, id: string | null): SandboxBinding => ({ generation, sandbox_id: id, pool_id: id && 'pool_1' });

/** A session that rests, with its children. */
async function restingFamily(names: string[]) {
  const family = await startFamily(f, names);
  for (const worker of [family.primary, ...family.children.map((child) => child.worker)]) {
    await worker.write(idle());
    await worker.release();
  }
  return family;
}

describe('the binding of the sandbox', () => {
  test('is set by one of several threads that saw none, and the others are told which it is', async () => {
    const { id, children } = await startFamily(f, ['one', 'two', 'three']);
    const results = await Promise.all(
      children.map(({ worker }, i) => worker.append({ entries: [say(`${i}`)], sandbox: { value: bound(1, `sbx_${i}`), expected: null } })),
    );
    const won = results.findIndex(({ outcome }) => outcome === 'applied');
    const lost = results.filter(({ outcome }) => outcome !== 'applied');
    expect(lost).toEqual([1, 2].map(() => ({ outcome: 'bound', sandbox: bound(1, `sbx_${won}`) })));
    expect((await stateOf(f, id)).sandbox).toEqual(bound(1, `sbx_${won}`));
    // What lost wrote nothing.
    for (const [i, child] of children.entries()) expect((await typesIn(f, id, 0, child.id)).includes('agent.message')).toBe(i === won);
  });

  test('is changed by whoever knows it only: by generation and by sandbox', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const { worker } = children[0]!;
    await primary.write({ entries: [], sandbox: { value: bound(1, 'sbx_a'), expected: null } });
    const change = (expected: SandboxBinding | null) => worker.append({ entries: [], sandbox: { value: bound(2, 'sbx_b'), expected } });
    expect(await change(null)).toEqual({ outcome: 'bound', sandbox: bound(1, 'sbx_a') });
    expect(await change(bound(1, 'sbx_other'))).toEqual({ outcome: 'bound', sandbox: bound(1, 'sbx_a') });
    expect(await change(bound(2, 'sbx_a'))).toEqual({ outcome: 'bound', sandbox: bound(1, 'sbx_a') });
    expect((await change(bound(1, 'sbx_a'))).outcome).toBe('applied');
    expect((await stateOf(f, id)).sandbox).toEqual(bound(2, 'sbx_b'));
  });

  test('that is given up says when, in the order of the session, so that later calls are known to have been in none', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    await primary.write({ entries: [], sandbox: { value: bound(1, 'sbx_a'), expected: null } });
    const ended = await primary.write({ entries: [say('lost')], sandbox: { value: bound(1, null), expected: bound(1, 'sbx_a') } });
    const known = { ...bound(1, null), ended_at: ended.sequence };
    expect((await stateOf(f, id)).sandbox).toEqual(known);
    const { worker } = children[0]!;
    expect(await worker.append({ entries: [], sandbox: { value: bound(2, 'sbx_b'), expected: bound(1, 'sbx_a') } })).toEqual({
      outcome: 'bound',
      sandbox: known,
    });
    expect((await worker.append({ entries: [], sandbox: { value: bound(2, 'sbx_b'), expected: known } })).outcome).toBe('applied');
  });

  test('knows when its sandbox last answered any thread, for the generation that is bound', async () => {
    const { id } = await f.session();
    expect(await f.writer.sandboxSilence(id, 1)).toBeNull();
    await f.writer.sandboxAnswered(id, 1);
    expect(await f.writer.sandboxSilence(id, 1)).toBeGreaterThanOrEqual(0);
    expect(await f.writer.sandboxSilence(id, 2)).toBeNull();
    await f.log.delete(id);
    await f.writer.sandboxAnswered(id, 2);
    expect(await f.writer.sandboxSilence(id, 2)).toBeNull();
  });
});

describe('archiving a session', () => {
  test('tells every thread terminated, each in its own log and all in the primary’s, and the session last', async () => {
    const { id, primary, children } = await restingFamily(['one', 'two']);
    const before = (await f.log.get(id))!;
    const head = (await f.log.thread(before, primary.lease.threadId))!.state.head;
    expect(await f.log.archive(id)).toBe('archived');
    expect(await typesIn(f, id, head)).toEqual([
      ...['', '', ''].map(() => 'session.thread_status_terminated'),
      'session.status_terminated',
    ]);
    for (const child of children) expect((await typesIn(f, id, 0, child.id)).at(-1)).toBe('session.thread_status_terminated');
    const stored = (await f.log.get(id))!;
    const threads = await f.log.threads(stored);
    expect(threads.map(({ state }) => state.status)).toEqual(['terminated', 'terminated', 'terminated']);
    expect(threads.every(({ state }) => state.archived_at_ms === stored.state.archived_at_ms)).toBe(true);
    expect(stored.state.status).toBe('terminated');
    expect(await f.log.archive(id)).toBe('archived');
    expect((await f.log.get(id))!.state.sequence).toBe(stored.state.sequence);
  });

  test('is refused while any thread works, also one that nobody but its parent knows', async () => {
    const { id, primary } = await startFamily(f, []);
    const thread = newThread();
    await primary.write({ ...idle(), threads: [thread], messages: [messageTo(thread.record.id, primary.lease.threadId)] });
    await primary.release();
    expect(await f.log.archive(id)).toBe('running');
    expect(await f.log.delete(id)).toBe('running');
  });

  test('ends what its threads could still do', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    const asked = call('custom');
    await worker!.write(asked.batch);
    await worker!.write(idle('requires_action'));
    await primary.write(idle());
    await f.log.archive(id);
    await expect(worker!.append({ entries: [say('late')] })).rejects.toMatchObject({ code: 'fenced' });
    expect(await f.send(id, answer(asked.id))).toEqual({ outcome: 'archived' });
    await worker!.release();
    expect(await f.writer.acquire({ sessionId: id, threadId: child, workspaceId: WORKSPACE }, 'w', 5_000)).toEqual({ missing: true });
  });
});

describe('deleting a session', () => {
  test('ends the keys of all its threads: at once what nobody reads any more, after a minute what streams still read', async () => {
    const { id, children } = await restingFamily(['one', 'two']);
    await f.send(id, { type: 'user.interrupt', session_thread_id: null });
    expect(await f.log.delete(id)).toBe('deleted');
    expect((await typesIn(f, id)).at(-1)).toBe('session.deleted');
    const keys = await f.redis.keys(`*${id}*`);
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) {
      const ttl = await f.redis.ttl(key);
      expect([key, ttl > 0 && ttl <= 60]).toEqual([key, true]);
    }
    for (const child of children) expect(keys).not.toContain(threadKeys(id, child.id).record);
    expect(await f.marks(id)).toEqual([]);
    for (const list of await f.redis.keys(`${bucketPrefix(bucketOf(id))}index:*`)) expect(await f.redis.zscore(list, id)).toBeNull();
  });

  test('refuses every later word of its workers, and nothing of it comes back', async () => {
    const { id, primary } = await startFamily(f, []);
    await primary.write(idle());
    expect(await f.log.delete(id)).toBe('deleted');
    await expect(primary.append({ entries: [say('late')] })).rejects.toMatchObject({ code: 'fenced' });
    expect(await f.writer.renew(primary.lease, 5_000)).toBeNull();
    await primary.release('failed');
    expect(await f.marks(id)).toEqual([]);
    expect(await f.send(id, message('late'))).toEqual({ outcome: 'missing' });
    expect(await f.log.update(id, 0, { title: 'late' })).toEqual({ outcome: 'missing' });
    for (const key of await f.redis.keys(`*${id}*`)) expect(await f.redis.ttl(key)).toBeGreaterThan(0);
  });

  test('leaves the other sessions of its bucket alone', async () => {
    const kept = await f.session([message('stay')]);
    const { id } = await f.session();
    await f.log.delete(id);
    const worker = await startWorker(f, kept.id);
    expect((await worker.append({ entries: [{ processed: 1 }] })).outcome).toBe('applied');
  });
});
