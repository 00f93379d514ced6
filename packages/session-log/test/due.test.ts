/** The due set: what lapsed is found by one sweep, once, among however much that runs (C55, I5). */
import { randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { BUCKETS, bucketOf, dueKey } from '../src/keys.ts';
import { createSessionWriter } from '../src/work/session-writer.ts';
import { AGENT, type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { idle, startFamily, startWorker } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());
beforeEach(async () => {
  await f.redis.flushall();
});

const BUCKET = 7;
function idInBucket(): string {
  for (;;) {
    const id = randomIds.id('session');
    if (bucketOf(id) === BUCKET) return id;
  }
}
/** A session of the bucket with a message, taken up for `leaseMs` or not at all. */
async function running(leaseMs: number | null): Promise<string> {
  const record = { id: idInBucket(), workspace_id: WORKSPACE, agent: AGENT, environment_id: 'env_test' };
  await f.log.create({ record, title: null, metadata: {}, budget: null, initialEvents: [message('go')], begunAtMs: Date.now() });
  if (leaseMs !== null) await f.acquire(record.id, 'w', leaseMs);
  return record.id;
}
const member = (id: string, threadId = primaryThreadId(id)) => `${id}|${threadId}|${WORKSPACE}`;
/** As if its time had come. */
const pass = (id: string, threadId?: string) => f.redis.zadd(dueKey(bucketOf(id)), 'XX', 1, member(id, threadId));
async function nowMs(): Promise<number> {
  const [seconds, micros] = await f.redis.time();
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}
const scoreOf = async (id: string) => Number(await f.redis.zscore(dueKey(bucketOf(id)), member(id)));

/** Commands that the server ran, those of scripts included. */
async function commandsOf(work: () => Promise<unknown>): Promise<Record<string, number>> {
  await f.redis.config('RESETSTAT');
  await work();
  const stats = await f.redis.info('commandstats');
  const counted = [...stats.matchAll(/cmdstat_([\w|]+):calls=(\d+)/g)].map(([, name, calls]) => [name!, Number(calls)] as const);
  return Object.fromEntries(counted.filter(([name]) => !/^(info|config|ping)/.test(name)));
}

test('a thread that lost its wake-up is found at once among 300 of its bucket that run', async () => {
  await Promise.all(Array.from({ length: 300 }, () => running(60_000)));
  const lost = await running(null);
  const found = await until(
    async () => {
      const due = await f.writer.due(10);
      return due.length > 0 && due;
    },
    { what: 'a send that nobody took up is due' },
  );
  expect(found).toEqual([{ sessionId: lost, threadId: primaryThreadId(lost), workspaceId: WORKSPACE }]);
});

test('a thread whose worker died is found when its lease ends, one whose worker renews is not', async () => {
  const dead = await running(1);
  const alive = await running(1);
  const worker = await until(
    async () => {
      const got = await f.writer.acquire({ sessionId: alive, threadId: primaryThreadId(alive), workspaceId: WORKSPACE }, 'w', 60_000);
      return 'lease' in got && got.lease;
    },
    { what: 'the lease lapsed', intervalMs: 2 },
  );
  expect(await f.writer.renew(worker, 120_000)).not.toBeNull();
  expect((await scoreOf(alive)) - (await nowMs())).toBeGreaterThan(100_000);
  const found = await until(
    async () => {
      const due = await f.writer.due(10);
      return due.length > 0 && due;
    },
    { what: 'the lease of a dead worker is over' },
  );
  expect(found.map(({ sessionId }) => sessionId)).toEqual([dead]);
});

test('of many sweepers one is told, and for ten seconds nobody else', async () => {
  const id = await running(null);
  await pass(id);
  const sweepers = Array.from({ length: 8 }, () => createSessionWriter(f.deps));
  const told = await Promise.all(sweepers.map((sweeper) => sweeper.due(100)));
  expect(told.flat()).toHaveLength(1);
  const ahead = (await scoreOf(id)) - (await nowMs());
  expect(ahead).toBeGreaterThan(5_000);
  expect(ahead).toBeLessThanOrEqual(10_000);
  // Who took it up is asked again at the end of the lease only.
  await f.acquire(id, 'w', 60_000);
  expect((await scoreOf(id)) - (await nowMs())).toBeGreaterThan(50_000);
});

test('a sweep is told of so many of a bucket at most, those that are due longest first, and the next of the rest', async () => {
  const ids = await Promise.all(Array.from({ length: 7 }, () => running(null)));
  for (const [i, id] of ids.entries()) await f.redis.zadd(dueKey(BUCKET), 'XX', i + 1, member(id));
  const told = async () => (await f.writer.due(3)).map(({ sessionId }) => sessionId);
  expect(await told()).toEqual(ids.slice(0, 3));
  expect(await told()).toEqual(ids.slice(3, 6));
  expect(await told()).toEqual(ids.slice(6));
  expect(await told()).toEqual([]);
});

test('a sweep costs the same however much runs', async () => {
  const sweep = () => commandsOf(() => f.writer.due(100));
  await Promise.all(Array.from({ length: 10 }, () => running(60_000)));
  await sweep();
  const few = await sweep();
  for (let part = 0; part < 5; part++) await Promise.all(Array.from({ length: 198 }, () => running(60_000)));
  expect(await f.redis.zcard(dueKey(BUCKET))).toBe(1_000);
  expect(await sweep()).toEqual(few);
  expect(few).toEqual({ evalsha: BUCKETS, time: BUCKETS, zrangebyscore: BUCKETS });
});

test('a send is due a second later, a wait to try again when it is over, work that is done not at all', async () => {
  const id = await running(null);
  const due = async (sinceMs: number) => (await scoreOf(id)) - sinceMs;
  const now = await nowMs();
  expect(await due(now)).toBeLessThanOrEqual(1_000);
  expect(await due(now)).toBeGreaterThan(0);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [{ processed: 1 }, { status: 'rescheduled' }], waitMs: 300_000 });
  await worker.release();
  expect(await due(now)).toBeGreaterThanOrEqual(300_000);
  const again = await startWorker(f, id);
  await again.write({ entries: [{ status: 'running' }] });
  await again.release();
  // Handed over in the middle of a turn: whoever is woken is there sooner than a sweep.
  expect(await due(now)).toBeLessThan(60_000);
  const last = await startWorker(f, id);
  await last.write(idle());
  await last.release();
  expect(await f.redis.zcard(dueKey(BUCKET))).toBe(0);
});

