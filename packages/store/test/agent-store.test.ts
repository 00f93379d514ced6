import { AgentCreate, AgentUpdate } from '@manyhands/contract';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { contents, OTHER_WORKSPACE, type Stores, startStores, WORKSPACE } from './fixture.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());
beforeEach(async () => {
  await stores.redis.flushall();
});

const create = (fields: Record<string, unknown> = {}) =>
  stores.agents.create(WORKSPACE, AgentCreate.parse({ name: 'worker', model: 'model-a', ...fields }));
const update = (id: string, fields: Record<string, unknown>) => stores.agents.update(WORKSPACE, id, AgentUpdate.parse(fields));

describe('an agent', () => {
  test('starts at version 1 with every default filled in', async () => {
    const agent = await create({ tools: [{ type: 'agent_toolset_20260401' }] });
    expect(agent).toMatchObject({
      type: 'agent',
      version: 1,
      description: null,
      system: null,
      model: { id: 'model-a', effort: { type: 'high' } },
      tools: [
        { type: 'agent_toolset_20260401', default_config: { enabled: true, permission_policy: { type: 'always_allow' } }, configs: [] },
      ],
      mcp_servers: [],
      skills: [],
      multiagent: null,
      execution_identity: { type: 'service_account' },
      metadata: {},
      created_at: '2026-01-01T00:00:00.000Z',
      updated_at: '2026-01-01T00:00:00.000Z',
      archived_at: null,
    });
    expect(await stores.agents.get(WORKSPACE, agent.id)).toEqual(agent);
  });

  test('belongs to its workspace only', async () => {
    const agent = await create();
    expect(await stores.agents.get(OTHER_WORKSPACE, agent.id)).toBeNull();
    await expect(stores.agents.update(OTHER_WORKSPACE, agent.id, { name: 'x' })).rejects.toMatchObject({ status: 404 });
    await expect(stores.agents.archive(OTHER_WORKSPACE, agent.id)).rejects.toMatchObject({ status: 404 });
    await expect(stores.agents.versions(OTHER_WORKSPACE, agent.id, { limit: 5 })).rejects.toMatchObject({ status: 404 });
    expect((await stores.agents.list(OTHER_WORKSPACE, { limit: 5, includeInactive: true })).data).toEqual([]);
  });

  test('keeps what an update leaves out and replaces what it names', async () => {
    const { id } = await create({
      description: 'd',
      system: 's',
      metadata: { a: '1', b: '2' },
      tools: [{ type: 'agent_toolset_20260401' }],
    });
    const renamed = await update(id, { name: 'other' });
    expect(renamed).toMatchObject({ version: 2, name: 'other', description: 'd', system: 's', metadata: { a: '1', b: '2' } });
    expect(renamed.tools).toHaveLength(1);
    expect(await update(id, { description: null, system: '' })).toMatchObject({ version: 3, description: null, system: null });
    expect(await update(id, { tools: null })).toMatchObject({ version: 4, tools: [] });
    expect(await update(id, { metadata: { a: null, c: '3' } })).toMatchObject({ version: 5, metadata: { b: '2', c: '3' } });
  });

  test('keeps its effort with the same model and gets the default with another', async () => {
    const { id } = await create({ model: { id: 'model-a', effort: 'low', speed: 'fast' } });
    expect((await update(id, { model: 'model-a' })).model).toEqual({ id: 'model-a', effort: { type: 'low' } });
    expect((await update(id, { model: { id: 'model-b' } })).model).toEqual({ id: 'model-b', effort: { type: 'high' } });
    expect((await update(id, { model: { id: 'model-b', effort: { type: 'max' } } })).model.effort).toEqual({ type: 'max' });
    expect((await update(id, { model: { id: 'model-b', effort: null } })).model.effort).toEqual({ type: 'high' });
  });

  test('makes no version of an update that changes nothing', async () => {
    const agent = await create({ description: 'd', metadata: { a: '1' } });
    stores.time.nowMs += 1000;
    expect(
      await update(agent.id, { name: 'worker', description: 'd', model: 'model-a', metadata: { a: '1', z: null }, tools: [] }),
    ).toEqual(agent);
    expect(await update(agent.id, {})).toEqual(agent);
    expect((await stores.agents.versions(WORKSPACE, agent.id, { limit: 10 })).data).toHaveLength(1);
  });

  test('refuses a stale version with a 409 that is not to be retried, even when the values already hold', async () => {
    const agent = await create();
    await update(agent.id, { version: 1, name: 'second' });
    const before = await contents(stores);
    await expect(update(agent.id, { version: 1, name: 'second' })).rejects.toMatchObject({
      status: 409,
      type: 'invalid_request_error',
      options: { shouldRetry: false },
    });
    expect(await contents(stores)).toEqual(before);
  });

  test('loses no update to another one made at the same time', async () => {
    const { id } = await create();
    await Promise.all(Array.from({ length: 16 }, (_, i) => update(id, { metadata: { [`k${i}`]: String(i) } })));
    const agent = await stores.agents.get(WORKSPACE, id);
    expect(Object.keys(agent?.metadata ?? {})).toHaveLength(16);
    expect(agent?.version).toBe(17);
    const { data } = await stores.agents.versions(WORKSPACE, id, { limit: 100 });
    expect(data.map(({ version }) => version)).toEqual(Array.from({ length: 17 }, (_, i) => 17 - i));
  });

  test('lets exactly one of several updates of the same version win', async () => {
    const { id } = await create();
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => update(id, { version: 1, name: `n${i}` })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('holds the limit of metadata on the merged bag', async () => {
    const { id } = await create({ metadata: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`k${i}`, 'v'])) });
    const before = await contents(stores);
    await expect(update(id, { metadata: { extra: 'v' } })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('metadata'),
    });
    expect(await contents(stores)).toEqual(before);
    expect((await update(id, { metadata: { k0: null, extra: 'v' } })).version).toBe(2);
  });

  test('is archived once and for all, readable, and closed to changes', async () => {
    const { id } = await create();
    await update(id, { name: 'second' });
    const archived = await stores.agents.archive(WORKSPACE, id);
    expect(archived.archived_at).not.toBeNull();
    stores.time.nowMs += 1000;
    expect(await stores.agents.archive(WORKSPACE, id)).toEqual(archived);
    expect(await stores.agents.get(WORKSPACE, id, 1)).toMatchObject({ version: 1, name: 'worker', archived_at: archived.archived_at });
    await expect(update(id, { name: 'third' })).rejects.toMatchObject({ status: 400 });
    expect((await stores.agents.list(WORKSPACE, { limit: 5, includeInactive: false })).data).toEqual([]);
    expect((await stores.agents.list(WORKSPACE, { limit: 5, includeInactive: true })).data).toEqual([archived]);
  });

  test('shows its history in pages, newest first, and each version as it was', async () => {
    const { id } = await create();
    for (let i = 2; i <= 5; i++) await update(id, { name: `name ${i}` });
    const first = await stores.agents.versions(WORKSPACE, id, { limit: 2 });
    expect(first.data.map(({ version, name }) => [version, name])).toEqual([
      [5, 'name 5'],
      [4, 'name 4'],
    ]);
    const second = await stores.agents.versions(WORKSPACE, id, { limit: 3, cursor: first.next_page ?? '' });
    expect(second.data.map(({ version }) => version)).toEqual([3, 2, 1]);
    expect(second.next_page).toBeNull();
    expect(await stores.agents.get(WORKSPACE, id, 1)).toMatchObject({ name: 'worker' });
    expect(await stores.agents.get(WORKSPACE, id, 6)).toBeNull();
  });
});

