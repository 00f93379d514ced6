/** Leases: who gets one, when it counts as lost, and what a worker that ended with an exception leaves (I3, I5, I15). */
import { randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bucketOf, dueKey } from '../src/keys.ts';
import { type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { call, INTERRUPT, idle, RUNNING, say, startWorker, stateOf, threadOf, work } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const acquire = (id: string, ttlMs = 60_000) =>
  f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', ttlMs);
async function nowMs(): Promise<number> {
  const [seconds, micros] = await f.redis.time();
  return Number(seconds) * 1_000 + Number(micros) / 1_000;
}
/** As soon as a lease of a millisecond has lapsed. */
async function afterLapse(id: string) {
  const got = await until(
    async () => {
      const answer = await acquire(id, 1);
      return 'lease' in answer && answer;
    },
    { what: 'the lease lapsed', intervalMs: 2 },
  );
  return got;
}

test('a lease that was given back is not revived by a late renewal, and the next message waits for nobody', async () => {
  const { id } = await f.session([message('go')]);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [{ processed: 1 }] });
  await worker.write(idle());
  await worker.release();
  expect(await f.writer.renew(worker.lease, 60_000)).toBeNull();
  expect(await f.marks(id)).toEqual([]);
  await f.send(id, message('next'));
  expect(await acquire(id)).toMatchObject({ lease: { recoveries: 0 } });
  // Nor is that of the next holder prolonged by the one before.
  expect(await f.writer.renew(worker.lease, 600_000)).toBeNull();
  const busy = await acquire(id);
  expect('busyForMs' in busy && busy.busyForMs <= 60_000).toBe(true);
});

test('a renewal tells how far the log is, and holds off everybody else for as long again', async () => {
  const { id } = await f.session([message('go')]);
  const { lease } = await startWorker(f, id);
  await f.send(id, message('more'));
  expect(await f.writer.renew(lease, 300_000)).toEqual({ head: 2, interrupt: 0 });
  const busy = await acquire(id);
  expect('busyForMs' in busy && busy.busyForMs > 200_000).toBe(true);
});

describe('a wake-up too many', () => {
  const CAP = { type: 'limit', max_list_cost: { amount: '2', currency: 'USD' } } as const;
  const states: [name: string, make: () => Promise<string>, answer: object][] = [
    ['new', async () => (await f.session()).id, { nothing: true }],
    [
      'idle',
      async () => {
        const { id } = await f.session([message('go')]);
        await work(f, id);
        return id;
      },
      { nothing: true },
    ],
    [
      'idle, its worker dead before it gave the lease back',
      async () => {
        const { id } = await f.session([message('go')]);
        const lease = await f.acquire(id, 'w', 1);
        await f.writer.append(lease, 1, { ...idle(), entries: [{ processed: 1 }] });
        await until(async () => !('busyForMs' in (await acquire(id))), { what: 'the lease lapsed', intervalMs: 2 });
        return id;
      },
      { nothing: true },
    ],
    [
      'at its budget',
      async () => {
        const { id } = await f.session([message('go')], CAP);
        const worker = await startWorker(f, id);
        await worker.write({ entries: [RUNNING, { processed: 1 }], usage: { list_cost_nano: 20_000_000 } });
        await worker.write({ ...idle('budget_reached'), budget: 'reached' });
        await worker.release();
        return id;
      },
      { nothing: true },
    ],
    [
      'awaiting action, with a message queued behind its call',
      async () => {
        const { id } = await f.session([message('go')]);
        const worker = await startWorker(f, id);
        const { batch } = call('custom');
        await worker.write({ ...batch, entries: [{ processed: 1 }, ...batch.entries] });
        await f.send(id, message('later'));
        await worker.write(idle('requires_action'));
        await worker.release();
        return id;
      },
      { nothing: true },
    ],
    [
      'archived',
      async () => {
        const { id } = await f.session();
        await f.log.archive(id);
        return id;
      },
      { missing: true },
    ],
    [
      'deleted',
      async () => {
        const { id } = await f.session();
        await f.log.delete(id);
        return id;
      },
      { missing: true },
    ],
    ['never there', async () => randomIds.id('session'), { missing: true }],
  ];
  test.each(states)('of a session that is %s gets no lease, changes nothing and leaves no mark', async (_name, make, answer) => {
    const id = await make();
    const before = await f.log.get(id);
    // As a sweep that raced, or a job that was added twice.
    await f.redis.zadd(dueKey(bucketOf(id)), 1, `${id}|${primaryThreadId(id)}|${WORKSPACE}`);
    expect(await acquire(id)).toEqual(answer);
    expect(await f.marks(id)).toEqual([]);
    expect(await acquire(id)).toEqual(answer);
    expect({ ...(await f.log.get(id)), as_of_ms: 0 }).toEqual({ ...before, as_of_ms: 0 });
  });

  test('because a client sends again what is stored, to a session at its budget, wakes nobody', async () => {
    const { id } = await f.session([], CAP);
    const request = { sessionId: id, bodies: [message('go')], digest: 'once', isRetry: false };
    await f.log.send(request);
    const worker = await startWorker(f, id);
    await worker.write({ entries: [RUNNING, { processed: 1 }], usage: { list_cost_nano: 20_000_000 } });
    await worker.write({ ...idle('budget_reached'), budget: 'reached' });
    await worker.release();
    expect(await f.log.send({ ...request, isRetry: true })).toMatchObject({ outcome: 'repeated', events: [{ type: 'user.message' }] });
    expect(await f.marks(id)).toEqual([]);
    expect(await acquire(id)).toEqual({ nothing: true });
  });
});

