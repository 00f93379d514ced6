/** Interrupts in a session with many threads: whom they reach, where they are stored, and what has to wait for them. */
import { type ClientEventBody, primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bucketOf, dueKey } from '../src/keys.ts';
import { type LogFixture, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { call, INTERRUPT, idle, messageTo, newThread, RUNNING, say, startFamily, stateOf, threadOf, typesIn } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const interruptOf = (session_thread_id: string): ClientEventBody => ({ type: 'user.interrupt', session_thread_id });
const listed = async (id: string) => (await f.log.listEvents(id, { limit: 1_000, order: 'asc' })).events;
const pendingTypes = async (id: string, threadId?: string) =>
  (await f.log.pending(id, undefined, threadId)).map((entry) => entry.event.type);

describe('an interrupt of the session', () => {
  test('is stored once, in the log of the primary thread, and reaches every child that works', async () => {
    const { id, primary, children } = await startFamily(f, ['one', 'two', 'rests']);
    const [one, two, rests] = children.map(({ worker }) => worker);
    await rests!.write(idle());
    await rests!.release();
    const before = (await stateOf(f, id)).sequence;
    expect(await f.send(id, INTERRUPT)).toMatchObject({ outcome: 'stored', wakes: [], events: [{ processed_at: null }] });
    expect((await stateOf(f, id)).sequence).toBe(before + 1);
    expect(await pendingTypes(id)).toEqual(['user.interrupt']);
    expect((await listed(id)).filter((told) => told.type === 'user.interrupt')).toHaveLength(1);
    for (const worker of [one!, two!]) {
      expect(await f.writer.renew(worker.lease, 60_000)).toMatchObject({ interrupt: before + 1 });
      expect(await pendingTypes(id, worker.lease.threadId)).toEqual([]);
      expect(await typesIn(f, id, 0, worker.lease.threadId)).not.toContain('user.interrupt');
    }
    expect((await threadOf(f, id, rests!.lease.threadId)).state).toMatchObject({ status: 'idle', interrupt: 0 });
    expect((await f.marks(id)).map(({ threadId }) => threadId)).not.toContain(rests!.lease.threadId);
    expect(await f.writer.renew(primary.lease, 60_000)).toMatchObject({ interrupt: 0 });
  });

  test('reaches the children that work while the primary thread rests, for which it is handled at once', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    await primary.write(idle());
    await primary.release();
    const sent = await f.send(id, INTERRUPT);
    expect(sent).toMatchObject({ outcome: 'stored', wakes: [], events: [{ processed_at: expect.any(String) }] });
    expect(await pendingTypes(id)).toEqual([]);
    expect((await threadOf(f, id)).state.status).toBe('idle');
    expect((await threadOf(f, id, children[0]!.id)).state.interrupt).toBe((await stateOf(f, id)).sequence);
  });

  test('leaves a child alone that rests on calls of its own', async () => {
    const { id, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    await worker!.write(call('custom').batch);
    await worker!.write(idle('requires_action'));
    await worker!.release();
    await f.send(id, INTERRUPT);
    expect((await threadOf(f, id, child)).state).toMatchObject({ status: 'idle', interrupt: 0 });
  });

  test('keeps a child from resting until it is handled, and a newer one has to be handled, too', async () => {
    const { id, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    await f.send(id, INTERRUPT);
    const { interrupt } = (await threadOf(f, id, child)).state;
    expect(await worker!.append(idle())).toEqual({ outcome: 'pending' });
    await f.send(id, INTERRUPT);
    expect(await worker!.append({ ...idle(), interruptHandled: interrupt })).toEqual({ outcome: 'pending' });
    const newer = (await threadOf(f, id, child)).state.interrupt;
    expect(newer).toBe(interrupt + 1);
    expect((await worker!.append({ ...idle(), interruptHandled: newer })).outcome).toBe('applied');
    expect((await threadOf(f, id, child)).state).toMatchObject({ status: 'idle', interrupt: 0 });
  });
});

describe('while an interrupt waits for it, a thread', () => {
  test('makes no thread and sends no message, the primary one', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    await f.send(id, INTERRUPT);
    const from = primary.lease.threadId;
    expect(await primary.append({ entries: [], threads: [newThread()] })).toEqual({ outcome: 'pending' });
    expect(await primary.append({ entries: [], messages: [messageTo(children[0]!.id, from)] })).toEqual({ outcome: 'pending' });
    expect(await primary.append({ entries: [say('only said')] })).toMatchObject({ outcome: 'applied' });
    const [queued] = await f.log.pending(id);
    await primary.write({ entries: [{ processed: queued!.position }] });
    expect((await primary.append({ entries: [], messages: [messageTo(children[0]!.id, from)] })).outcome).toBe('applied');
    expect((await stateOf(f, id)).children).toBe(1);
  });

  test('makes no thread and sends no message, a child either, until it says that it has handled it', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    await f.send(id, INTERRUPT);
    const thread = newThread();
    const batch = { entries: [], threads: [thread], messages: [messageTo(primary.lease.threadId, child)] };
    expect(await worker!.append(batch)).toEqual({ outcome: 'pending' });
    const { interrupt } = (await threadOf(f, id, child)).state;
    expect((await worker!.append({ ...batch, interruptHandled: interrupt })).outcome).toBe('applied');
  });
});

