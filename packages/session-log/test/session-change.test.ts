/** What clients change of a session: its agent while it is idle, and its end, even when whoever ends it dies half-way. */
import { randomIds, systemClock } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { EventBody, SessionAgent, Tool } from '@manyhands/contract';
import { silentLogger } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSessionLog, toSession, toThread, type UsageTotals } from '../src/index.ts';
import { AGENT, type Fixture, message, startFixture } from './fixture.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const TOOLS: Tool[] = [
  { type: 'agent_toolset_20260401', default_config: { enabled: true, permission_policy: { type: 'always_allow' } }, configs: [] },
];
const changed: SessionAgent = { ...AGENT, tools: TOOLS };
const event = (body: EventBody) => ({ event: { id: randomIds.eventId(0), body } });
/** The same log some time later, on other blobs if given. */
const logAt = (laterMs: number, blobs: BlobStore = f.blobs) =>
  createSessionLog({ redis: f.redis, blobs, clock: { now: () => Date.now() + laterMs }, ids: randomIds, log: silentLogger });
async function told(id: string): Promise<object[]> {
  return (await f.log.listEvents(id, { limit: 100, order: 'asc' })).events;
}
async function blobsOf(workspaceId: string, id: string): Promise<string[]> {
  const found: string[] = [];
  for await (const key of f.blobs.list(`${workspaceId}/${id}/`)) found.push(key);
  return found;
}
/** Takes up what waits and goes idle. */
async function work(id: string): Promise<void> {
  const lease = await f.acquire(id);
  const waiting = await f.log.pending(id);
  await f.writer.append(lease, 1, { entries: waiting.map(({ position }) => ({ stamp: position })) });
  await f.writer.append(lease, 2, { entries: [], state: { status: 'idle', runningSinceMs: null }, goIdle: true });
  await f.writer.release(lease, false);
}

test('an agent changed while idle is what the next worker gets, and the event tells it whole', async () => {
  const { id } = await f.session();
  expect(await f.log.update(id, 0, { agent: changed })).toBe('updated');
  expect(await told(id)).toEqual([{ type: 'session.updated', agent: changed, id: expect.any(String), processed_at: expect.any(String) }]);
  await f.send(id, message('go'));
  const got = await f.writer.acquire(id, 'w', 5_000);
  expect('stored' in got && got.stored.record.agent).toEqual(changed);
});

test('an agent is not changed while the session runs or has input waiting, and nothing else of the request is', async () => {
  const { id } = await f.session();
  await f.send(id, message('go'));
  expect(await f.log.update(id, 0, { agent: changed, title: 'x' })).toBe('running');
  expect((await f.log.get(id))?.record.agent).toEqual(AGENT);
  expect((await f.log.get(id))?.state).toMatchObject({ title: null, revision: 0 });
  expect(await told(id)).toHaveLength(1);
  expect(await f.log.update(id, 0, { title: 'x' })).toBe('updated');
  await work(id);
  expect(await f.log.update(id, 1, { agent: changed })).toBe('updated');
});

test('of two updates made from the same reading one is told that it is stale', async () => {
  const { id } = await f.session();
  const outcomes = await Promise.all([f.log.update(id, 0, { agent: changed }), f.log.update(id, 0, { title: 'x' })]);
  expect(outcomes.toSorted()).toEqual(['stale', 'updated']);
});

test('an event too large for the log comes back whole', async () => {
  const { id, workspace_id } = await f.session();
  const agent = { ...changed, system: 'ü'.repeat(90_000) };
  expect(await f.log.update(id, 0, { agent })).toBe('updated');
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
  await expect(logAt(0, dying).delete(id)).rejects.toThrow('died');
  expect(await f.log.get(id)).toBeNull();
  expect(await f.log.delete(id)).toBe('missing');
  expect(await blobsOf(workspace_id, id)).toHaveLength(1);

  expect(await f.log.finishDeletes()).toBe(0);
  await expect(logAt(61_000, dying).finishDeletes()).rejects.toThrow('died');
  expect(await blobsOf(workspace_id, id)).toHaveLength(1);
  expect(await logAt(61_000).finishDeletes()).toBeGreaterThan(0);
  expect(await blobsOf(workspace_id, id)).toEqual([]);
  expect(await blobsOf(workspace_id, kept.id)).toHaveLength(1);
  expect(await logAt(61_000).finishDeletes()).toBe(0);
});

