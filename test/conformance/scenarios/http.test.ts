/** What holds for every request: keys, envelope, paths, bodies, queries, the ages of SDKs. */
import { toFile } from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { all, expectRefusal, expectRejection, raw } from '../client.ts';
import { say } from '../conversation.ts';
import { OPERATOR_KEY } from '../stack.ts';
import { type Endpoint, ENDPOINTS as SURFACE, samplePath } from '../surface/endpoints.ts';
import { standingOfEndpoint } from '../surface/states.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'gateway' });
const AGENT = { name: 'a', model: 'm' };

/** Every endpoint of this server, with ids that look right. */
const ENDPOINTS: readonly [string, string, unknown?][] = [
  ['POST', '/v1/agents', AGENT],
  ['GET', '/v1/agents'],
  ['GET', '/v1/agents/agent_x'],
  ['POST', '/v1/agents/agent_x', {}],
  ['POST', '/v1/agents/agent_x/archive'],
  ['GET', '/v1/agents/agent_x/versions'],
  ['POST', '/v1/environments', { name: 'e' }],
  ['GET', '/v1/environments'],
  ['GET', '/v1/environments/env_x'],
  ['POST', '/v1/environments/env_x', {}],
  ['DELETE', '/v1/environments/env_x'],
  ['POST', '/v1/environments/env_x/archive'],
  ['POST', '/v1/sessions', { agent: 'agent_x', environment_id: 'env_x' }],
  ['GET', '/v1/sessions'],
  ['GET', '/v1/sessions/sesn_x'],
  ['POST', '/v1/sessions/sesn_x', {}],
  ['DELETE', '/v1/sessions/sesn_x'],
  ['POST', '/v1/sessions/sesn_x/archive'],
  ['GET', '/v1/sessions/sesn_x/events'],
  ['POST', '/v1/sessions/sesn_x/events', { events: [{ type: 'user.interrupt' }] }],
  ['GET', '/v1/sessions/sesn_x/events/stream'],
  ['GET', '/v1/sessions/sesn_x/threads'],
  ['GET', '/v1/sessions/sesn_x/threads/sthr_x'],
  ['POST', '/v1/sessions/sesn_x/threads/sthr_x/archive'],
  ['GET', '/v1/sessions/sesn_x/threads/sthr_x/events'],
  ['GET', '/v1/sessions/sesn_x/threads/sthr_x/stream'],
  ['GET', '/v1/models'],
  ['GET', '/v1/sessions/sesn_x/resources'],
  ['POST', '/v1/sessions/sesn_x/resources', { type: 'file', file_id: 'file_x' }],
  ['GET', '/v1/sessions/sesn_x/resources/sesrsc_x'],
  ['POST', '/v1/sessions/sesn_x/resources/sesrsc_x', { authorization_token: 't' }],
  ['DELETE', '/v1/sessions/sesn_x/resources/sesrsc_x'],
  ['GET', '/v1/files'],
  ['POST', '/v1/files', {}],
  ['GET', '/v1/files/file_x'],
  ['GET', '/v1/files/file_x/content'],
  ['DELETE', '/v1/files/file_x'],
  ['GET', '/v1/models/m'],
  ['POST', '/v1/manyhands/api_keys', { name: 'k' }],
  ['GET', '/v1/manyhands/api_keys'],
  ['GET', '/v1/manyhands/api_keys/apikey_x'],
  ['DELETE', '/v1/manyhands/api_keys/apikey_x'],
  ['GET', '/admin/queues'],
];

const inRequests = ({ method, path }: Endpoint) =>
  ENDPOINTS.some(([asked, at]) => asked === method && new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(at));
/** Endpoints of the contract that come later, and what is no endpoint at all. */
const NOT_BUILT: readonly (readonly [string, string])[] = [
  ...SURFACE.filter((endpoint) => standingOfEndpoint(endpoint).state === 'not yet').map(
    (endpoint) => [endpoint.method, samplePath(endpoint)] as const,
  ),
  ['POST', '/v1/messages'],
  ['GET', '/v1/nothing'],
  ['GET', '/'],
];

