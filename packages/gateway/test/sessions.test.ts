/** Sessions, events and threads, through the official SDK. */
import Anthropic from '@anthropic-ai/sdk';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contents, type GatewayFixture, startGateway } from './fixture.ts';

let gateway: GatewayFixture;
let client: Anthropic;
beforeAll(async () => {
  gateway = await startGateway();
  client = gateway.client;
});
afterAll(() => gateway[Symbol.asyncDispose]());

const message = (text: string) => ({ type: 'user.message' as const, content: [{ type: 'text' as const, text }] });
async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of list) found.push(item);
  return found;
}
const jobsOf = async (queue: 0 | 1, sessionId: string) => {
  const jobs = await gateway.turnQueue.queues[queue]?.getJobs();
  return (jobs ?? []).filter((job) => (job.data as { session_id: string }).session_id === sessionId).length;
};

describe('creating a session', () => {
  test('starts idle with a copy of the agent, an empty log, and no work', async () => {
    const agent = await gateway.agent({ metadata: { team: 'a' }, system: 'be brief' });
    const environment = await gateway.environment();
    const session = await client.beta.sessions.create({
      agent: agent.id,
      environment_id: environment.id,
      title: 't',
      metadata: { k: 'v' },
    });
    const { metadata: _m, created_at: _c, updated_at: _u, archived_at: _a, ...copy } = agent;
    expect(session).toMatchObject({
      type: 'session',
      status: 'idle',
      title: 't',
      metadata: { k: 'v' },
      agent: copy,
      environment_id: environment.id,
      resources: [],
      archived_at: null,
    });
    expect(session.agent).not.toHaveProperty('metadata');
    expect(await all(client.beta.sessions.events.list(session.id))).toEqual([]);
    await client.beta.agents.update(agent.id, { name: 'changed later' });
    expect((await client.beta.sessions.retrieve(session.id)).agent.name).toBe('worker');
    expect(await jobsOf(0, session.id)).toBe(0);
  });

  test('with initial events starts running, with a worker woken', async () => {
    const session = await gateway.session({ initial_events: [message('one'), message('two')] });
    expect(session.status).toBe('running');
    const events = await all(client.beta.sessions.events.list(session.id));
    expect(events).toMatchObject([{ type: 'user.message', processed_at: null }, { type: 'user.message' }]);
    await until(() => jobsOf(0, session.id), { what: 'the wake-up is queued' });
  });

  test('queues a prewarm job exactly when a sandbox tool is enabled', async () => {
    const environment = await gateway.environment();
    const withTools = await gateway.agent({ tools: [{ type: 'agent_toolset_20260401' }] });
    const webOnly = await gateway.agent({
      tools: [{ type: 'agent_toolset_20260401', default_config: { enabled: false }, configs: [{ name: 'web_fetch', enabled: true }] }],
    });
    const plain = await client.beta.sessions.create({ agent: webOnly.id, environment_id: environment.id });
    const prewarmed = await client.beta.sessions.create({ agent: withTools.id, environment_id: environment.id });
    await until(() => jobsOf(1, prewarmed.id), { what: 'the prewarm job is queued' });
    expect(await jobsOf(1, plain.id)).toBe(0);
  });

  test('takes a pinned version of an agent, even an old one', async () => {
    const agent = await gateway.agent();
    await client.beta.agents.update(agent.id, { name: 'second' });
    const environment = await gateway.environment();
    const pinned = await client.beta.sessions.create({
      agent: { type: 'agent', id: agent.id, version: 1 },
      environment_id: environment.id,
    });
    expect(pinned.agent).toMatchObject({ version: 1, name: 'worker' });
    const newest = await client.beta.sessions.create({ agent: { type: 'agent', id: agent.id }, environment_id: environment.id });
    expect(newest.agent).toMatchObject({ version: 2, name: 'second' });
  });

  test('refuses unknown and archived agents and environments and stores nothing', async () => {
    const agent = await gateway.agent();
    const environment = await gateway.environment();
    const goneAgent = await client.beta.agents.archive((await gateway.agent()).id);
    const goneEnvironment = await client.beta.environments.archive((await gateway.environment()).id);
    const before = await contents(gateway);
    const create = (a: string | Anthropic.Beta.SessionCreateParams['agent'], e: string) =>
      client.beta.sessions.create({ agent: a, environment_id: e });
    await expect(create('agent_nobody', environment.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(create('not an id', environment.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(create({ type: 'agent', id: agent.id, version: 7 }, environment.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(create(agent.id, 'env_nowhere')).rejects.toThrow(Anthropic.NotFoundError);
    await expect(create(goneAgent.id, environment.id)).rejects.toThrow(Anthropic.BadRequestError);
    await expect(create(agent.id, goneEnvironment.id)).rejects.toMatchObject({ status: 400, errorCode: 'environment_archived' });
    expect(await contents(gateway)).toEqual(before);
  });
});

describe('a session', () => {
  test('takes a new title and merged metadata, tells what changed, and is silent about a change of nothing', async () => {
    const session = await gateway.session({ title: 'old', metadata: { a: '1', b: '2' } });
    const updated = await client.beta.sessions.update(session.id, { title: 'new', metadata: { a: null, c: '3' } });
    expect(updated).toMatchObject({ title: 'new', metadata: { b: '2', c: '3' } });
    expect(await client.beta.sessions.update(session.id, { title: 'new', metadata: { b: '2', z: null } })).toMatchObject({ title: 'new' });
    expect((await client.beta.sessions.update(session.id, { title: null })).title).toBeNull();
    expect(await all(client.beta.sessions.events.list(session.id))).toMatchObject([
      { type: 'session.updated', title: 'new', metadata: { b: '2', c: '3' } },
      { type: 'session.updated', title: null },
    ]);
  });

  test('loses none of many updates at once', async () => {
    const session = await gateway.session();
    await Promise.all(Array.from({ length: 12 }, (_, i) => client.beta.sessions.update(session.id, { metadata: { [`k${i}`]: 'v' } })));
    expect(Object.keys((await client.beta.sessions.retrieve(session.id)).metadata)).toHaveLength(12);
  });

  test('keeps the limit of metadata on the merged bag', async () => {
    const session = await gateway.session({ metadata: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`k${i}`, 'v'])) });
    await expect(client.beta.sessions.update(session.id, { metadata: { more: 'v' } })).rejects.toThrow(/metadata: at most 16/);
  });

  test('is neither archived nor deleted while it runs', async () => {
    const session = await gateway.session({ initial_events: [message('work')] });
    await expect(client.beta.sessions.archive(session.id)).rejects.toThrow(/running/);
    await expect(client.beta.sessions.delete(session.id)).rejects.toThrow(Anthropic.BadRequestError);
    await gateway.turn(session.id);
    expect((await client.beta.sessions.archive(session.id)).status).toBe('terminated');
  });

  test('archived is readable, terminated, and closed: events and updates get a 409 that is not tried again', async () => {
    const session = await gateway.session();
    const archived = await client.beta.sessions.archive(session.id);
    expect(archived).toMatchObject({ status: 'terminated' });
    expect((await client.beta.sessions.archive(session.id)).archived_at).toBe(archived.archived_at);
    const before = await contents(gateway);
    await expect(gateway.send(session.id, 'hello?')).rejects.toThrow(Anthropic.ConflictError);
    await expect(client.beta.sessions.update(session.id, { title: 'x' })).rejects.toThrow(Anthropic.ConflictError);
    const response = await gateway.post(`/v1/sessions/${session.id}/events`, { events: [message('hello?')] });
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([409, 'false']);
    expect(await contents(gateway)).toEqual(before);
    expect((await all(client.beta.sessions.events.list(session.id))).map(({ type }) => type)).toContain('session.status_terminated');
  });

  test('deleted is gone for every endpoint', async () => {
    const session = await gateway.session();
    await gateway.send(session.id, 'hello');
    await gateway.turn(session.id);
    expect(await client.beta.sessions.delete(session.id)).toEqual({ id: session.id, type: 'session_deleted' });
    await expect(client.beta.sessions.retrieve(session.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(gateway.send(session.id, 'hello?')).rejects.toThrow(Anthropic.NotFoundError);
    await expect(client.beta.sessions.events.list(session.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(client.beta.sessions.events.stream(session.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(client.beta.sessions.delete(session.id)).rejects.toThrow(Anthropic.NotFoundError);
  });

  test('of another workspace does not exist', async () => {
    const session = await gateway.session();
    const foreign = gateway.sdk(await gateway.makeKey('wrkspc_foreign', ['api']));
    await gateway.send(session.id, 'known to this gateway');
    const events = { events: [message('intruder')] };
    for (const attempt of [
      () => foreign.beta.sessions.retrieve(session.id),
      () => foreign.beta.sessions.update(session.id, { title: 'x' }),
      () => foreign.beta.sessions.archive(session.id),
      () => foreign.beta.sessions.delete(session.id),
      () => foreign.beta.sessions.events.send(session.id, events),
      () => foreign.beta.sessions.events.list(session.id),
      () => foreign.beta.sessions.events.stream(session.id),
      () => foreign.beta.sessions.threads.list(session.id),
      () => foreign.beta.sessions.create({ agent: session.agent.id, environment_id: session.environment_id }),
    ])
      await expect(attempt()).rejects.toThrow(Anthropic.NotFoundError);
    expect((await foreign.beta.sessions.list()).data).toEqual([]);
    expect(await all(client.beta.sessions.events.list(session.id))).toHaveLength(1);
  });
});

describe('the list of sessions', () => {
  test('filters, orders, and pages forward and back', async () => {
    const key = await gateway.makeKey('wrkspc_list', ['api']);
    const own = gateway.sdk(key);
    const agent = await own.beta.agents.create({ name: 'a', model: 'm' });
    const other = await own.beta.agents.create({ name: 'b', model: 'm' });
    const environment = await own.beta.environments.create({ name: 'e' });
    const made: string[] = [];
    for (let i = 0; i < 5; i++) {
      const initial = i === 4 ? { initial_events: [message('go')] } : {};
      made.push((await own.beta.sessions.create({ agent: i === 0 ? other.id : agent.id, environment_id: environment.id, ...initial })).id);
    }
    const ids = async (query: Anthropic.Beta.SessionListParams) => (await all(own.beta.sessions.list(query))).map(({ id }) => id);
    const newestFirst = await ids({});
    expect(new Set(newestFirst)).toEqual(new Set(made));
    expect(await ids({ order: 'asc', limit: 2 })).toEqual([...newestFirst].reverse());
    expect(await ids({ agent_id: other.id })).toEqual([made[0]]);
    expect(await ids({ agent_id: agent.id, agent_version: 1, limit: 1 })).toHaveLength(4);
    expect(await ids({ statuses: ['running'] })).toEqual([made[4]]);
    expect(await ids({ statuses: ['running', 'idle'] })).toHaveLength(5);
    expect(await ids({ 'created_at[gt]': '2999-01-01T00:00:00Z' })).toEqual([]);

    const first = await own.beta.sessions.list({ limit: 2 });
    const second = await own.beta.sessions.list({ limit: 2, page: first.next_page ?? '' });
    const back = await own.beta.sessions.list({ limit: 2, page: second.prev_page ?? '' });
    expect(back.data.map(({ id }) => id)).toEqual(first.data.map(({ id }) => id));
    await expect(own.beta.sessions.list({ order: 'asc', page: first.next_page ?? '' })).rejects.toThrow(/page/);

    await own.beta.sessions.archive(made[0] ?? '');
    expect(await ids({})).toHaveLength(4);
    expect(await ids({ include_archived: true })).toHaveLength(5);
  });
});

describe('sending events', () => {
  test('stores a batch whole and in order, answers it with ids, and wakes a worker', async () => {
    const session = await gateway.session();
    const { data } = await client.beta.sessions.events.send(session.id, { events: [message('one'), message('two')] });
    expect(data).toMatchObject([
      { ...message('one'), processed_at: null },
      { ...message('two'), processed_at: null },
    ]);
    const listed = await all(client.beta.sessions.events.list(session.id));
    expect(listed).toEqual(data);
    expect((await client.beta.sessions.retrieve(session.id)).status).toBe('running');
    await until(() => jobsOf(0, session.id), { what: 'the wake-up is queued' });
  });

  test('refuses a batch whole when one event is wrong', async () => {
    const session = await gateway.session();
    const before = await contents(gateway);
    const response = await gateway.post(`/v1/sessions/${session.id}/events`, {
      events: [message('fine'), { type: 'user.message', content: [] }],
    });
    expect(response.status).toBe(400);
    expect(((await response.json()) as { error: { message: string } }).error.message).toMatch(/^events\.1\.content: /);
    expect(await contents(gateway)).toEqual(before);
  });

  test('a retried send appends nothing and answers the stored events; a new send of the same text appends', async () => {
    const session = await gateway.session();
    const path = `/v1/sessions/${session.id}/events`;
    const body = { events: [message('once')] };
    const first = await (await gateway.post(path, body, { 'x-stainless-retry-count': '0' })).json();
    const again = await (await gateway.post(path, body, { 'x-stainless-retry-count': '1' })).json();
    expect(again).toEqual(first);
    expect(await all(client.beta.sessions.events.list(session.id))).toHaveLength(1);
    await gateway.post(path, body, { 'x-stainless-retry-count': '0' });
    expect(await all(client.beta.sessions.events.list(session.id))).toHaveLength(2);
  });

  test('an SDK whose answer was lost in the network tries again and appends once', async () => {
    const session = await gateway.session();
    let requests = 0;
    const unlucky = gateway.sdk(gateway.key, {
      maxRetries: 2,
      fetch: async (...args: Parameters<typeof fetch>) => {
        const response = await fetch(...args);
        if (++requests === 1) {
          await response.arrayBuffer();
          throw new TypeError('fetch failed');
        }
        return response;
      },
    });
    await unlucky.beta.sessions.events.send(session.id, { events: [message('once')] });
    expect(requests).toBe(2);
    expect(await all(client.beta.sessions.events.list(session.id))).toHaveLength(1);
  });

  test('an interrupt may name the primary thread and no other', async () => {
    const session = await gateway.session();
    const [thread] = await all(client.beta.sessions.threads.list(session.id));
    const sent = await client.beta.sessions.events.send(session.id, {
      events: [{ type: 'user.interrupt', session_thread_id: thread?.id ?? '' }],
    });
    expect(sent.data).toMatchObject([{ type: 'user.interrupt', session_thread_id: thread?.id }]);
    const other = await gateway.session();
    await expect(
      client.beta.sessions.events.send(other.id, {
        events: [message('x'), { type: 'user.interrupt', session_thread_id: thread?.id ?? '' }],
      }),
    ).rejects.toThrow(Anthropic.NotFoundError);
    expect(await all(client.beta.sessions.events.list(other.id))).toEqual([]);
  });

  test('is acknowledged although the queue cannot be reached', async () => {
    const session = await gateway.session();
    const { wake } = gateway.turnQueue;
    gateway.turnQueue.wake = () => Promise.reject(new Error('no queue'));
    try {
      expect((await gateway.send(session.id, 'kept')).data).toHaveLength(1);
    } finally {
      gateway.turnQueue.wake = wake;
    }
    expect((await client.beta.sessions.retrieve(session.id)).status).toBe('running');
  });
});

describe('listing events', () => {
  test('pages in both orders, filters by type and time, and gives the thread the same events', async () => {
    const session = await gateway.session();
    for (let i = 0; i < 3; i++) {
      await gateway.send(session.id, `m${i}`);
      await gateway.turn(session.id);
    }
    const events = await all(client.beta.sessions.events.list(session.id));
    expect(events.map(({ type }) => type)).toEqual(
      Array.from({ length: 3 }, () => [
        'user.message',
        'agent.message',
        'session.thread_status_idle',
        'session.usage',
        'session.status_idle',
      ]).flat(),
    );
    expect(await all(client.beta.sessions.events.list(session.id, { limit: 2 }))).toEqual(events);
    expect(await all(client.beta.sessions.events.list(session.id, { limit: 4, order: 'desc' }))).toEqual([...events].reverse());
    const messages = await all(client.beta.sessions.events.list(session.id, { limit: 1, types: ['agent.message', 'session.error'] }));
    expect(messages).toEqual(events.filter(({ type }) => type === 'agent.message'));
    expect(await all(client.beta.sessions.events.list(session.id, { 'created_at[gte]': '2999-01-01T00:00:00Z' }))).toEqual([]);
    const [thread] = await all(client.beta.sessions.threads.list(session.id));
    expect(await all(client.beta.sessions.threads.events.list(thread?.id ?? '', { session_id: session.id, limit: 4 }))).toEqual(events);
    const { next_page } = await client.beta.sessions.events.list(session.id, { limit: 2 });
    await expect(client.beta.sessions.events.list(session.id, { order: 'desc', page: next_page ?? '' })).rejects.toThrow(/page/);
  });
});

describe('threads', () => {
  test('a session has its primary thread, which shares its status', async () => {
    const session = await gateway.session();
    const threads = await all(client.beta.sessions.threads.list(session.id));
    expect(threads).toMatchObject([{ type: 'session_thread', session_id: session.id, parent_thread_id: null, status: 'idle' }]);
    expect(threads[0]?.agent).not.toHaveProperty('multiagent');
    expect(await client.beta.sessions.threads.retrieve(threads[0]?.id ?? '', { session_id: session.id })).toMatchObject({
      id: threads[0]?.id,
    });
    const statuses = async (wanted: 'running' | 'idle') => {
      const response = await gateway.fetch(`/v1/sessions/${session.id}/threads?statuses[]=${wanted}`);
      return ((await response.json()) as { data: unknown[] }).data.length;
    };
    expect([await statuses('running'), await statuses('idle')]).toEqual([0, 1]);
    const other = await gateway.session();
    await expect(client.beta.sessions.threads.retrieve(threads[0]?.id ?? '', { session_id: other.id })).rejects.toThrow(
      Anthropic.NotFoundError,
    );
    await expect(client.beta.sessions.threads.events.list('sthr_none', { session_id: other.id })).rejects.toThrow(Anthropic.NotFoundError);
  });
});