test('what a worker still wrote for a deleted session goes too', async () => {
  const { id, workspace_id } = await f.session();
  expect(await f.log.delete(id)).toBe('deleted');
  await f.blobs.put(`${workspace_id}/${id}/snapshots/late`, Buffer.from('x'));
  expect(await logAt(61_000).finishDeletes()).toBe(1);
  expect(await blobsOf(workspace_id, id)).toEqual([]);
});

test('which sessions there are is told of many at once', async () => {
  const [one, two, gone] = await Promise.all([f.session(), f.session(), f.session()]);
  await f.log.delete(gone.id);
  expect(await f.log.existing([one.id, gone.id, 'sesn_never', two.id])).toEqual(new Set([one.id, two.id]));
  expect(await f.log.existing([])).toEqual(new Set());
});

test('a creation that took too long is given up, so that nothing comes of it later', async () => {
  const record = {
    id: randomIds.id('session'),
    workspace_id: 'wrkspc_slow',
    agent: AGENT,
    environment_id: 'env_test',
    created_at_ms: Date.now(),
  };
  const create = () => logAt(31_000).create({ record, title: null, metadata: {}, budget: null, initialEvents: [] });
  await expect(create()).rejects.toMatchObject({ code: 'unavailable' });
  expect(await f.log.get(record.id)).toBeNull();
});

test('the time a session took stands still when it ended, archived or not', async () => {
  const record = { id: 'sesn_x', workspace_id: 'w', agent: AGENT, environment_id: 'env_x', created_at_ms: 1_000 };
  const { id } = await f.session();
  const stored = (await f.log.get(id))!;
  const { state } = stored;
  const at = (more: object, nowMs: number) =>
    toSession({ ...stored, record, state: { ...state, updated_at_ms: 4_000, ...more } }, nowMs, () => 0).stats;
  expect(at({}, 9_000)).toEqual({ active_seconds: 0, duration_seconds: 8 });
  expect(at({ status: 'terminated' }, 9_000)).toEqual({ active_seconds: 0, duration_seconds: 3 });
  expect(at({ status: 'terminated', archived_at_ms: 6_000 }, 9_000)).toEqual({ active_seconds: 0, duration_seconds: 5 });
  expect(at({ status: 'running', active_ms: 500, running_since_ms: 8_000 }, 9_000)).toEqual({ active_seconds: 1.5, duration_seconds: 8 });
});

test('what a session cost is told with its running time, what a thread cost without; what has no price is not guessed', async () => {
  const { id } = await f.session();
  const stored = (await f.log.get(id))!;
  const { state } = stored;
  const used = { ...state.usage, input_tokens: 5, web_search_requests: 2, list_cost_nano: 25_000_000 };
  const told = (usage: UsageTotals) => {
    const at = { ...stored, state: { ...state, usage, active_ms: 1_000 } };
    return [toSession(at, systemClock.now(), (ms) => ms * 10_000).usage, toThread(at, systemClock.now()).usage];
  };
  const common = { input_tokens: 5, active_seconds: 1, server_tool_use: { web_search_requests: 2, web_fetch_requests: 0 } };
  expect(told(used)).toMatchObject([
    { ...common, list_cost: { amount: '3', currency: 'USD' } },
    { ...common, list_cost: { amount: '2', currency: 'USD' } },
  ]);
  expect(told({ ...used, list_cost_nano: null })).toMatchObject([{ list_cost: null }, { list_cost: null }]);
  expect(toSession(stored, systemClock.now(), () => 0).usage).toMatchObject({ list_cost: { amount: '0' }, server_tool_use: null });
});