describe('keys', () => {
  verifies('http.auth.ways', async () => {
    const get = async (headers: Record<string, string>) => raw(stack(), 'GET', '/v1/agents', { key: null, headers });
    expect((await get({ authorization: `Bearer ${OPERATOR_KEY}` })).status).toBe(200);
    expect((await get({ authorization: `bearer  ${OPERATOR_KEY}` })).status).toBe(200);
    expect((await get({ 'x-api-key': OPERATOR_KEY })).status).toBe(200);
    const old = stack().client({ apiKey: null, defaultHeaders: { 'X-Api-Key': OPERATOR_KEY, Authorization: null } });
    expect((await old.beta.agents.list()).data).toEqual(expect.any(Array));
    const prefixed = stack().client({ baseURL: `${stack().url()}/`, authToken: OPERATOR_KEY, apiKey: null });
    expect((await prefixed.beta.agents.list()).data).toEqual(expect.any(Array));
  });

  verifies('http.auth.required', async () => {
    const promised = SURFACE.filter((endpoint) => standingOfEndpoint(endpoint).state !== 'not yet');
    expect(promised.filter((endpoint) => !inRequests(endpoint)).map(({ id }) => id)).toEqual([]);
    for (const [method, path, body] of [...ENDPOINTS, ...NOT_BUILT.map(([m, p]) => [m, p, undefined] as const)]) {
      for (const headers of [
        {},
        { authorization: 'Bearer wrong-key-0123456789' },
        { 'x-api-key': 'nope' },
        { authorization: OPERATOR_KEY },
      ] as Record<string, string>[]) {
        const answer = await raw(stack(), method, path, { key: null, headers, ...(body === undefined ? {} : { body }) });
        expectRefusal(answer, { status: 401 });
        expect(answer.text).not.toContain('wrong-key');
      }
    }
    await expectRejection(stack().client({ apiKey: 'wrong-key-0123456789' }).beta.agents.list(), { status: 401 });
  });

  verifies('http.auth.workspace', async () => {
    const mine = await raw(stack(), 'GET', '/v1/agents');
    const workspace = mine.headers.get('anthropic-workspace-id')!;
    expect(workspace).toMatch(/^wrkspc_/);
    expect((await raw(stack(), 'GET', '/v1/agents', { headers: { 'anthropic-workspace-id': workspace } })).status).toBe(200);
    expectRefusal(await raw(stack(), 'GET', '/v1/agents', { headers: { 'anthropic-workspace-id': 'wrkspc_other' } }), {
      status: 403,
      says: 'workspace',
    });
    expect((await stack().client().beta.agents.list({ workspace_id: workspace })).data).toEqual(expect.any(Array));
    await expectRejection(stack().client().beta.agents.list({ workspace_id: 'wrkspc_other' }), { status: 403 });
  });

  verifies('http.foreign', async () => {
    const client = stack().client();
    const agent = await client.beta.agents.create(AGENT);
    const environment = await client.beta.environments.create({ name: 'e' });
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const [thread] = await all(client.beta.sessions.threads.list(session.id));
    const event = await client.beta.sessions.events.send(session.id, { events: [{ type: 'user.interrupt' }] });
    const key = await stack().key('wrkspc_other');
    for (const [method, path, body] of ENDPOINTS) {
      if (!path.includes('_x') || path.includes('api_keys')) continue;
      const real = path
        .replace('agent_x', agent.id)
        .replace('env_x', environment.id)
        .replace('sesn_x', session.id)
        .replace('sthr_x', thread!.id);
      expectRefusal(await raw(stack(), method, real, { key, ...(body === undefined ? {} : { body }) }), { status: 404 });
    }
    const other = stack().client({ apiKey: key });
    const theirs = await other.beta.agents.create(AGENT);
    await expectRejection(other.beta.sessions.create({ agent: theirs.id, environment_id: environment.id }), { status: 404 });
    await expectRejection(other.beta.sessions.create({ agent: agent.id, environment_id: environment.id }), { status: 404 });
    expect((await all(other.beta.sessions.list({ include_archived: true }))).length).toBe(0);
    expect((await all(other.beta.agents.list())).map(({ id }) => id)).toEqual([theirs.id]);
    expect(await all(other.beta.environments.list())).toEqual([]);
    // Nothing happened to them meanwhile.
    expect(await client.beta.agents.retrieve(agent.id)).toEqual(agent);
    expect(await client.beta.environments.retrieve(environment.id)).toEqual(environment);
    expect((await client.beta.sessions.retrieve(session.id)).status).toBe('idle');
    expect((await all(client.beta.sessions.events.list(session.id))).map(({ id }) => id)).toEqual([event.data![0]!.id]);
  });
});

