/** Environments, models, API keys, health and the queue board. */
import { describe, expect } from 'vitest';
import { all, expectRefusal, expectRejection, raw } from '../client.ts';
import { OPERATOR_KEY } from '../stack.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'gateway', env: { gateway: { MANYHANDS_MODELS: 'model-a,model-b,model-c' } } });
const environments = () => stack().client().beta.environments;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const NO_PACKAGES = { type: 'packages', apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] };

describe('environments', () => {
  verifies('environments.create.defaults', async () => {
    const environment = await environments().create({ name: 'e' });
    expect(environment).toEqual({
      type: 'environment',
      id: expect.stringMatching(/^env_[A-Za-z0-9]+$/),
      name: 'e',
      description: null,
      config: { type: 'cloud', networking: { type: 'unrestricted' }, packages: NO_PACKAGES },
      metadata: {},
      scope: 'organization',
      created_at: expect.stringMatching(RFC3339),
      updated_at: environment.created_at,
      archived_at: null,
    });
    expect(await environments().retrieve(environment.id)).toEqual(environment);
    const twin = await environments().create({ name: 'e', config: null, description: null, scope: 'organization' });
    expect(twin.id).not.toBe(environment.id);
  });

  verifies('environments.create.limited', async () => {
    const limited = await environments().create({
      name: 'l',
      description: 'd',
      metadata: { a: '1' },
      config: {
        type: 'cloud',
        networking: { type: 'limited', allowed_hosts: ['example.com', '*.example.org'], allow_mcp_servers: true },
        packages: { type: 'packages', pip: [], npm: null },
      },
    });
    expect(limited).toMatchObject({
      description: 'd',
      metadata: { a: '1' },
      config: {
        type: 'cloud',
        networking: {
          type: 'limited',
          allowed_hosts: ['example.com', '*.example.org'],
          allow_mcp_servers: true,
          allow_package_managers: false,
        },
        packages: NO_PACKAGES,
      },
    });
    const bare = await environments().create({ name: 'l', config: { type: 'cloud', networking: { type: 'limited' } } });
    expect(bare.config).toMatchObject({
      networking: { type: 'limited', allowed_hosts: [], allow_mcp_servers: false, allow_package_managers: false },
    });
  });

  verifies(['environments.create.refusals', 'environments.create.not_yet'], async () => {
    const before = await all(environments().list({ include_archived: true, limit: 100 }));
    const hosts = (host: unknown) => ({ config: { type: 'cloud', networking: { type: 'limited', allowed_hosts: [host] } } });
    const wrong: [object, string | string[]][] = [
      [{ name: undefined }, 'name: required'],
      [{ name: '' }, 'name'],
      [{ name: ['x'] }, 'name'],
      [{ config: 'cloud' }, 'config'],
      [{ config: {} }, 'config'],
      [{ config: { type: 'cloud', networking: { type: 'open' } } }, 'config.networking'],
      [{ config: { type: 'cloud', networking: 'unrestricted' } }, 'config.networking'],
      [
        { config: { type: 'cloud', networking: { type: 'unrestricted', allowed_hosts: [] } } },
        'config.networking.allowed_hosts: unknown field',
      ],
      [{ config: { type: 'cloud', network: {} } }, 'config.network: unknown field'],
      [hosts('https://example.com'), 'config.networking.allowed_hosts.0'],
      [hosts('example.com:443'), 'config.networking.allowed_hosts.0'],
      [hosts('example.com/x'), 'config.networking.allowed_hosts.0'],
      [hosts('*'), 'config.networking.allowed_hosts.0'],
      [hosts('a.*.com'), 'config.networking.allowed_hosts.0'],
      [hosts(5), 'config.networking.allowed_hosts.0'],
      [{ metadata: { a: null } }, 'metadata.a'],
      [{ nmae: 'x' }, 'nmae: unknown field'],
      [{ config: { type: 'self_hosted' } }, ['config', 'not supported yet']],
      [{ config: { type: 'cloud', packages: { pip: ['requests'] } } }, ['config.packages.pip', 'not supported yet']],
      [{ config: { type: 'cloud', packages: { apt: ['jq'] } } }, ['config.packages.apt', 'not supported yet']],
      [{ scope: 'account' }, ['scope', 'supported']],
    ];
    for (const [fields, says] of wrong)
      expectRefusal(await raw(stack(), 'POST', '/v1/environments', { body: { name: 'e', ...fields } }), { status: 400, says });
    expect(await all(environments().list({ include_archived: true, limit: 100 }))).toEqual(before);
  });

  verifies('environments.update.merge', async () => {
    const { id, created_at } = await environments().create({
      name: 'e',
      description: 'd',
      metadata: { a: '1', b: '2', c: '3' },
      config: { type: 'cloud', networking: { type: 'limited', allowed_hosts: ['example.com'], allow_mcp_servers: true } },
    });
    const limited = async (networking: object) =>
      (await environments().update(id, { config: { type: 'cloud', networking: { type: 'limited', ...networking } } })).config;
    expect(await limited({ allow_package_managers: true })).toMatchObject({
      networking: { allowed_hosts: ['example.com'], allow_mcp_servers: true, allow_package_managers: true },
    });
    expect(await limited({ allowed_hosts: null, allow_mcp_servers: false })).toMatchObject({
      networking: { allowed_hosts: ['example.com'], allow_mcp_servers: false, allow_package_managers: true },
    });
    expect(await limited({ allowed_hosts: [] })).toMatchObject({ networking: { allowed_hosts: [] } });
    expect((await environments().update(id, { config: { type: 'cloud' } })).config).toMatchObject({ networking: { type: 'limited' } });
    expect((await environments().update(id, { config: { type: 'cloud', networking: { type: 'unrestricted' } } })).config).toMatchObject({
      networking: { type: 'unrestricted' },
    });
    expect((await environments().update(id, { metadata: { a: null, b: '', c: '4', d: '5' } })).metadata).toEqual({ c: '4', d: '5' });
    expect((await environments().update(id, { description: '' })).description).toBe('');
    expect((await environments().update(id, { description: null })).description).toBeNull();
    const named = await environments().update(id, { name: 'new', scope: null, config: null });
    expect(named).toMatchObject({ name: 'new', scope: 'organization', created_at, archived_at: null });
    expect(named.updated_at >= created_at).toBe(true);
    expect(await environments().update(id, { name: null })).toEqual(named);
    expect(await environments().retrieve(id)).toEqual(named);
  });

  verifies('environments.update.type', async () => {
    const environment = await environments().create({ name: 'e' });
    await expectRejection(environments().update(environment.id, { config: { type: 'self_hosted' } }), {
      status: 400,
      code: 'invalid_config_type_change',
      says: 'config',
    });
    await expectRejection(environments().update(environment.id, { nmae: 'x' } as object), { status: 400, says: 'nmae: unknown field' });
    expect(await environments().retrieve(environment.id)).toEqual(environment);
  });

  verifies('environments.list', async () => {
    const names = ['p0', 'p1', 'p2', 'p3', 'p4'];
    for (const name of names) await environments().create({ name });
    const first = await environments().list({ limit: 3 });
    expect(first.data.map(({ name }) => name)).toEqual(['p4', 'p3', 'p2']);
    const second = await environments().list({ limit: 2, page: first.next_page! });
    expect(second.data.map(({ name }) => name)).toEqual(['p1', 'p0']);
    const everything = await all(environments().list({ limit: 4 }));
    expect(new Set(everything.map(({ id }) => id)).size).toBe(everything.length);
    for (const query of ['page=x', 'limit=-1', 'order=asc', 'created_at[gte]=2026-01-01T00:00:00Z'])
      expectRefusal(await raw(stack(), 'GET', `/v1/environments?${query}`), { status: 400, says: query.split('=')[0]! });
    // A cursor of another list is no cursor of this one.
    const agent = stack().client().beta.agents;
    for (let i = 0; i < 2; i++) await agent.create({ name: 'a', model: 'm' });
    const foreign = await agent.list({ limit: 1 });
    await expectRejection(environments().list({ page: foreign.next_page! }), { status: 400, says: 'page' });
  });

  verifies('environments.delete', async () => {
    const client = stack().client();
    const agent = await client.beta.agents.create({ name: 'a', model: 'm' });
    const used = await environments().create({ name: 'used' });
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: used.id });
    await expectRejection(environments().delete(used.id), { status: 400, says: 'session' });
    expect((await environments().retrieve(used.id)).id).toBe(used.id);
    await client.beta.sessions.delete(session.id);
    expect(await environments().delete(used.id)).toEqual({ id: used.id, type: 'environment_deleted' });
    await expectRejection(environments().retrieve(used.id), { status: 404 });
    await expectRejection(environments().delete(used.id), { status: 404 });
    await expectRejection(environments().update(used.id, { name: 'x' }), { status: 404 });
    await expectRejection(client.beta.sessions.create({ agent: agent.id, environment_id: used.id }), { status: 404 });
    expect((await all(environments().list({ include_archived: true }))).map(({ id }) => id)).not.toContain(used.id);
  });

  verifies('environments.delete.race', async () => {
    const { beta } = stack().client();
    const agent = await beta.agents.create({ name: 'a', model: 'm' });
    for (let round = 0; round < 15; round++) {
      const { id } = await environments().create({ name: 'contended' });
      const [deleted, ...made] = await Promise.allSettled([
        environments().delete(id),
        ...Array.from({ length: 4 }, () => beta.sessions.create({ agent: agent.id, environment_id: id })),
      ]);
      const sessions = made.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      if (deleted.status === 'fulfilled') expect(sessions).toEqual([]);
      else {
        expect((await environments().retrieve(id)).id).toBe(id);
        expect(sessions).toHaveLength(4);
      }
    }
  });

  verifies('environments.archive', async () => {
    const client = stack().client();
    const environment = await environments().create({ name: 'old' });
    const archived = await environments().archive(environment.id);
    expect(archived).toEqual({ ...environment, updated_at: archived.updated_at, archived_at: expect.stringMatching(RFC3339) });
    expect(await environments().archive(environment.id)).toEqual(archived);
    await expectRejection(environments().update(environment.id, { name: 'x' }), { status: 400, code: 'environment_archived' });
    const agent = await client.beta.agents.create({ name: 'a', model: 'm' });
    await expectRejection(client.beta.sessions.create({ agent: agent.id, environment_id: environment.id }), {
      status: 400,
      code: 'environment_archived',
    });
    const ids = async (include_archived: boolean) => (await all(environments().list({ include_archived }))).map(({ id }) => id);
    expect(await ids(false)).not.toContain(environment.id);
    expect(await ids(true)).toContain(environment.id);
  });
});