test('threads of one session are due each for itself', async () => {
  const { id, primary, children } = await startFamily(f, ['one', 'two']);
  const threads = [primary, ...children.map(({ worker }) => worker)].map(({ lease }) => lease.threadId);
  expect((await f.marks(id)).map(({ threadId }) => threadId).toSorted()).toEqual(threads.toSorted());
  await pass(id, children[1]!.id);
  expect(await f.writer.due(10)).toEqual([{ sessionId: id, threadId: children[1]!.id, workspaceId: WORKSPACE }]);
});

test.each(['archive', 'delete'] as const)('a session that a client ends (%s) is not due any more', async (end) => {
  const { id, primary, children } = await startFamily(f, ['kid']);
  for (const worker of [primary, children[0]!.worker]) await worker.write(idle());
  // Its workers did not give their leases back yet.
  expect(await f.marks(id)).toHaveLength(2);
  await f.log[end](id);
  expect(await f.marks(id)).toEqual([]);
  for (const worker of [primary, children[0]!.worker]) await worker.release();
  expect(await f.marks(id)).toEqual([]);
});

test('a mark of what is not there is woken once', async () => {
  const id = idInBucket();
  await f.redis.zadd(dueKey(BUCKET), 1, member(id));
  const [found] = await f.writer.due(10);
  expect(found).toEqual({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE });
  expect(await f.writer.acquire(found!, 'w', 5_000)).toEqual({ missing: true });
  expect(await f.redis.zcard(dueKey(BUCKET))).toBe(0);
});