describe('an interrupt of one thread', () => {
  test('waits in the log of that child, is shown in the primary’s in both appearances, and reaches nobody else', async () => {
    const { id, children } = await startFamily(f, ['one', 'two']);
    const [one, two] = children.map(({ worker }) => worker);
    const { threadId } = one!.lease;
    expect(await f.send(id, interruptOf(threadId))).toMatchObject({ outcome: 'stored', wakes: [] });
    expect(await pendingTypes(id, threadId)).toEqual(['user.interrupt']);
    expect(await pendingTypes(id)).toEqual([]);
    expect((await listed(id)).at(-1)).toMatchObject({ type: 'user.interrupt', processed_at: null, session_thread_id: threadId });
    expect(await f.writer.renew(two!.lease, 60_000)).toMatchObject({ interrupt: 0 });
    expect(await one!.append(idle())).toEqual({ outcome: 'pending' });
    const [queued] = await f.log.pending(id, undefined, threadId);
    await one!.write({ entries: [{ processed: queued!.position }] });
    expect((await listed(id)).filter((told) => told.type === 'user.interrupt')).toMatchObject([
      { processed_at: expect.any(String), session_thread_id: threadId },
    ]);
    expect((await one!.append(idle())).outcome).toBe('applied');
  });

  test('that rests is recorded as handled, and no work', async () => {
    const { id, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    await worker!.write(idle());
    await worker!.release();
    const sent = await f.send(id, interruptOf(child));
    expect(sent).toMatchObject({ outcome: 'stored', wakes: [], events: [{ processed_at: expect.any(String) }] });
    expect((await threadOf(f, id, child)).state.status).toBe('idle');
    expect((await typesIn(f, id, 0, child)).at(-1)).toBe('user.interrupt');
  });

  test('that rests on its calls is work for it', async () => {
    const { id, primary, children } = await startFamily(f, ['kid']);
    const [{ id: child, worker } = { id: '', worker: null }] = children;
    await worker!.write(call('custom').batch);
    await worker!.write(idle('requires_action'));
    await worker!.release();
    await primary.write(idle());
    expect(await f.send(id, interruptOf(child))).toMatchObject({ wakes: [child] });
    expect((await threadOf(f, id)).state.status).toBe('idle');
    const got = await f.writer.acquire({ sessionId: id, threadId: child, workspaceId: WORKSPACE }, 'w', 5_000);
    expect('queued' in got && got.queued).toHaveLength(1);
  });

  test('named by the id of the primary thread does not reach its children', async () => {
    const { id, children } = await startFamily(f, ['kid']);
    expect(await f.send(id, interruptOf(primaryThreadId(id)))).toMatchObject({ outcome: 'stored' });
    expect(await pendingTypes(id)).toEqual(['user.interrupt']);
    expect((await threadOf(f, id, children[0]!.id)).state.interrupt).toBe(0);
  });
});

test('an interrupt does not wait for a back-off to pass, neither the primary thread nor a child', async () => {
  const { id, primary, children } = await startFamily(f, ['kid']);
  const workers = [primary, children[0]!.worker];
  for (const worker of workers) {
    await worker.write({ entries: [{ status: 'rescheduled' }], waitMs: 600_000 });
    await worker.release();
  }
  const [seconds] = await f.redis.time();
  const now = Number(seconds) * 1_000;
  expect((await f.marks(id)).every(({ atMs }) => atMs > now + 500_000)).toBe(true);
  await f.send(id, INTERRUPT);
  expect((await f.marks(id)).every(({ atMs }) => atMs < now + 60_000)).toBe(true);
  expect(await f.redis.zcard(dueKey(bucketOf(id)))).toBeGreaterThanOrEqual(2);
  for (const { lease } of workers) {
    const got = await f.acquire(id, 'w2', 60_000, lease.threadId);
    await f.writer.append(got, 1, { entries: [RUNNING] });
    await f.writer.release(got, 'done');
  }
  // What the interrupt ended is over for good.
  expect((await f.marks(id)).every(({ atMs }) => atMs < now + 60_000)).toBe(true);
});