describe('models', () => {
  verifies('models.list', async () => {
    const { beta, models } = stack().client();
    const ids = ['model-a', 'model-b', 'model-c'];
    expect((await all(beta.models.list())).map(({ id }) => id)).toEqual(ids);
    expect((await all(models.list({ limit: 1 }))).map(({ id }) => id)).toEqual(ids);
    const page = await beta.models.list({ limit: 2 });
    expect(page).toMatchObject({ has_more: true, first_id: 'model-a', last_id: 'model-b' });
    expect((await beta.models.list({ before_id: 'model-c', limit: 1 })).data.map(({ id }) => id)).toEqual(['model-b']);
    expect((await beta.models.list({ lifecycle: ['retired'] })).data).toEqual([]);
    await expectRejection(beta.models.list({ after_id: 'nope' }), { status: 400, says: 'after_id' });
  });

  verifies('models.retrieve', async () => {
    expect(await stack().client().beta.models.retrieve('model-b')).toEqual({
      type: 'model',
      id: 'model-b',
      display_name: 'model-b',
      created_at: expect.stringMatching(RFC3339),
      lifecycle: 'active',
      line: null,
      max_input_tokens: null,
      max_tokens: null,
      deprecated_at: null,
      retires_at: null,
      allowed_fallback_models: null,
      capabilities: null,
    });
    await expectRejection(stack().client().beta.models.retrieve('nope'), { status: 404 });
  });
});