describe('paths', () => {
  verifies('http.not_built', async () => {
    for (const [method, path] of NOT_BUILT)
      expectRefusal(await raw(stack(), method, path, method === 'POST' ? { body: {} } : {}), {
        status: 404,
        shouldRetry: 'false',
        says: method,
      });
    for (const [method, path] of [
      ['PUT', '/v1/agents/agent_x'],
      ['PATCH', '/v1/sessions/sesn_x'],
      ['DELETE', '/v1/agents/agent_x'],
      ['DELETE', '/v1/sessions'],
    ] as const)
      expectRefusal(await raw(stack(), method, path), { status: 404, shouldRetry: 'false', says: method });
    await expectRejection(stack().client().beta.vaults.create({ display_name: 'v' }), { status: 404, shouldRetry: 'false' });
    await expectRejection(stack().client().beta.skills.list(), { status: 404, shouldRetry: 'false' });
  });

  verifies('http.malformed_ids', async () => {
    const ids = [
      'x',
      'agent_',
      'env_x',
      'sesn_x%20y',
      `agent_${'a'.repeat(65)}`,
      'agent_a-b',
      '%F0%9F%98%80',
      'agent_..',
      `agent_${'a'.repeat(400)}`,
      'null',
      'undefined',
    ];
    for (const id of ids)
      for (const [method, path, body] of ENDPOINTS) {
        if (!/_x/.test(path) || path === '/v1/models/m') continue;
        const wrong = path.replace(/(agent|env|sesn|apikey)_x/, id);
        expectRefusal(await raw(stack(), method, wrong, body === undefined ? {} : { body }), { status: 404 });
      }
    expectRefusal(await raw(stack(), 'GET', '/v1/agents/%E0%A4%A'), { status: 404, shouldRetry: 'false' });
  });
});

describe('bodies', () => {
  verifies('http.body.json', async () => {
    const wrong: [string, string][] = [
      ['{"name":', 'JSON'],
      ['', 'no body'],
      ['null', 'body'],
      ['[]', 'body'],
      ['"text"', 'body'],
      ['{"name":"a","model":"m","__proto__":{"x":1}}', '__proto__'],
    ];
    for (const [body, says] of wrong) expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body }), { status: 400, says });
    expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body: 'name=a', headers: { 'content-type': 'text/plain' } }), {
      status: 400,
      says: 'content-type',
    });
    expectRefusal(
      await raw(stack(), 'POST', '/v1/agents', { body: AGENT, headers: { 'content-type': 'application/json; charset=latin1' } }),
      { status: 400, code: 'unsupported_charset' },
    );
    expect(
      (await raw(stack(), 'POST', '/v1/agents', { body: AGENT, headers: { 'content-type': 'application/json; charset=UTF-8' } })).status,
    ).toBe(200);
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  verifies('http.body.limit', async () => {
    const before = (await all(stack().client().beta.agents.list({ limit: 100 }))).length;
    const huge = JSON.stringify({ ...AGENT, system: 'x'.repeat(32 * 1024 * 1024) });
    expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body: huge }), { status: 413 });
    await expectRejection(
      stack()
        .client()
        .beta.agents.create({ ...AGENT, system: 'x'.repeat(33 * 1024 * 1024) }),
      { status: 413 },
    );
    expect((await all(stack().client().beta.agents.list({ limit: 100 }))).length).toBe(before);
  });

  verifies('http.body.none', async () => {
    const agent = await stack().client().beta.agents.create(AGENT);
    const path = `/v1/agents/${agent.id}/archive`;
    expectRefusal(await raw(stack(), 'POST', path, { body: { reason: 'x' } }), { status: 400, says: 'reason: unknown field' });
    expect((await stack().client().beta.agents.retrieve(agent.id)).archived_at).toBeNull();
    expect((await raw(stack(), 'POST', path, { body: {} })).status).toBe(200);
    expect((await raw(stack(), 'POST', path, { headers: { 'content-length': '0' } })).status).toBe(200);
    expect((await raw(stack(), 'POST', path, { headers: { 'content-type': 'application/json' } })).status).toBe(200);
  });
});

