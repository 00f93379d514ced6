/** Agents, environments, models and API keys, through the official SDK. */
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

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of list) found.push(item);
  return found;
}

describe('agents', () => {
  test('go through create, retrieve, update, versions and archive', async () => {
    const agent = await client.beta.agents.create({
      name: 'worker',
      model: { id: 'any-model', effort: 'low' },
      system: 'be brief',
      tools: [{ type: 'agent_toolset_20260401', configs: [{ name: 'bash', enabled: true }] }],
      metadata: { team: 'a' },
    });
    expect(agent).toMatchObject({ type: 'agent', version: 1, model: { id: 'any-model', effort: { type: 'low' } } });
    expect(agent._request_id).toMatch(/^req_/);
    expect(await client.beta.agents.retrieve(agent.id)).toEqual(agent);
    const updated = await client.beta.agents.update(agent.id, { version: 1, name: 'renamed', metadata: { team: null } });
    expect(updated).toMatchObject({ version: 2, name: 'renamed', metadata: {} });
    expect(await client.beta.agents.retrieve(agent.id, { version: 1 })).toMatchObject({ version: 1, name: 'worker' });
    expect((await all(client.beta.agents.versions.list(agent.id, { limit: 1 }))).map(({ version }) => version)).toEqual([2, 1]);
    const archived = await client.beta.agents.archive(agent.id);
    expect(archived.archived_at).toBeTruthy();
    expect(await client.beta.agents.archive(agent.id)).toEqual(archived);
    await expect(client.beta.agents.update(agent.id, { name: 'x' })).rejects.toThrow(Anthropic.BadRequestError);
  });

  test('a stale version is a 409 that the SDK does not try again', async () => {
    const agent = await gateway.agent();
    await client.beta.agents.update(agent.id, { version: 1, name: 'second' });
    let requests = 0;
    const counting = gateway.sdk(gateway.key, {
      maxRetries: 2,
      fetch: (...args: Parameters<typeof fetch>) => {
        requests++;
        return fetch(...args);
      },
    });
    await expect(counting.beta.agents.update(agent.id, { version: 1, name: 'third' })).rejects.toThrow(Anthropic.ConflictError);
    expect(requests).toBe(1);
  });

  test('are listed newest first, in pages, without archived ones unless asked for', async () => {
    const key = await gateway.makeKey('wrkspc_lists', ['api']);
    const own = gateway.sdk(key);
    const made: string[] = [];
    for (let i = 0; i < 5; i++) made.unshift((await own.beta.agents.create({ name: `a${i}`, model: 'm' })).id);
    await own.beta.agents.archive(made[2] ?? '');
    const open = made.filter((_, i) => i !== 2);
    const ids = async (query: Anthropic.Beta.AgentListParams) => (await all(own.beta.agents.list(query))).map(({ id }) => id);
    // Agents made in the same millisecond are in the order of their ids.
    expect(new Set(await ids({ limit: 2 }))).toEqual(new Set(open));
    expect(await ids({ limit: 2 })).toEqual(await ids({ limit: 100 }));
    expect(new Set(await ids({ include_archived: true }))).toEqual(new Set(made));
    expect(await ids({ 'created_at[gte]': '2999-01-01T00:00:00Z' })).toEqual([]);
    expect(await ids({ 'created_at[lte]': '2999-01-01T00:00:00+01:00' })).toHaveLength(4);
  });
});

describe('environments', () => {
  test('go through create, retrieve, update, list, archive and delete', async () => {
    const environment = await client.beta.environments.create({
      name: 'limited',
      config: { type: 'cloud', networking: { type: 'limited', allowed_hosts: ['example.com'] } },
    });
    expect(await client.beta.environments.retrieve(environment.id)).toEqual(environment);
    const updated = await client.beta.environments.update(environment.id, {
      description: '',
      config: { type: 'cloud', networking: { type: 'limited', allow_mcp_servers: true } },
    });
    expect(updated).toMatchObject({
      description: '',
      config: { networking: { type: 'limited', allowed_hosts: ['example.com'], allow_mcp_servers: true, allow_package_managers: false } },
    });
    expect((await all(client.beta.environments.list())).map(({ id }) => id)).toContain(environment.id);
    expect((await client.beta.environments.archive(environment.id)).archived_at).toBeTruthy();
    expect((await all(client.beta.environments.list())).map(({ id }) => id)).not.toContain(environment.id);
    await expect(client.beta.environments.update(environment.id, { name: 'x' })).rejects.toMatchObject({
      status: 400,
      errorCode: 'environment_archived',
    });
    expect(await client.beta.environments.delete(environment.id)).toEqual({ id: environment.id, type: 'environment_deleted' });
    await expect(client.beta.environments.retrieve(environment.id)).rejects.toThrow(Anthropic.NotFoundError);
  });

  test('keep their type for good', async () => {
    const { id } = await gateway.environment();
    await expect(client.beta.environments.update(id, { config: { type: 'self_hosted' } })).rejects.toMatchObject({
      status: 400,
      errorCode: 'invalid_config_type_change',
    });
  });

  test('are not deleted while a session refers to them', async () => {
    const session = await gateway.session();
    await expect(client.beta.environments.delete(session.environment_id)).rejects.toThrow(/1 session;/);
    await client.beta.sessions.delete(session.id);
    expect(await client.beta.environments.delete(session.environment_id)).toMatchObject({ type: 'environment_deleted' });
  });
});