describe('API keys', () => {
  const KEYS = '/v1/manyhands/api_keys';

  verifies('keys.life', async () => {
    const made = await raw(stack(), 'POST', KEYS, { body: { name: 'ci' } });
    expect(made.status).toBe(200);
    const { key, ...shown } = made.body;
    expect(key).toMatch(/^mh-\w{40}$/);
    expect(shown).toEqual({
      type: 'api_key',
      id: expect.stringMatching(/^apikey_\w+$/),
      name: 'ci',
      workspace_id: expect.stringMatching(/^wrkspc_\w+$/),
      scopes: ['api'],
      hint: key.slice(-4),
      created_at: expect.stringMatching(RFC3339),
      revoked_at: null,
    });
    // The text is told once and never again.
    expect((await raw(stack(), 'GET', `${KEYS}/${shown.id}`)).body).toEqual(shown);
    expect((await raw(stack(), 'GET', KEYS)).text).not.toContain(key);
    expect((await raw(stack(), 'GET', KEYS)).body.data).toContainEqual(shown);
    expect((await raw(stack(), 'GET', '/v1/agents', { key })).status).toBe(200);
    expect((await raw(stack(), 'DELETE', `${KEYS}/${shown.id}`)).body).toEqual({ id: shown.id, type: 'api_key_deleted' });
    expectRefusal(await raw(stack(), 'GET', '/v1/agents', { key }), { status: 401, says: 'revoked' });
    expect((await raw(stack(), 'DELETE', `${KEYS}/${shown.id}`)).status).toBe(200);
    expect((await raw(stack(), 'GET', KEYS)).body.data.map((each: { id: string }) => each.id)).not.toContain(shown.id);
    const revoked = (await raw(stack(), 'GET', `${KEYS}?include_revoked=true`)).body.data.find(
      (each: { id: string }) => each.id === shown.id,
    );
    expect(revoked.revoked_at).toMatch(RFC3339);
  });

  verifies('keys.scope', async () => {
    const { key } = (await raw(stack(), 'POST', KEYS, { body: { name: 'plain', scopes: ['api'] } })).body;
    for (const [method, path] of [
      ['GET', KEYS],
      ['POST', KEYS],
      ['GET', `${KEYS}/apikey_x`],
      ['DELETE', `${KEYS}/apikey_x`],
      ['GET', '/admin/queues'],
    ] as const)
      expectRefusal(await raw(stack(), method, path, { key, ...(method === 'POST' ? { body: { name: 'x' } } : {}) }), {
        status: 403,
        says: 'operator',
      });
    const operator = (await raw(stack(), 'POST', KEYS, { body: { name: 'op', scopes: ['operator', 'api', 'api'] } })).body;
    expect((await raw(stack(), 'GET', KEYS, { key: operator.key })).status).toBe(200);
  });

  verifies('keys.refusals', async () => {
    const wrong: [unknown, string][] = [
      [{}, 'name'],
      [{ name: '' }, 'name'],
      [{ name: 'x', scopes: [] }, 'scopes'],
      [{ name: 'x', scopes: ['root'] }, 'scopes.0'],
      [{ name: 'x', workspace_id: 'wrkspc_1' }, 'workspace_id: unknown field'],
    ];
    for (const [body, says] of wrong) expectRefusal(await raw(stack(), 'POST', KEYS, { body }), { status: 400, says });
    expectRefusal(await raw(stack(), 'GET', `${KEYS}/apikey_unknown`), { status: 404 });
    expectRefusal(await raw(stack(), 'DELETE', `${KEYS}/nonsense`), { status: 404 });
    const foreign = await stack().key('wrkspc_other', ['api', 'operator']);
    const { id } = (await raw(stack(), 'POST', KEYS, { body: { name: 'mine' } })).body;
    expectRefusal(await raw(stack(), 'DELETE', `${KEYS}/${id}`, { key: foreign }), { status: 404 });
    expect((await raw(stack(), 'GET', KEYS, { key: foreign })).body.data.map((each: { name: string }) => each.name)).toEqual(['test']);
  });
});