describe('queries and ages', () => {
  verifies('http.query', async () => {
    expect((await raw(stack(), 'GET', '/v1/agents?beta=true&limit=1')).status).toBe(200);
    expect((await raw(stack(), 'POST', '/v1/agents?beta=true', { body: AGENT })).status).toBe(200);
    expect((await raw(stack(), 'GET', '/v1/agents?page=&limit=&include_archived=')).status).toBe(200);
    expect((await raw(stack(), 'GET', '/v1/sessions?statuses%5B%5D=idle&statuses%5B%5D=running')).status).toBe(200);
    expect((await raw(stack(), 'GET', '/v1/sessions?statuses=idle&statuses=running')).status).toBe(200);
    for (const [method, path, body] of ENDPOINTS) {
      if (path.startsWith('/admin')) continue;
      expectRefusal(await raw(stack(), method, `${path}?bogus=1`, body === undefined ? {} : { body }), {
        status: 400,
        says: 'bogus: unknown query parameter',
      });
    }
    expectRefusal(await raw(stack(), 'GET', '/v1/agents?limit=1&limit=2'), { status: 400, says: 'limit' });
  });

  verifies('http.generations', async () => {
    for (const version of ['2023-06-01', '2026-10-21', 'tomorrow', ''])
      for (const beta of ['managed-agents-2026-04-01', 'foo,bar', 'agent-api-2026-03-01', ''])
        expect(
          (await raw(stack(), 'GET', '/v1/agents', { headers: { 'anthropic-version': version, 'anthropic-beta': beta } })).status,
        ).toBe(200);
    expect(
      (
        await stack()
          .client()
          .beta.agents.list({ betas: ['something-new'] })
      ).data,
    ).toEqual(expect.any(Array));
  });

  verifies('http.announcement', async () => {
    const toolset = 'agent_toolset_20260401';
    const message = '{"type":"user.message","content":[{"type":"text","text":';
    const client = stack().client();
    const agent = await client.beta.agents.create(AGENT);
    const environment = await client.beta.environments.create({ name: 'e' });
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const old: [string, object, string[]][] = [
      ['/v1/agents', { ...AGENT, tools: [{ type: 'bash' }] }, ['tools.0', toolset]],
      ['/v1/agents', { ...AGENT, tools: [{ type: 'bash_20250124', name: 'bash' }] }, ['tools.0', toolset]],
      ['/v1/agents', { ...AGENT, tools: ['bash'] }, ['tools.0']],
      ['/v1/agents', { ...AGENT, system_prompt: 'x' }, ['system_prompt', '"system"']],
      ['/v1/environments', { name: 'e', network_access: 'limited' }, ['network_access', '"networking"']],
      ['/v1/environments', { name: 'e', packages: [] }, ['packages', '"config"']],
      ['/v1/environments', { name: 'e', config: { type: 'cloud', packages: [] } }, ['config.packages']],
      ['/v1/sessions', { agent_id: agent.id, environment_id: environment.id }, ['agent_id', '"agent"']],
      ['/v1/sessions', { agent: agent.id, environment: environment.id }, ['environment', '"environment_id"']],
      [`/v1/sessions/${session.id}/events`, { events: [{ type: 'user', content: 'hi' }] }, ['events.0', message]],
      [`/v1/sessions/${session.id}/events`, { type: 'user', content: 'hi' }, ['events: required']],
      [`/v1/sessions/${session.id}/events`, { message: 'hi' }, ['message', message]],
      [`/v1/sessions/${session.id}/events`, { events: [{ type: 'user.message', content: 'hi' }] }, ['events.0.content']],
    ];
    for (const [path, body, says] of old) expectRefusal(await raw(stack(), 'POST', path, { body }), { status: 400, says });
    expect(await all(client.beta.sessions.events.list(session.id))).toEqual([]);
  });

  verifies('http.request_id', async () => {
    const seen = new Set<string>();
    for (const [method, path] of [
      ['GET', '/v1/agents'],
      ['GET', '/v1/agents/agent_x'],
      ['GET', '/healthz'],
      ['GET', '/nope'],
    ] as const) {
      const id = (await raw(stack(), method, path, { headers: { 'request-id': 'req_mine' } })).headers.get('request-id')!;
      expect(id).toMatch(/^req_\w+$/);
      seen.add(id);
    }
    expect(seen.size).toBe(4);
    expect(seen).not.toContain('req_mine');
    const agent = await stack().client().beta.agents.create(AGENT);
    expect(agent._request_id).toMatch(/^req_/);
  });

  verifies('http.ids', async () => {
    const { agents, environments, files, sessions } = stack().client().beta;
    const [agent, environment] = await Promise.all([agents.create(AGENT), environments.create({ name: 'e' })]);
    const file = await files.upload({ file: await toFile(Buffer.from('x'), 'x') });
    const resources = [{ type: 'file', file_id: file.id } as const];
    const session = await sessions.create({ agent: agent.id, environment_id: environment.id, resources });
    const { id } = (await raw(stack(), 'POST', '/v1/manyhands/api_keys', { body: { name: 'k' } })).body;
    const event = (await sessions.events.send(session.id, { events: [say('x')] })).data![0]!;
    const [thread] = (await sessions.threads.list(session.id)).data;
    const [resource] = (await raw(stack(), 'GET', `/v1/sessions/${session.id}/resources`)).body.data;
    for (const [prefix, { id: told }] of Object.entries({
      ...{
        agent_: agent,
        env_: environment,
        file_: file,
        sesn_: session,
        sevt_: event,
        sthr_: thread!,
        sesrsc_: resource as { id: string },
        apikey_: { id },
      },
    }))
      expect(told).toMatch(new RegExp(`^${prefix}[0-9A-Za-z]+$`));
    for (const time of [agent.created_at, environment.updated_at, file.created_at, session.created_at, thread!.created_at])
      expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  verifies('http.pages', async () => {
    const { agents } = stack().client().beta;
    await Promise.all(Array.from({ length: 21 }, () => agents.create(AGENT)));
    expect((await agents.list()).data).toHaveLength(20);
    expect((await agents.list({ limit: 100 })).data.length).toBeGreaterThan(20);
    for (const limit of [0, 101]) await expectRejection(agents.list({ limit }), { status: 400, says: ['limit', '1 to 100'] });
    const environment = await stack().client().beta.environments.create({ name: 'e' });
    const session = await stack()
      .client()
      .beta.sessions.create({ agent: { type: 'agent', id: (await agents.create(AGENT)).id }, environment_id: environment.id });
    const events = (limit: number) => stack().client().beta.sessions.events.list(session.id, { limit });
    await stack()
      .client()
      .beta.sessions.events.send(session.id, { events: Array.from({ length: 101 }, () => say('x')) });
    expect((await events(1000)).data).toHaveLength(101);
    await expectRejection(events(1001), { status: 400, says: ['limit', '1 to 1000'] });
  });

  verifies('http.fuzz', async () => {
    const segment = fc.string({ unit: 'grapheme', maxLength: 30 }).map(encodeURIComponent);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'DELETE'),
        fc.constantFrom('/v1/agents/', '/v1/sessions/', '/v1/environments/', '/v1/'),
        segment,
        fc.option(fc.jsonValue(), { nil: undefined }),
        async (method, prefix, tail, body) => {
          const answer = await raw(
            stack(),
            method,
            prefix + tail,
            method === 'GET' || body === undefined ? {} : { body: JSON.stringify(body) },
          );
          // Lists and creates may be hit by an empty segment; nothing else exists.
          if (tail !== '' && answer.status !== 404) expect(answer.status, `${method} ${prefix}${tail}`).toBe(400);
          expect(answer.status).toBeLessThan(500);
          expect(answer.headers.get('request-id')).toMatch(/^req_/);
        },
      ),
      { numRuns: 120 },
    );
  });
});
