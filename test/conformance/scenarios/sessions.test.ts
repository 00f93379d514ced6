/** SE-1..6 on an installation without a worker: what clients send stays queued, so every state holds still. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { BetaManagedAgentsSession as Session, SessionCreateParams } from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import { createRedis, randomIds } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { primaryThreadId } from '@manyhands/contract';
import { createSessionWriter } from '@manyhands/session-log';
import { silentLogger } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import { all, expectRefusal, expectRejection, raw } from '../client.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'gateway' });
const sessions = () => stack().client().beta.sessions;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const say = (text: string) => ({ type: 'user.message' as const, content: [{ type: 'text' as const, text }] });
const NO_USAGE = {
  input_tokens: 0,
  output_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
  active_seconds: 0,
  list_cost: { amount: '0', currency: 'USD' },
  server_tool_use: null,
};

async function parts(): Promise<{ agent: string; environment_id: string }> {
  const { agents, environments } = stack().client().beta;
  const agent = await agents.create({ name: 'tester', model: 'm', system: 's', tools: [{ type: 'agent_toolset_20260401' }] });
  return { agent: agent.id, environment_id: (await environments.create({ name: 'e' })).id };
}
async function open(more: Partial<SessionCreateParams> = {}): Promise<Session> {
  return sessions().create({ ...(await parts()), ...more });
}
const history = (id: string) => all(sessions().events.list(id));

describe('creating', () => {
  verifies('sessions.create.defaults', async () => {
    const { agent, environment_id } = await parts();
    const session = await sessions().create({ agent, environment_id });
    const {
      metadata: _m,
      created_at: _c,
      updated_at: _u,
      archived_at: _a,
      ...snapshot
    } = await stack().client().beta.agents.retrieve(agent);
    expect(session).toEqual({
      type: 'session',
      id: expect.stringMatching(/^sesn_[A-Za-z0-9]+$/),
      status: 'idle',
      title: null,
      agent: snapshot,
      environment_id,
      vault_ids: [],
      resources: [],
      outcome_evaluations: [],
      stats: { active_seconds: 0, duration_seconds: expect.any(Number) },
      usage: NO_USAGE,
      budget: null,
      metadata: {},
      deployment_id: null,
      created_at: expect.stringMatching(RFC3339),
      updated_at: session.created_at,
      archived_at: null,
    });
    const read = await sessions().retrieve(session.id);
    expect({ ...read, stats: session.stats }).toEqual(session);
    expect(await history(session.id)).toEqual([]);
  });

  verifies('sessions.create.snapshot', async () => {
    const { agent, environment_id } = await parts();
    const session = await sessions().create({ agent, environment_id });
    await stack().client().beta.agents.update(agent, { name: 'renamed' });
    expect((await sessions().retrieve(session.id)).agent).toEqual(session.agent);
    expect((await sessions().create({ agent, environment_id })).agent).toMatchObject({ name: 'renamed', version: 2 });
    const pinned = await sessions().create({ agent: { type: 'agent', id: agent, version: 1 }, environment_id });
    expect(pinned.agent).toMatchObject({ id: agent, name: 'tester', version: 1 });
    await expectRejection(sessions().create({ agent: { type: 'agent', id: agent, version: 9 }, environment_id }), {
      status: 404,
      says: '9',
    });
    await stack().client().beta.agents.archive(agent);
    await expectRejection(sessions().create({ agent: { type: 'agent', id: agent, version: 1 }, environment_id }), {
      status: 400,
      says: 'archived',
    });
    expect((await sessions().retrieve(session.id)).status).toBe('idle');
  });

  verifies('sessions.create.initial_events', async () => {
    const session = await open({ title: 't', metadata: { a: '1' }, initial_events: [say('one'), say('two')] });
    expect(session).toMatchObject({ status: 'running', title: 't', metadata: { a: '1' } });
    const events = await history(session.id);
    expect(events).toEqual([
      { ...say('one'), id: expect.stringMatching(/^sevt_\w+$/), processed_at: null },
      { ...say('two'), id: expect.stringMatching(/^sevt_\w+$/), processed_at: null },
    ]);
    expect((await open({ initial_events: [] })).status).toBe('idle');
  });

  verifies(['sessions.create.refusals', 'sessions.create.not_yet'], async () => {
    const base = await parts();
    const before = (await all(sessions().list({ limit: 100, include_archived: true }))).length;
    const wrong: [object, number, string | string[]][] = [
      [{ agent: undefined }, 400, 'agent: required'],
      [{ environment_id: undefined }, 400, 'environment_id: required'],
      [{ agent: 5 }, 400, 'agent'],
      [{ agent: { type: 'agent' } }, 400, 'agent.id'],
      [{ agent: { type: 'agent', id: base.agent, version: 0 } }, 400, 'agent.version'],
      [{ agent: 'agent_unknown' }, 404, 'agent_unknown'],
      [{ agent: base.environment_id }, 404, base.environment_id],
      [{ environment_id: 'env_unknown' }, 404, 'env_unknown'],
      [{ title: 7 }, 400, 'title'],
      [{ title: 't'.repeat(5000) }, 400, 'title'],
      [{ metadata: { a: 1 } }, 400, 'metadata.a'],
      [{ model: 'm' }, 400, 'model: unknown field'],
      [{ initial_events: [{ type: 'user.interrupt' }] }, 400, 'initial_events.0'],
      [{ initial_events: [say('ok'), { type: 'user.message', content: [] }] }, 400, 'initial_events.1.content'],
      [{ initial_events: Array.from({ length: 51 }, () => say('x')) }, 400, 'initial_events'],
      [{ initial_events: [{ ...say('x'), extra: 1 }] }, 400, 'initial_events.0.extra: unknown field'],
      [{ resources: [{ type: 'file', file_id: 'file_1' }] }, 404, ['file', 'file_1']],
      [{ resources: [{ type: 'file', file_id: 'file_1', mount_path: '/etc/x' }] }, 400, 'resources.0.mount_path'],
      [{ resources: [{ type: 'github_repository', url: 'u' }] }, 400, ['resources.0', 'not supported yet']],
      [{ vault_ids: ['vlt_1'] }, 400, ['vault_ids', 'not supported yet']],
      [{ budget: { type: 'limit', max_list_cost: { amount: '0', currency: 'USD' } } }, 400, 'budget.max_list_cost.amount'],
      [{ budget: { type: 'limit', max_list_cost: { amount: '1', currency: 'EUR' } } }, 400, 'budget.max_list_cost.currency'],
      [
        { agent: { type: 'agent_with_overrides', id: base.agent, skills: [{ type: 'anthropic', skill_id: 'xlsx' }] } },
        400,
        ['agent.skills', 'not supported yet'],
      ],
      [
        { initial_events: [{ type: 'user.define_outcome', description: 'x', rubric: { type: 'text', content: 'y' } }] },
        400,
        ['initial_events.0', 'not supported yet'],
      ],
    ];
    for (const [fields, status, says] of wrong)
      expectRefusal(await raw(stack(), 'POST', '/v1/sessions', { body: { ...base, ...fields } }), { status, says });
    const budget = { type: 'limit', max_list_cost: { amount: '1', currency: 'USD' } };
    const unpriced = { ...base, agent: { type: 'agent_with_overrides', id: base.agent, model: 'nobody-knows' }, budget };
    const answer = await raw(stack(), 'POST', '/v1/sessions', { body: unpriced });
    expectRefusal(answer, { status: 400, says: 'budget: ', code: 'model_not_budgetable' });
    expect((await all(sessions().list({ limit: 100, include_archived: true }))).length).toBe(before);
  });
});

describe('updating', () => {
  verifies('sessions.update', async () => {
    const session = await open({ title: 'one', metadata: { a: '1', b: '2' } });
    const updated = await sessions().update(session.id, { title: 'two', metadata: { a: null, c: '3' } });
    expect(updated).toMatchObject({ title: 'two', metadata: { b: '2', c: '3' }, status: 'idle' });
    expect(updated.updated_at >= session.updated_at).toBe(true);
    expect(await sessions().update(session.id, {})).toMatchObject({ title: 'two' });
    expect(await sessions().update(session.id, { title: 'two', metadata: { c: '3' }, vault_ids: undefined as never })).toMatchObject({
      title: 'two',
    });
    expect((await sessions().update(session.id, { title: null })).title).toBeNull();
    // What changed, and nothing about what did not.
    expect(await history(session.id)).toEqual([
      {
        type: 'session.updated',
        id: expect.any(String),
        processed_at: expect.stringMatching(RFC3339),
        title: 'two',
        metadata: { b: '2', c: '3' },
      },
      { type: 'session.updated', id: expect.any(String), processed_at: expect.stringMatching(RFC3339), title: null },
    ]);
    const running = await open({ initial_events: [say('x')] });
    expect(await sessions().update(running.id, { title: 'new' })).toMatchObject({ title: 'new', status: 'running' });
    await Promise.all(Array.from({ length: 10 }, (_, i) => sessions().update(session.id, { metadata: { [`k${i}`]: 'v' } })));
    expect(Object.keys((await sessions().retrieve(session.id)).metadata)).toHaveLength(12);
  });

  verifies('sessions.update.refusals', async () => {
    const session = await open({ metadata: { a: '1' } });
    const wrong: [object, string | string[]][] = [
      [{ title: 5 }, 'title'],
      [{ status: 'idle' }, 'status: unknown field'],
      [{ metadata: { a: 1 } }, 'metadata.a'],
      [{ metadata: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`k${i}`, 'v'])) }, 'metadata'],
      [{ vault_ids: [] }, 'vault_ids'],
      [{ vault_ids: ['vlt_1'] }, 'vault_ids'],
      [{ agent: { mcp_servers: [{ type: 'url', name: 'x', url: 'https://example.com' }] } }, ['agent.mcp_servers', 'not supported yet']],
    ];
    for (const [body, says] of wrong)
      expectRefusal(await raw(stack(), 'POST', `/v1/sessions/${session.id}`, { body }), { status: 400, says });
    const budget = { type: 'limit', max_list_cost: { amount: '1', currency: 'USD' } };
    const late = await raw(stack(), 'POST', `/v1/sessions/${session.id}`, { body: { budget } });
    expectRefusal(late, { status: 400, says: 'budget: ', code: 'budget_create_only' });
    expect(await sessions().retrieve(session.id)).toMatchObject({ metadata: { a: '1' }, updated_at: session.updated_at });
    expect(await history(session.id)).toEqual([]);
  });
});

describe('listing', () => {
  verifies('sessions.list.paging', async () => {
    const base = await parts();
    const made: string[] = [];
    for (let i = 0; i < 7; i++) made.unshift((await sessions().create({ ...base, title: `${i}` })).id);
    const query = { agent_id: base.agent, limit: 3 };
    const ids = (page: { data: Session[] }) => page.data.map(({ id }) => id);
    const first = await sessions().list(query);
    expect(ids(first)).toEqual(made.slice(0, 3));
    expect(first.prev_page ?? null).toBeNull();
    const second = await sessions().list({ ...query, page: first.next_page! });
    expect(ids(second)).toEqual(made.slice(3, 6));
    const third = await sessions().list({ ...query, page: second.next_page! });
    expect(ids(third)).toEqual(made.slice(6));
    expect(third.next_page).toBeNull();
    const back = await sessions().list({ ...query, page: third.prev_page! });
    expect(ids(back)).toEqual(made.slice(3, 6));
    const start = await sessions().list({ ...query, page: back.prev_page! });
    expect(ids(start)).toEqual(made.slice(0, 3));
    expect(start.prev_page ?? null).toBeNull();
    expect(ids(await sessions().list({ ...query, page: start.next_page! }))).toEqual(made.slice(3, 6));
    expect((await all(sessions().list({ ...query, limit: 2, order: 'asc' }))).map(({ id }) => id)).toEqual(made.toReversed());
    // limit and other filters may change in the middle of a walk, order may not.
    expect(ids(await sessions().list({ limit: 1, page: first.next_page! }))).toEqual([made[3]]);
    await expectRejection(sessions().list({ ...query, order: 'asc', page: first.next_page! }), { status: 400, says: ['page', 'order'] });
    await expectRejection(sessions().list({ ...query, page: 'nonsense' }), { status: 400, says: 'page' });
    const agents = stack().client().beta.agents;
    const foreign = (await agents.list({ limit: 1 })).next_page!;
    await expectRejection(sessions().list({ page: foreign }), { status: 400, says: 'page' });
  });

  verifies('sessions.list.cursor_range', async () => {
    const base = await parts();
    const made: Session[] = [];
    for (let i = 0; i < 4; i++) made.push(await sessions().create(base));
    const page = (await sessions().list({ agent_id: base.agent, limit: 2 })).next_page!;
    await expectRejection(sessions().list({ agent_id: base.agent, page, 'created_at[lt]': '2026-01-01T00:00:00Z' }), {
      status: 400,
      says: 'created_at',
    });
    const asc = (await sessions().list({ agent_id: base.agent, limit: 2, order: 'asc' })).next_page!;
    await expectRejection(sessions().list({ agent_id: base.agent, page: asc, order: 'asc', 'created_at[gt]': '2999-01-01T00:00:00Z' }), {
      status: 400,
      says: 'created_at',
    });
  });

  verifies('sessions.list.filters', async () => {
    const base = await parts();
    const idle = await sessions().create(base);
    const running = await sessions().create({ ...base, initial_events: [say('x')] });
    const gone = await sessions().create(base);
    await sessions().archive(gone.id);
    await stack().client().beta.agents.update(base.agent, { name: 'v2' });
    const second = await sessions().create(base);
    const ids = async (query: object) => (await all(sessions().list({ agent_id: base.agent, ...query }))).map(({ id }) => id);
    expect(await ids({})).toEqual([second.id, running.id, idle.id]);
    expect(await ids({ include_archived: true })).toEqual([second.id, gone.id, running.id, idle.id]);
    expect(await ids({ statuses: ['running'] })).toEqual([running.id]);
    expect(await ids({ statuses: ['idle', 'running'], order: 'asc' })).toEqual([idle.id, running.id, second.id]);
    expect(await ids({ statuses: ['terminated'], include_archived: true })).toEqual([gone.id]);
    expect(await ids({ agent_version: 1 })).toEqual([running.id, idle.id]);
    expect(await ids({ agent_id: 'agent_unknown' })).toEqual([]);
    expect(await ids({ 'created_at[gt]': second.created_at })).toEqual([]);
    expect(await ids({ 'created_at[gte]': second.created_at })).toContain(second.id);
    expect(await ids({ 'created_at[lt]': idle.created_at })).toEqual([]);
    expect(await ids({ 'created_at[lte]': idle.created_at })).toContain(idle.id);
    for (const query of [
      'statuses[]=done',
      'order=up',
      'agent_version=1',
      'agent_id=a&agent_version=0',
      'deployment_id=depl_1',
      'memory_store_id=memstore_1',
      'created_at[gt]=1',
    ])
      expectRefusal(await raw(stack(), 'GET', `/v1/sessions?${query}`), { status: 400 });
  });
});

describe('the end of a session', () => {
  verifies('sessions.archive', async () => {
    const session = await open();
    const archived = await sessions().archive(session.id);
    expect(archived).toMatchObject({ id: session.id, status: 'terminated', archived_at: expect.stringMatching(RFC3339) });
    const again = await sessions().archive(session.id);
    expect({ ...again, stats: 0 }).toEqual({ ...archived, stats: 0 });
    expect((await sessions().retrieve(session.id)).status).toBe('terminated');
    const thread = session.id.replace('sesn_', 'sthr_');
    expect(await history(session.id)).toMatchObject([
      { type: 'session.thread_status_terminated', session_thread_id: thread, agent_name: 'tester' },
      { type: 'session.status_terminated' },
    ]);
    await expectRejection(sessions().events.send(session.id, { events: [say('x')] }), {
      status: 409,
      says: 'archived',
      shouldRetry: 'false',
    });
    await expectRejection(sessions().update(session.id, { title: 'x' }), { status: 409, says: 'archived', shouldRetry: 'false' });
    expect(await history(session.id)).toHaveLength(2);
  });

  verifies('sessions.running.kept', async () => {
    const session = await open({ initial_events: [say('x')] });
    await expectRejection(sessions().archive(session.id), { status: 400, says: ['running', 'interrupt'] });
    await expectRejection(sessions().delete(session.id), { status: 400, says: ['running', 'interrupt'] });
    expect((await sessions().retrieve(session.id)).status).toBe('running');
    expect(await history(session.id)).toHaveLength(1);
  });

  verifies('sessions.delete', async () => {
    const session = await open();
    await sessions().archive(session.id);
    const thread = session.id.replace('sesn_', 'sthr_');
    expect(await sessions().delete(session.id)).toEqual({ id: session.id, type: 'session_deleted' });
    for (const call of [
      () => sessions().retrieve(session.id),
      () => sessions().update(session.id, { title: 'x' }),
      () => sessions().archive(session.id),
      () => sessions().delete(session.id),
      () => sessions().events.list(session.id),
      () => sessions().events.send(session.id, { events: [say('x')] }),
      () => sessions().events.stream(session.id),
      () => sessions().threads.list(session.id),
      () => sessions().threads.retrieve(thread, { session_id: session.id }),
      () => sessions().threads.events.list(thread, { session_id: session.id }),
    ])
      await expectRejection(call(), { status: 404 });
    expect((await all(sessions().list({ include_archived: true, agent_id: session.agent.id }))).length).toBe(0);
    // What it was made of stays.
    expect((await stack().client().beta.agents.retrieve(session.agent.id)).archived_at).toBeNull();
    expect((await stack().client().beta.environments.retrieve(session.environment_id)).archived_at).toBeNull();
  });

  verifies('sessions.delete.rest', async () => {
    const session = await open();
    // Bodies of this size lie in the blob store.
    await sessions().update(session.id, { agent: { tools: [] } });
    const big = await open({ initial_events: [say('x'.repeat(200_000))] });
    const stored = async () => (await readdir(stack().data, { recursive: true })).filter((name) => name.includes(big.id));
    expect(await stored()).not.toEqual([]);
    const redis = createRedis(stack().redis.url, 'patient', silentLogger, 'test');
    try {
      // There is no worker here: the session is made idle as one would.
      const blobs = createDirectoryBlobStore(path.join(stack().data, 'blobs'));
      const writer = createSessionWriter({ redis, blobs, ids: randomIds, hourNano: 0 });
      const place = { sessionId: big.id, threadId: primaryThreadId(big.id), workspaceId: 'wrkspc_default' };
      const got = await writer.acquire(place, 'test', 5_000);
      if (!('lease' in got)) throw new Error('no lease');
      await writer.append(got.lease, 1, {
        entries: got.queued.map((processed) => ({ processed })),
        idle: { stop: { type: 'end_turn' }, known: got.lease.head, captured: 0 },
      });
      await writer.release(got.lease, 'done');
      await sessions().delete(big.id);
      await sessions().delete(session.id);
      expect(await stored()).toEqual([]);
      for (const id of [big.id, session.id]) {
        // What a stream may still be reading ends by itself.
        const keys = await redis.keys(`mh:*${id}*`);
        expect(keys.map((key) => key.split(':').at(-1)).toSorted()).toEqual(['log', 'state', 'state', 'types']);
        for (const key of keys) expect(await redis.ttl(key)).toBeGreaterThan(0);
      }
    } finally {
      redis.disconnect();
    }
    for (const environment of [big.environment_id, session.environment_id])
      expect(await stack().client().beta.environments.delete(environment)).toMatchObject({ type: 'environment_deleted' });
  });
});