describe('a budget', () => {
  const CAP = { type: 'limit', max_list_cost: { amount: '2', currency: 'USD' } } as const;
  const RAISED = { type: 'limit', max_list_cost: { amount: '3', currency: 'USD' } } as const;
  const START = event({ type: 'span.model_request_start' });
  const revision = async (id: string) => (await f.log.get(id))!.state.revision;
  /** A session that stopped at its budget. */
  async function capped(): Promise<string> {
    const { id } = await f.session([message('hi')], CAP);
    const lease = await f.acquire(id);
    const idle = { status: 'idle', runningSinceMs: null, spentNano: 20_000_000, capped: true } as const;
    const told = await f.writer.append(lease, 1, {
      entries: [{ stamp: 1 }],
      goIdle: true,
      state: idle,
      budget: { spentNano: 20_000_000, must: 'reached' },
    });
    expect(told.outcome).toBe('applied');
    await f.writer.release(lease, false);
    return id;
  }

  test('is compared at the append itself: exactly at the cap nothing is left, and what was refused may be tried anew', async () => {
    const { id } = await f.session([message('hi')], CAP);
    const lease = await f.acquire(id);
    const append = (spentNano: number, must: 'left' | 'reached', n = 1) =>
      f.writer.append(lease, n, { entries: [START], budget: { spentNano, must } });
    expect((await append(20_000_000, 'left')).outcome).toBe('budget');
    expect((await append(19_999_999, 'reached')).outcome).toBe('budget');
    expect((await append(19_999_999, 'left')).outcome).toBe('applied');
    expect((await append(20_000_000, 'reached', 2)).outcome).toBe('applied');
    const free = await f.session([message('hi')]);
    const other = await f.acquire(free.id);
    expect((await f.writer.append(other, 1, { entries: [START], budget: { spentNano: 9e15, must: 'left' } })).outcome).toBe('applied');
  });

  test('that is reached refuses work, takes an interrupt without a trace, and goes on when it is raised or taken away', async () => {
    for (const budget of [RAISED, null]) {
      const id = await capped();
      const { head } = (await f.log.get(id))!.state;
      expect(await f.send(id, message('more'))).toEqual({ outcome: 'capped', index: 0 });
      const ignored = await f.send(id, { type: 'user.interrupt', session_thread_id: null });
      expect(ignored).toMatchObject({ outcome: 'stored', startsWork: false, events: [{ processed_at: expect.any(String) }] });
      expect((await f.log.get(id))!.state).toMatchObject({ head, status: 'idle' });
      expect(await f.log.update(id, await revision(id), { title: 'same budget' })).toBe('updated');
      expect(await f.log.update(id, await revision(id), { budget })).toBe('wants_worker');
      const { state } = (await f.log.get(id))!;
      expect(state).toMatchObject({ status: 'running', budget, running_since_ms: expect.any(Number) });
      expect(await f.writer.due(100, 0)).toContainEqual({ sessionId: id, workspaceId: 'wrkspc_test' });
      expect((await f.send(id, message('more'))).outcome).toBe('stored');
      const { events } = await f.log.listEvents(id, { limit: 10, order: 'desc' });
      expect(events.find((told) => told.type === 'session.updated')).toMatchObject({ budget });
    }
  });

  test('that is raised between the last request and the idle that would tell of it keeps the turn going', async () => {
    const { id } = await f.session([message('hi')], CAP);
    const lease = await f.acquire(id);
    expect(await f.log.update(id, await revision(id), { budget: RAISED })).toBe('updated');
    const idle = { entries: [{ stamp: 1 }], goIdle: true, budget: { spentNano: 20_000_000, must: 'reached' as const } };
    expect((await f.writer.append(lease, 1, idle)).outcome).toBe('budget');
    expect((await f.log.get(id))!.state.status).toBe('running');
    expect((await f.writer.append(lease, 1, { entries: [START], budget: { spentNano: 20_000_000, must: 'left' } })).outcome).toBe(
      'applied',
    );
  });
});