describe('the list of agents', () => {
  test('is newest first in pages that neither repeat nor skip, though agents come and go between them', async () => {
    const made: string[] = [];
    for (let i = 0; i < 7; i++) {
      // Several in the same millisecond: the id decides among them.
      stores.time.nowMs += i % 2;
      made.push((await create({ name: `agent ${i}` })).id);
    }
    const all = (await stores.agents.list(WORKSPACE, { limit: 100, includeInactive: false })).data.map(({ id }) => id);
    expect(new Set(all)).toEqual(new Set(made));
    const walked: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await stores.agents.list(WORKSPACE, { limit: 3, cursor, includeInactive: false });
      walked.push(...page.data.map(({ id }) => id));
      cursor = page.next_page ?? undefined;
      stores.time.nowMs += 10;
      await create({ name: 'newer than the walk' });
    } while (cursor);
    expect(walked).toEqual(all);
  });

  test('honours both bounds of created_at, inclusively, alone and while paging', async () => {
    const start = stores.time.nowMs;
    for (let i = 0; i < 6; i++) {
      stores.time.nowMs = start + i * 100;
      await create({ name: String(i) });
    }
    const names = async (range: { gte?: number; lte?: number }) => {
      const found: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await stores.agents.list(WORKSPACE, { limit: 2, cursor, includeInactive: false, range });
        found.push(...page.data.map(({ name }) => name));
        cursor = page.next_page ?? undefined;
      } while (cursor);
      return found.join('');
    };
    expect(await names({ gte: start + 200 })).toBe('5432');
    expect(await names({ lte: start + 200 })).toBe('210');
    expect(await names({ gte: start + 100, lte: start + 300 })).toBe('321');
    expect(await names({ gte: start + 101, lte: start + 199 })).toBe('');
  });

  test('refuses cursors that it did not give out, naming page', async () => {
    await create();
    await create();
    const { next_page } = await stores.agents.list(WORKSPACE, { limit: 1, includeInactive: false });
    for (const cursor of [
      '',
      'garbage',
      'e30',
      Buffer.from('null').toString('base64url'),
      Buffer.from('{"l":"agent","o":"desc","a":5}').toString('base64url'),
    ])
      await expect(stores.agents.list(WORKSPACE, { limit: 1, cursor, includeInactive: false })).rejects.toMatchObject({
        status: 400,
        message: expect.stringContaining('page'),
      });
    await expect(stores.environments.list(WORKSPACE, { limit: 1, cursor: next_page ?? '', includeInactive: false })).rejects.toMatchObject({
      status: 400,
    });
  });
});
