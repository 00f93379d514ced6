/** Listing sessions: pages go on from a session, whatever comes and goes between them. */
import { randomIds } from '@manyhands/base';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bucketOf, indexKey, sessionKeys } from '../src/keys.ts';
import type { SessionQuery } from '../src/log-port.ts';
import { createSessionLog } from '../src/sessions/session-log.ts';
import { AGENT, type LogFixture, message, startLogFixture } from './log-fixture.ts';
import { idle, RUNNING, startWorker } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const START_MS = Date.now();
/** What reading one session takes: a script, and what that calls. */
const LOAD_COMMANDS = 5;

/** Creation has Redis' time; a session that is to be of another time is moved there. */
async function make(workspaceId: string, createdAtMs: number, agentId = AGENT.id): Promise<string> {
  const id = randomIds.id('session');
  const agent = { ...AGENT, id: agentId };
  const record = { id, workspace_id: workspaceId, agent, environment_id: 'env_1' };
  await f.log.create({ record, title: null, metadata: {}, budget: null, initialEvents: [], begunAtMs: Date.now() });
  await f.redis.hset(sessionKeys(id).state, 'created_at', createdAtMs);
  for (const filter of ['all', `agent:${agentId}`, `agent:${agentId}:${agent.version}`])
    await f.redis.zadd(indexKey(bucketOf(id), workspaceId, filter, 'idle'), 'XX', createdAtMs, id);
  return id;
}
async function page(workspaceId: string, query: Partial<SessionQuery>) {
  const found = await f.log.list(workspaceId, { limit: 10, order: 'desc', includeArchived: false, ...query });
  return { ...found, ids: found.sessions.map(({ record }) => record.id) };
}
/** All pages, each followed by `between`. */
async function walk(
  workspaceId: string,
  query: Partial<SessionQuery>,
  between: (at: number) => Promise<void> = async () => {},
): Promise<string[]> {
  const seen: string[] = [];
  let cursor: string | undefined;
  for (let at = 0; ; at++) {
    const found = await page(workspaceId, { ...query, ...(cursor === undefined ? {} : { cursor }) });
    seen.push(...found.ids);
    if (found.nextCursor === null) return seen;
    cursor = found.nextCursor;
    await between(at);
  }
}

test('hundreds of sessions of the same millisecond are listed once each, in both orders and any page size', async () => {
  const made = await Promise.all(Array.from({ length: 350 }, () => make('wrkspc_same', START_MS)));
  for (const limit of [7, 100, 349, 350, 351]) {
    const down = await walk('wrkspc_same', { limit });
    expect(down).toHaveLength(350);
    expect(new Set(down)).toEqual(new Set(made));
    expect(await walk('wrkspc_same', { limit, order: 'asc' })).toEqual(down.toReversed());
  }
});

test('sessions made and deleted between pages move none of the others', async () => {
  const made = (await Promise.all(Array.from({ length: 240 }, (_, i) => make('wrkspc_moving', START_MS + i)))).toReversed();
  const removed = new Set<string>();
  const seen = await walk('wrkspc_moving', { limit: 20 }, async (at) => {
    // One that was shown, one that was not yet, and one more in front of all.
    for (const gone of [made[at * 20]!, made[at * 20 + 35]!]) {
      if (gone === undefined || removed.has(gone)) continue;
      await f.log.delete(gone);
      removed.add(gone);
    }
    await make('wrkspc_moving', START_MS + 1_000 + at);
  });
  expect(new Set(seen).size).toBe(seen.length);
  const missed = made.filter((id) => !seen.includes(id));
  expect(missed.every((id) => removed.has(id))).toBe(true);
  expect(seen.every((id) => made.includes(id))).toBe(true);
});

test('few sessions of an agent are found among many of others', async () => {
  const mine = (i: number) => i % 90 === 3;
  const all = await Promise.all(
    Array.from({ length: 450 }, (_, i) => make('wrkspc_sparse', START_MS + Math.floor(i / 5), mine(i) ? 'agent_mine' : AGENT.id)),
  );
  const wanted = all.filter((_, i) => mine(i));
  expect(await walk('wrkspc_sparse', { agentId: 'agent_mine', order: 'asc', limit: 2 })).toEqual(wanted);
  expect(await walk('wrkspc_sparse', { agentId: 'agent_mine', limit: 2 })).toEqual(wanted.toReversed());
  const first = await page('wrkspc_sparse', { agentId: 'agent_mine', order: 'asc', limit: 3 });
  const second = await page('wrkspc_sparse', { agentId: 'agent_mine', order: 'asc', limit: 3, cursor: first.nextCursor! });
  expect(second.nextCursor).toBeNull();
  const back = await page('wrkspc_sparse', { agentId: 'agent_mine', order: 'asc', limit: 3, cursor: second.prevCursor! });
  expect([back.ids, back.prevCursor]).toEqual([wanted.slice(0, 3), null]);
});