describe('a recovery', () => {
  test('is counted when a lease lapsed, until the turn makes progress', async () => {
    const { id } = await f.session([message('go')]);
    expect((await afterLapse(id)).lease.recoveries).toBe(0);
    expect((await afterLapse(id)).lease.recoveries).toBe(1);
    const { lease } = await afterLapse(id);
    expect(lease.recoveries).toBe(2);
    await f.writer.append(lease, 1, { entries: [{ processed: 1 }, say('further')], progress: true });
    expect((await afterLapse(id)).lease.recoveries).toBe(1);
  });

  test('is not counted for a lease that was given back, in whatever way', async () => {
    const { id } = await f.session([message('go')]);
    for (const how of ['done', 'failed', 'unavailable', 'done'] as const) {
      const { lease } = await f.acquire(id).then((taken) => ({ lease: taken }));
      expect(lease.recoveries).toBe(0);
      await f.writer.release(lease, how);
    }
  });

  test('is not counted for the turn that comes after one that ended, however its worker ended after it', async () => {
    const { id } = await f.session([message('go')]);
    const { lease } = await afterLapse(id);
    await f.writer.append(lease, 1, { ...idle(), entries: [{ processed: 1 }] });
    await until(async () => 'nothing' in (await acquire(id)), { what: 'the lease lapsed', intervalMs: 2 });
    await f.send(id, message('next'));
    expect((await f.acquire(id)).recoveries).toBe(0);
  });
});

describe('a worker that ends with an exception', () => {
  /** Milliseconds for which the thread is left alone after a release, as far as they are known. */
  async function backOff(id: string, how: 'failed' | 'unavailable'): Promise<{ least: number; most: number }> {
    const lease = await f.acquire(id);
    const before = await nowMs();
    await f.writer.release(lease, how);
    const after = await nowMs();
    const [mark] = await f.marks(id);
    return { least: mark!.atMs - after, most: mark!.atMs - before };
  }
  const near = ({ least, most }: { least: number; most: number }, ms: number) => least <= ms && ms <= most + 1;

  test.each(['failed', 'unavailable'] as const)('(%s) leaves the thread due with a back-off that grows up to 30 s', async (how) => {
    const { id } = await f.session([message('go')]);
    for (const ms of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
      expect([ms, near(await backOff(id, how), ms)]).toEqual([ms, true]);
    expect((await threadOf(f, id)).state).toMatchObject({ status: 'running', exceptions: how === 'failed' ? 7 : 0 });
    const worker = await startWorker(f, id);
    await worker.write({ entries: [say('further')], progress: true });
    await worker.release();
    expect((await threadOf(f, id)).state.exceptions).toBe(0);
    expect(near(await backOff(id, how), 1_000)).toBe(true);
  });

  test('while its thread rests already is looked at once more, and no more', async () => {
    const { id } = await f.session([message('go')]);
    const worker = await startWorker(f, id);
    await worker.write({ ...idle(), entries: [{ processed: 1 }] });
    await worker.release('failed');
    expect(await f.marks(id)).toHaveLength(1);
    expect(await acquire(id)).toEqual({ nothing: true });
    expect(await f.marks(id)).toEqual([]);
  });

  test('gives nothing back that it does not hold any more', async () => {
    const { id } = await f.session([message('go')]);
    const { lease } = await afterLapse(id);
    const next = (await afterLapse(id)).lease;
    await f.writer.release(lease, 'failed');
    expect((await threadOf(f, id)).state.exceptions).toBe(0);
    await f.writer.release(next, 'failed');
    await f.writer.release(next, 'failed');
    expect((await threadOf(f, id)).state.exceptions).toBe(1);
  });
});

test('what a worker needs to begin with comes with its lease: the session, its thread, what waits, and the log behind the checkpoint', async () => {
  const { id } = await f.session([message('one'), message('two')]);
  const first = await startWorker(f, id);
  await first.write({ entries: [RUNNING, { processed: 1 }, say('answer')] });
  await first.write({ entries: [], checkpoint: { position: 4, blob: 'b' } });
  await first.release();
  await f.send(id, INTERRUPT);
  const got = await acquire(id);
  if (!('lease' in got)) throw new Error(JSON.stringify(got));
  expect(got.lease).toMatchObject({ epoch: 2, head: 7, sequence: (await stateOf(f, id)).sequence });
  expect(got.stored.record.id).toBe(id);
  expect(got.thread.state.checkpoint).toEqual({ position: 4, blob: 'b' });
  expect(got.queued).toEqual([2, 7]);
  expect(got.entries.map(({ position }) => position)).toEqual([5, 6, 7]);
});

test('an append that ends the work may give the lease back in the same call: no mark is left, and what is refused keeps it', async () => {
  const { id } = await f.session([message('go')]);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [{ processed: 1 }] });
  const end = { entries: [], idle: { stop: { type: 'end_turn' }, known: 99, captured: 0, release: true } } as const;
  await f.send(id, message('one more'));
  expect(await f.writer.append(worker.lease, 2, { ...end, entries: [] })).toEqual({ outcome: 'pending' });
  expect(await f.writer.renew(worker.lease, 60_000)).not.toBeNull();
  const [waiting] = await f.log.pending(id);
  expect(await f.writer.append(worker.lease, 2, { ...end, entries: [{ processed: waiting!.position }] })).toMatchObject({
    outcome: 'applied',
  });
  expect(await f.marks(id)).toEqual([]);
  expect(await f.writer.renew(worker.lease, 60_000)).toBeNull();
  await f.send(id, message('next'));
  expect(await acquire(id)).toMatchObject({ lease: { recoveries: 0 } });
});
