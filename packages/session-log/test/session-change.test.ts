/** What clients change of a session: its agent while it is idle, and its end, even when whoever ends it dies half-way. */
import { randomIds } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { primaryThreadId, type SessionAgent, type Tool } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bucketOf, deletedKey } from '../src/keys.ts';
import { toSession, toThread } from '../src/resources/resources.ts';
import { createSessionLog } from '../src/sessions/session-log.ts';
import type { UsageTotals } from '../src/types.ts';
import { AGENT, type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { threadOf, work } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const TOOLS: Tool[] = [
  { type: 'agent_toolset_20260401', default_config: { enabled: true, permission_policy: { type: 'always_allow' } }, configs: [] },
];
const changed: SessionAgent = { ...AGENT, tools: TOOLS };
const UPDATED = { outcome: 'updated', wakes: [] };
/** The same log on other blobs. */
const logOn = (blobs: BlobStore) => createSessionLog({ ...f.deps, blobs });
/** As if it had been deleted so much earlier. */
async function age(sessionId: string, ms: number): Promise<void> {
  await f.redis.zincrby(deletedKey(bucketOf(sessionId)), -ms, `${sessionId}|${WORKSPACE}`);
}
async function told(id: string): Promise<object[]> {
  return (await f.log.listEvents(id, { limit: 100, order: 'asc' })).events;
}
async function blobsOf(workspaceId: string, id: string): Promise<string[]> {
  const found: string[] = [];
  for await (const key of f.blobs.list(`${workspaceId}/${id}/`)) found.push(key);
  return found;
}
test('an agent changed while idle is what the next worker gets, and the event tells it whole', async () => {
  const { id } = await f.session();
  expect(await f.log.update(id, 0, { agent: changed })).toEqual(UPDATED);
  expect(await told(id)).toEqual([{ type: 'session.updated', agent: changed, id: expect.any(String), processed_at: expect.any(String) }]);
  await f.send(id, message('go'));
  const got = await f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 5_000);
  expect('stored' in got && got.stored.record.agent).toEqual(changed);
});

test('an agent is not changed while the session runs or has input waiting, and nothing else of the request is', async () => {
  const { id } = await f.session();
  await f.send(id, message('go'));
  expect(await f.log.update(id, 0, { agent: changed, title: 'x' })).toEqual({ outcome: 'running' });
  expect((await f.log.get(id))?.record.agent).toEqual(AGENT);
  expect((await f.log.get(id))?.state).toMatchObject({ title: null, revision: 0 });
  expect(await told(id)).toHaveLength(1);
  expect(await f.log.update(id, 0, { title: 'x' })).toEqual(UPDATED);
  await work(f, id);
  expect(await f.log.update(id, 1, { agent: changed })).toEqual(UPDATED);
});

test('of two updates made from the same reading one is told that it is stale', async () => {
  const { id } = await f.session();
  const outcomes = await Promise.all([f.log.update(id, 0, { agent: changed }), f.log.update(id, 0, { title: 'x' })]);
  expect(outcomes.map(({ outcome }) => outcome).toSorted()).toEqual(['stale', 'updated']);
});

test('an event too large for the log comes back whole', async () => {
  const { id, workspace_id } = await f.session();
  const agent = { ...changed, system: 'ü'.repeat(90_000) };
  expect(await f.log.update(id, 0, { agent })).toEqual(UPDATED);
  expect(await blobsOf(workspace_id, id)).toHaveLength(1);
  expect(await told(id)).toMatchObject([{ type: 'session.updated', agent }]);
});

test('metadata that was cleared is not told, and the change is', async () => {
  const { id } = await f.session();
  await f.log.update(id, 0, { metadata: { a: '1' } });
  await f.log.update(id, 1, { metadata: {} });
  const [first, second] = await told(id);
  expect(first).toMatchObject({ type: 'session.updated', metadata: { a: '1' } });
  expect(second).toEqual({ type: 'session.updated', id: expect.any(String), processed_at: expect.any(String) });
});