test('a page costs the same however many sessions there are, and however few of them a filter finds', async () => {
  const workspace = 'wrkspc_cost';
  const last = await make(workspace, START_MS, 'agent_rare');
  const reads = async (query: Partial<SessionQuery>) => {
    await f.redis.config('RESETSTAT');
    const { ids } = await page(workspace, { limit: 20, ...query });
    const stats = await f.redis.info('commandstats');
    const calls = [...stats.matchAll(/cmdstat_(?!info|config)[\w|]+:calls=(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    return {
      calls: calls - ids.length * LOAD_COMMANDS,
      found: ids.length,
      bytes: Number(/total_net_output_bytes:(\d+)/.exec(await f.redis.info('stats'))![1]),
    };
  };
  await page(workspace, {});
  const few = await reads({});
  await Promise.all(Array.from({ length: 900 }, (_, i) => make(workspace, START_MS + i)));
  const many = await reads({});
  const rare = await reads({ agentId: 'agent_rare' });
  const none = await reads({ statuses: new Set(['rescheduling']) });
  expect([few.found, many.found, rare.found, none.found]).toEqual([1, 20, 1, 0]);
  // Some buckets run out and are asked once more.
  expect(many.calls).toBeLessThan(1.5 * few.calls);
  expect(rare.calls).toBeLessThanOrEqual(few.calls);
  expect(none.calls).toBeLessThan(few.calls);
  expect(rare.bytes).toBeLessThan(many.bytes);
  expect((await page(workspace, { agentId: 'agent_rare' })).ids).toEqual([last]);
});

test('every filter holds together with every other, and a session that was filtered out stays out', async () => {
  const idle = await make('wrkspc_filters', START_MS, 'agent_a');
  const running = await make('wrkspc_filters', START_MS + 1, 'agent_a');
  await f.send(running, message('x'));
  const archived = await make('wrkspc_filters', START_MS + 2, 'agent_a');
  await f.log.archive(archived);
  const other = await make('wrkspc_filters', START_MS + 3, 'agent_b');
  const ids = async (query: Partial<SessionQuery>) => (await page('wrkspc_filters', query)).ids;
  expect(await ids({})).toEqual([other, running, idle]);
  expect(await ids({ includeArchived: true, agentId: 'agent_a' })).toEqual([archived, running, idle]);
  expect(await ids({ includeArchived: true, agentId: 'agent_a', statuses: new Set(['terminated', 'running']) })).toEqual([
    archived,
    running,
  ]);
  expect(await ids({ agentId: 'agent_a', agentVersion: 2 })).toEqual([]);
  expect(await ids({ includeArchived: true, range: { gt: START_MS, lte: START_MS + 2 } })).toEqual([archived, running]);
  expect(await ids({ includeArchived: true, range: { gte: START_MS + 1, lt: START_MS + 3 } })).toEqual([archived, running]);
});

test('a session is in the list of the state it is in, and of no other, through all its life', async () => {
  const workspace = 'wrkspc_life';
  const id = await make(workspace, START_MS);
  const states = async () => {
    const found: string[] = [];
    for (const status of ['idle', 'running', 'rescheduling', 'terminated'] as const)
      if ((await page(workspace, { statuses: new Set([status]), includeArchived: true })).ids.length > 0) found.push(status);
    return found;
  };
  expect(await states()).toEqual(['idle']);
  await f.send(id, message('go'));
  expect(await states()).toEqual(['running']);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [RUNNING, { processed: 1 }] });
  await worker.write({ entries: [{ status: 'rescheduled' }] });
  expect(await states()).toEqual(['rescheduling']);
  await worker.write({ entries: [RUNNING] });
  expect(await states()).toEqual(['running']);
  await worker.write(idle());
  await worker.release();
  expect(await states()).toEqual(['idle']);
  await f.log.archive(id);
  expect(await states()).toEqual(['terminated']);
  expect((await page(workspace, {})).ids).toEqual([]);
  await f.log.delete(id);
  expect(await states()).toEqual([]);
  expect(await f.redis.keys(`mh:*index:${workspace}:*`)).toEqual([]);
});

test('a cursor of one list, order or workspace is no way into another', async () => {
  for (let i = 0; i < 3; i++) await make('wrkspc_cursor', START_MS + i);
  const { nextCursor } = await page('wrkspc_cursor', { limit: 1 });
  await expect(page('wrkspc_cursor', { limit: 1, order: 'asc', cursor: nextCursor! })).rejects.toThrow(/page: .*order=desc/);
  const { id } = await f.session();
  await f.send(id, message('a'), message('b'));
  const events = (await f.log.listEvents(id, { limit: 1, order: 'desc' })).nextCursor!;
  await expect(page('wrkspc_cursor', { cursor: events })).rejects.toThrow(/page: not a cursor of this list/);
  const other = await f.session();
  await expect(f.log.listEvents(other.id, { limit: 1, order: 'desc', cursor: events })).rejects.toThrow(/page: not a cursor of this list/);
  await expect(page('wrkspc_cursor', { cursor: `${nextCursor}!` })).rejects.toThrow(/page: not a cursor/);
  // Another workspace has nothing at that place.
  expect((await page('wrkspc_empty', { cursor: nextCursor! })).ids).toEqual([]);
});

test('the log of another process sees the same pages', async () => {
  const other = createSessionLog(f.deps);
  for (let i = 0; i < 5; i++) await make('wrkspc_two', START_MS + i);
  const first = await page('wrkspc_two', { limit: 2 });
  const rest = await other.list('wrkspc_two', { limit: 10, order: 'desc', includeArchived: false, cursor: first.nextCursor! });
  expect(rest.sessions).toHaveLength(3);
});
