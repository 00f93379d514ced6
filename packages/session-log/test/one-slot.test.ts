/** Redis Cluster: whatever the log does touches one slot at a time, wherever its buckets lie (DESIGN 5). */
import { randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { startTestRedisCluster, until } from '@manyhands/test-kit';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bucketOf, deletedKey, dueKey, sessionKeys, threadKeys } from '../src/keys.ts';
import { upgradeSessions } from '../src/legacy/upgrade.ts';
import { AGENT, type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { makeOldSession, OLD_MS, TURN } from './old-session.ts';
import { answer, call, confirm, event, INTERRUPT, idle, RUNNING, say, startFamily, startWorker, stateOf, threadOf, work } from './steps.ts';

let f: LogFixture;
/** Names of the scripts that were called. */
const called = new Set<string>();
let cluster: Awaited<ReturnType<typeof startTestRedisCluster>>;
beforeAll(async () => {
  cluster = await startTestRedisCluster();
  f = await startLogFixture(async () => cluster);
  const scripts = f.redis as unknown as Record<string, (...words: unknown[]) => unknown>;
  for (const name of Object.keys(scripts).filter((key) => /^mh[A-Z]\w*(?<!Buffer)$/.test(key))) {
    const run = scripts[name]!;
    scripts[name] = (...words) => {
      called.add(name);
      return run(...words);
    };
  }
});
afterAll(() => f[Symbol.asyncDispose]());

const BUDGET = { type: 'limit', max_list_cost: { amount: '2', currency: 'USD' } } as const;
const pass = (id: string) => f.redis.zadd(dueKey(bucketOf(id)), 'XX', 1, `${id}|${primaryThreadId(id)}|${WORKSPACE}`);

test('sessions lie on all masters, and each page of their list merges what these have', async () => {
  const ids = await Promise.all(
    Array.from({ length: 60 }, async () => {
      const record = { id: randomIds.id('session'), workspace_id: 'wrkspc_wide', agent: AGENT, environment_id: 'env_test' };
      await f.log.create({ record, title: null, metadata: {}, budget: null, initialEvents: [], begunAtMs: Date.now() });
      return record.id;
    }),
  );
  const masters = new Set<number>();
  // One after the other: each asks every node.
  for (const id of ids) {
    if (masters.size < 3) masters.add((await cluster.masterOf(sessionKeys(id).state)).port);
  }
  expect(masters.size).toBe(3);
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await f.log.list('wrkspc_wide', { limit: 7, order: 'desc', includeArchived: true, agentId: AGENT.id, cursor });
    seen.push(...page.sessions.map(({ record }) => record.id));
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  expect(seen.toSorted()).toEqual(ids.toSorted());
  expect(await f.log.existing([...ids, 'sesn_never'])).toEqual(new Set(ids));
});

test('a session lives its whole life: sent to, worked at by two threads, changed, listed, archived, deleted', async () => {
  const { id, primary, children } = await startFamily(f, ['kid'], undefined, BUDGET);
  const { worker: kid, id: child } = children[0]!;
  const asked = call('ask');
  const custom = call('custom');
  await kid.write({ ...asked.batch, usage: { output_tokens: 1 }, sandboxUses: 1 });
  await kid.write(custom.batch);
  await primary.write({ entries: [say('x')], sandbox: { value: { generation: 1, sandbox_id: 's', pool_id: 'p' }, expected: null } });
  await f.writer.sandboxAnswered(id, 1);
  expect(await f.writer.sandboxSilence(id, 1)).not.toBeNull();
  expect(await f.send(id, confirm(asked.id), answer(custom.id), message('more'))).toMatchObject({ outcome: 'stored' });
  expect(await f.writer.renew(kid.lease, 60_000)).not.toBeNull();
  for (const [worker, threadId] of [
    [primary, primary.lease.threadId],
    [kid, child],
  ] as const) {
    const queued = await f.log.pending(id, undefined, threadId);
    await worker.write({ entries: queued.map(({ position }) => ({ processed: position })) });
    await worker.write(idle('end_turn', { captured: 1 }));
    await worker.release();
  }
  expect((await stateOf(f, id)).status).toBe('idle');
  expect(await f.log.update(id, 0, { title: 'new', budget: null })).toMatchObject({ outcome: 'updated' });
  const { events } = await f.log.listEvents(id, { limit: 1_000, order: 'desc', types: new Set(['session.updated', 'user.message']) });
  expect(events.map(({ type }) => type)).toEqual(['session.updated', 'user.message', 'user.message']);
  const from = await f.log.listEvents(id, { limit: 1_000, order: 'asc', range: { gte: (await stateOf(f, id)).created_at_ms } });
  expect(from.events.length).toBeGreaterThan(10);
  expect(await f.log.findEvent(id, asked.id)).not.toBeNull();
  expect(await f.log.findEvent(id, asked.id, child)).not.toBeNull();
  expect(await f.log.addFile(id, { id: 'r1', file_id: 'file_1', mount_path: '/a', created_at_ms: 1 })).toEqual({ outcome: 'added' });
  expect(await f.log.files(id)).toMatchObject({ revision: 1 });
  expect(await f.log.removeFile(id, 'r1')).toBe('removed');
  expect((await threadOf(f, id, child)).state.head).toBeGreaterThan(5);
});

test('what is due on any master is found, and what was deleted on any of them is finished', async () => {
  const ids = await Promise.all(Array.from({ length: 20 }, async () => (await f.session([message('go')])).id));
  await Promise.all(ids.map(pass));
  const due = (await f.writer.due(10)).map(({ sessionId }) => sessionId);
  expect(ids.every((id) => due.includes(id))).toBe(true);
  for (const id of ids) {
    await work(f, id);
    expect(await f.log.archive(id)).toBe('archived');
    expect(await f.log.delete(id)).toBe('deleted');
    await f.redis.zincrby(deletedKey(bucketOf(id)), -120_000, `${id}|${WORKSPACE}`);
  }
  expect(await f.log.finishDeletes()).toBe(20);
});

test('appends and previews are published on a channel of the slot', async () => {
  const { id } = await f.session();
  const threadId = primaryThreadId(id);
  const node = await cluster.masterOf(sessionKeys(id).state);
  const subscriber = new Redis(node.url, { protocol: 2 });
  const got: string[] = [];
  subscriber.on('smessage', (_channel: string, text: string) => got.push(text));
  await subscriber.ssubscribe(threadKeys(id, threadId).feed);
  try {
    await f.send(id, INTERRUPT, message('x'));
    const worker = await startWorker(f, id);
    await worker.write({ entries: [RUNNING, event({ type: 'agent.thinking' })] });
    await f.writer.preview(worker.lease, []);
    await until(() => got.length === 3, { what: 'all is published' });
    expect(got.map((text) => JSON.parse(text) as object)).toMatchObject([
      { format: 2, first: 1, count: 2 },
      { format: 2, first: 3, count: 3 },
      { format: 2, previews: [] },
    ]);
  } finally {
    subscriber.disconnect();
  }
});

test('what 0.1.0 left is put into the new format, when it is touched or at the upgrade', async () => {
  const work = { entries: TURN, state: { status: 'running', running_since: OLD_MS }, dirtyMs: OLD_MS };
  const [touched, ...others] = await Promise.all(Array.from({ length: 9 }, () => makeOldSession(f, work)));
  expect(await f.log.get(touched!.id)).toMatchObject({ state: { status: 'running' } });
  await upgradeSessions(f.redis);
  for (const { id } of others) expect(await f.marks(id)).toHaveLength(1);
  const { sessions } = await f.log.list(WORKSPACE, { limit: 100, order: 'asc', includeArchived: false, range: { lte: OLD_MS } });
  expect(sessions).toHaveLength(9);
});

test('every script ran here, but that of the feed', () => {
  const names = Object.keys(f.redis).filter((name) => /^mh[A-Z]\w*(?<!Buffer)$/.test(name));
  expect(names.length).toBeGreaterThan(15);
  expect(names.filter((name) => !called.has(name))).toEqual(['mhHeads']);
});