describe('operating', () => {
  verifies('health.open', async () => {
    expect((await raw(stack(), 'GET', '/healthz', { key: null })).body).toEqual({ status: 'ok' });
    expect((await raw(stack(), 'GET', '/readyz', { key: null })).body).toEqual({ status: 'ready' });
    stack().redis.pause();
    try {
      expect((await raw(stack(), 'GET', '/healthz', { key: null })).status).toBe(200);
      expectRefusal(await raw(stack(), 'GET', '/readyz', { key: null }), { status: 503, type: 'api_error', says: 'Redis' });
    } finally {
      stack().redis.resume();
    }
    await expect.poll(async () => (await raw(stack(), 'GET', '/readyz', { key: null })).status, { timeout: 10_000 }).toBe(200);
  });

  verifies('board.operator', async () => {
    const page = await raw(stack(), 'GET', '/admin/queues');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toContain('text/html');
    const basic = `Basic ${Buffer.from(`anyone:${OPERATOR_KEY}`).toString('base64')}`;
    expect((await raw(stack(), 'GET', '/admin/queues', { key: null, headers: { authorization: basic } })).status).toBe(200);
    const nobody = await raw(stack(), 'GET', '/admin/queues', { key: null });
    expectRefusal(nobody, { status: 401 });
    expect(nobody.headers.get('www-authenticate')).toMatch(/^Basic /);
    expectRefusal(await raw(stack(), 'GET', '/v1/agents', { key: null, headers: { authorization: basic } }), { status: 401 });
    const queues = await raw(stack(), 'GET', '/admin/queues/api/queues');
    expect(queues.status).toBe(200);
    expect(queues.body.queues.length).toBeGreaterThan(0);
    expect(queues.body.queues.every((queue: { readOnlyMode: boolean }) => queue.readOnlyMode)).toBe(true);
    const name = encodeURIComponent(queues.body.queues[0].name);
    expectRefusal(await raw(stack(), 'PUT', `/admin/queues/api/queues/${name}/pause`), { status: 403, says: 'read-only' });
  });
});