test('a deletion that died before the blobs were gone is finished later, by anybody and once', async () => {
  const { id, workspace_id } = await f.session();
  const kept = await f.session();
  for (const session of [id, kept.id]) await f.blobs.put(`${workspace_id}/${session}/events/x`, Buffer.from('x'));
  const dying: BlobStore = {
    ...f.blobs,
    deletePrefix: async () => {
      throw new Error('the process died');
    },
  };
  await expect(logOn(dying).delete(id)).rejects.toThrow('died');
  expect(await f.log.get(id)).toBeNull();
  expect(await f.log.delete(id)).toBe('missing');
  expect(await blobsOf(workspace_id, id)).toHaveLength(1);

  expect(await f.log.finishDeletes()).toBe(0);
  await age(id, 61_000);
  await expect(logOn(dying).finishDeletes()).rejects.toThrow('died');
  expect(await blobsOf(workspace_id, id)).toHaveLength(1);
  expect(await f.log.finishDeletes()).toBe(1);
  expect(await blobsOf(workspace_id, id)).toEqual([]);
  expect(await blobsOf(workspace_id, kept.id)).toHaveLength(1);
  expect(await f.log.finishDeletes()).toBe(0);
});

test('what a worker still wrote for a deleted session goes too', async () => {
  const { id, workspace_id } = await f.session();
  expect(await f.log.delete(id)).toBe('deleted');
  await f.blobs.put(`${workspace_id}/${id}/snapshots/late`, Buffer.from('x'));
  await age(id, 61_000);
  expect(await f.log.finishDeletes()).toBe(1);
  expect(await blobsOf(workspace_id, id)).toEqual([]);
});

test('which sessions there are is told of many at once', async () => {
  const [one, two, gone] = await Promise.all([f.session(), f.session(), f.session()]);
  await f.log.delete(gone.id);
  expect(await f.log.existing([one.id, gone.id, 'sesn_never', two.id])).toEqual(new Set([one.id, two.id]));
  expect(await f.log.existing([])).toEqual(new Set());
});

test('a creation that took too long is given up, so that nothing comes of it later', async () => {
  const record = { id: randomIds.id('session'), workspace_id: 'wrkspc_slow', agent: AGENT, environment_id: 'env_test' };
  const created = f.log.create({ record, title: null, metadata: {}, budget: null, initialEvents: [], begunAtMs: Date.now() - 31_000 });
  await expect(created).rejects.toMatchObject({ code: 'unavailable' });
  expect(await f.log.get(record.id)).toBeNull();
});

test('the time a session took stands still when it ended, archived or not', async () => {
  const { id } = await f.session();
  const stored = (await f.log.get(id))!;
  const at = (more: object) =>
    toSession({ ...stored, as_of_ms: 9_000, state: { ...stored.state, created_at_ms: 1_000, updated_at_ms: 4_000, ...more } }, () => 0)
      .stats;
  expect(at({})).toEqual({ active_seconds: 0, duration_seconds: 8 });
  expect(at({ status: 'terminated' })).toEqual({ active_seconds: 0, duration_seconds: 3 });
  expect(at({ status: 'terminated', archived_at_ms: 6_000 })).toEqual({ active_seconds: 0, duration_seconds: 5 });
  expect(at({ status: 'running', active_ms: 500, running_since_ms: 8_000 })).toEqual({ active_seconds: 1.5, duration_seconds: 8 });
});

test('what a session cost is told with its running time, what a thread cost without; what has no price is not guessed', async () => {
  const { id } = await f.session();
  const stored = (await f.log.get(id))!;
  const thread = await threadOf(f, id);
  const used = { ...stored.state.usage, input_tokens: 5, web_search_requests: 2, list_cost_nano: 25_000_000 };
  const told = (usage: UsageTotals) => [
    toSession({ ...stored, state: { ...stored.state, usage, active_ms: 1_000 } }, (ms) => ms * 10_000).usage,
    toThread(id, { ...thread, state: { ...thread.state, usage, active_ms: 1_000 } }).usage,
  ];
  const common = { input_tokens: 5, active_seconds: 1, server_tool_use: { web_search_requests: 2, web_fetch_requests: 0 } };
  expect(told(used)).toMatchObject([
    { ...common, list_cost: { amount: '3', currency: 'USD' } },
    { ...common, list_cost: { amount: '2', currency: 'USD' } },
  ]);
  expect(told({ ...used, list_cost_nano: null })).toMatchObject([{ list_cost: null }, { list_cost: null }]);
  expect(toSession(stored, () => 0).usage).toMatchObject({ list_cost: { amount: '0' }, server_tool_use: null });
});