describe('models', () => {
  test('are listed in pages and retrieved by id; an unlisted one is not found', async () => {
    const listed = await all(client.models.list({ limit: 2 }));
    expect(listed.map(({ id }) => id)).toEqual(['claude-opus-4-8', 'claude-sonnet-5', 'claude-haiku-4-5']);
    const page = await client.models.list({ limit: 1, before_id: 'claude-haiku-4-5' });
    expect(page.data.map(({ id }) => id)).toEqual(['claude-sonnet-5']);
    expect(page.has_more).toBe(true);
    expect(await client.models.retrieve('claude-opus-4-8')).toMatchObject({ type: 'model', id: 'claude-opus-4-8', lifecycle: 'active' });
    await expect(client.models.retrieve('no-such-model')).rejects.toThrow(Anthropic.NotFoundError);
    await expect(client.models.list({ after_id: 'no-such-model' })).rejects.toThrow(Anthropic.BadRequestError);
    expect((await client.models.list({ lifecycle: ['retired'] })).data).toEqual([]);
  });
});

describe('API keys', () => {
  const call = async (method: string, path: string, key: string, body?: unknown) => {
    const response = await fetch(`${gateway.url}/v1/manyhands/api_keys${path}`, {
      method,
      headers: { 'x-api-key': key, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> & { error?: { type: string } } };
  };

  test('are made, listed, read and revoked by operators, and a revoked key is refused at once', async () => {
    const made = await call('POST', '', gateway.operatorKey, { name: 'ci' });
    expect(made).toMatchObject({ status: 200, body: { type: 'api_key', name: 'ci', scopes: ['api'] } });
    const { key, id, ...rest } = made.body as { key: string; id: string };
    const other = gateway.sdk(key);
    await other.beta.agents.list();
    expect((await call('GET', `/${id}`, gateway.operatorKey)).body).toEqual({ id, ...rest });
    expect(JSON.stringify((await call('GET', '', gateway.operatorKey)).body)).not.toContain(key);
    expect(await call('DELETE', `/${id}`, gateway.operatorKey)).toEqual({ status: 200, body: { id, type: 'api_key_deleted' } });
    await expect(other.beta.agents.list()).rejects.toThrow(Anthropic.AuthenticationError);
    const shown = (await call('GET', '?include_revoked=true', gateway.operatorKey)).body['data'] as {
      id: string;
      revoked_at: string | null;
    }[];
    expect(shown.find((item) => item.id === id)?.revoked_at).toBeTruthy();
  });

  test('revoked elsewhere stop working within the time a key is remembered', async () => {
    const key = await gateway.makeKey('wrkspc_test', ['api']);
    const other = gateway.sdk(key);
    await other.beta.agents.list();
    const identity = await gateway.apiKeys.authenticate(key);
    await gateway.apiKeys.revoke('wrkspc_test', identity?.id ?? '');
    await until(
      () =>
        other.beta.agents.list().then(
          () => false,
          (error: Error) => error instanceof Anthropic.AuthenticationError,
        ),
      {
        what: 'the revoked key is refused',
        timeoutMs: 5_000,
      },
    );
  });

  test('cannot be touched without the operator scope', async () => {
    const before = await contents(gateway);
    for (const [method, path, body] of [
      ['POST', '', { name: 'x', scopes: ['operator'] }],
      ['GET', '', undefined],
      ['GET', '/apikey_x', undefined],
      ['DELETE', '/apikey_x', undefined],
    ] as const) {
      expect(await call(method, path, gateway.key, body)).toMatchObject({ status: 403, body: { error: { type: 'permission_error' } } });
    }
    expect(await contents(gateway)).toEqual(before);
  });

  test('of another workspace do not exist', async () => {
    const foreign = await gateway.apiKeys.create('wrkspc_foreign', { name: 'f' });
    expect((await call('GET', `/${foreign.id}`, gateway.operatorKey)).status).toBe(404);
    expect((await call('DELETE', `/${foreign.id}`, gateway.operatorKey)).status).toBe(404);
    expect(await gateway.apiKeys.authenticate(foreign.key)).not.toBeNull();
  });
});
