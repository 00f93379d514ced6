/** Whatever is wrong with a request: the documented status, the envelope, a request id, a message that names field and remedy. */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contents, type GatewayFixture, startGateway } from './fixture.ts';

const BODY_LIMIT = 64 * 1024;
let gateway: GatewayFixture;
let sessionId: string;
let agentId: string;
let environmentId: string;
const BUDGET = { type: 'limit', max_list_cost: { amount: '250', currency: 'USD' } };
beforeAll(async () => {
  gateway = await startGateway({ bodyLimitBytes: BODY_LIMIT });
  const session = await gateway.session();
  sessionId = session.id;
  agentId = session.agent.id;
  environmentId = session.environment_id;
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Refusal {
  status: number;
  type: string;
  message: string;
  code: string | undefined;
  retry: string | null;
}
/** Checks what every refusal has in common and answers what differs. */
async function refusal(pending: Response | Promise<Response>): Promise<Refusal> {
  const response = await pending;
  const text = await response.text();
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  const requestId = response.headers.get('request-id');
  expect(requestId).toMatch(/^req_[A-Za-z0-9]+$/);
  const body = JSON.parse(text) as {
    type: string;
    request_id: string;
    error: { type: string; message: string; details?: { error_code: string } };
  };
  expect(Object.keys(body).sort()).toEqual(['error', 'request_id', 'type']);
  expect(body.type).toBe('error');
  expect(body.request_id).toBe(requestId);
  const { type, message, details } = body.error;
  return { status: response.status, type, message, code: details?.error_code, retry: response.headers.get('x-should-retry') };
}

describe('without a good key', () => {
  test.each([
    ['no key', {}],
    ['an unknown bearer', { authorization: 'Bearer mh-unknown' }],
    ['an unknown x-api-key', { 'x-api-key': 'mh-unknown' }],
    ['an empty bearer', { authorization: 'Bearer ' }],
    ['basic outside of /admin', { authorization: `Basic ${Buffer.from('x:y').toString('base64')}` }],
  ])('nothing but health checks answers: %s', async (_name, headers) => {
    for (const [method, path] of [
      ['GET', '/v1/agents'],
      ['POST', '/v1/agents'],
      ['GET', `/v1/sessions/${sessionId}`],
      ['GET', `/v1/sessions/${sessionId}/events/stream`],
      ['GET', '/v1/models'],
      ['GET', '/no/such/path'],
      ['DELETE', '/'],
      ['GET', '/healthz/x'],
      ['GET', '/admin/queues'],
      ['GET', '/v1/agents/%E0%A4%A'],
      ['GET', `/v1/agents/${'x'.repeat(2000)}`],
    ] as const) {
      const answer = await refusal(fetch(gateway.url + path, { method, headers: headers as Record<string, string> }));
      expect([path, answer.status, answer.type]).toEqual([path, 401, 'authentication_error']);
    }
    expect(await (await fetch(`${gateway.url}/healthz`)).json()).toEqual({ status: 'ok' });
    expect(await (await fetch(`${gateway.url}/readyz`)).json()).toEqual({ status: 'ready' });
  });

  test('the message never repeats the key', async () => {
    const answer = await refusal(fetch(`${gateway.url}/v1/agents`, { headers: { authorization: 'Bearer mh-secret-text' } }));
    expect(JSON.stringify(answer)).not.toContain('secret-text');
  });

  test('a workspace header must be the one of the key', async () => {
    const ask = (workspace: string) => gateway.fetch('/v1/agents', { headers: { 'anthropic-workspace-id': workspace } });
    expect(await refusal(ask('wrkspc_other'))).toMatchObject({ status: 403, type: 'permission_error' });
    const allowed = await ask('wrkspc_test');
    expect([allowed.status, allowed.headers.get('anthropic-workspace-id')]).toEqual([200, 'wrkspc_test']);
  });

  test('both ways to present a key work, with any API version and beta header', async () => {
    for (const headers of [{ authorization: `bearer ${gateway.key}` }, { 'x-api-key': gateway.key }]) {
      const response = await fetch(`${gateway.url}/v1/agents?beta=true`, {
        headers: { ...(headers as Record<string, string>), 'anthropic-version': '2023-06-01', 'anthropic-beta': 'never-heard-of' },
      });
      expect(response.status).toBe(200);
      expect(response.headers.get('request-id')).toMatch(/^req_/);
      await response.arrayBuffer();
    }
  });
});

describe('what does not exist', () => {
  test('is a 404 that is not to be tried again, and a wrong method is told the right ones', async () => {
    expect(await refusal(gateway.fetch('/v1/nothing'))).toMatchObject({ status: 404, type: 'not_found_error', retry: 'false' });
    expect(await refusal(gateway.fetch('/v1/agents/%E0%A4%A'))).toMatchObject({ status: 404, retry: 'false' });
    const wrong = await refusal(gateway.fetch(`/v1/sessions/${sessionId}/events`, { method: 'DELETE' }));
    expect(wrong).toMatchObject({ status: 404, retry: 'false' });
    expect(wrong.message).toMatch(/takes (POST and GET|GET and POST)/);
    for (const path of ['vaults', 'skills', 'memory_stores', 'deployments', 'dreams', 'messages'])
      expect(await refusal(gateway.post(`/v1/${path}`, {}))).toMatchObject({ status: 404, retry: 'false' });
    const head = await gateway.fetch('/v1/agents', { method: 'HEAD' });
    expect(head.status).toBe(404);
  });

  test('malformed ids are as unknown as unknown ones', async () => {
    for (const id of ['x', 'agent_', 'agent_x:versions', 'agent_..%2Fx', 'sesn_x', `agent_${'x'.repeat(300)}`, '{}', '%00']) {
      for (const path of [
        `/v1/agents/${id}`,
        `/v1/environments/${id}`,
        `/v1/sessions/${id}`,
        `/v1/sessions/${id}/events`,
        `/v1/agents/${id}/versions`,
      ])
        expect([path, (await refusal(gateway.fetch(path))).status]).toEqual([path, 404]);
      expect((await refusal(gateway.post(`/v1/agents/${id}`, {}))).status).toBe(404);
      expect((await refusal(gateway.post(`/v1/sessions/${id}/archive`, {}))).status).toBe(404);
    }
  });
});

describe('a body', () => {
  test.each([
    ['broken JSON', '{"name":', {}, 400, undefined],
    ['text after JSON', '{} {}', {}, 400, undefined],
    ['another content type', 'name=x', { 'content-type': 'application/x-www-form-urlencoded' }, 400, undefined],
    ['plain text', '{}', { 'content-type': 'text/plain' }, 400, undefined],
    ['a nonsense content type', '{}', { 'content-type': ';;' }, 400, undefined],
    ['another charset', '{}', { 'content-type': 'application/json; charset=latin1' }, 400, 'unsupported_charset'],
    ['a compressed body', '{}', { 'content-encoding': 'gzip' }, 400, 'request_body_encoding_unsupported'],
    ['a prototype key', '{"name":"x","model":"m","metadata":{"__proto__":"x"}}', {}, 400, undefined],
    ['an escaped prototype key', '{"name":"x","model":"m","metadata":{"\\u005f_proto__":"x"}}', {}, 400, undefined],
    ['an array', '[]', {}, 400, undefined],
    ['null', 'null', {}, 400, undefined],
    ['nothing', '', {}, 400, undefined],
  ])('with %s is refused and stores nothing', async (_name, body, headers, status, code) => {
    const before = await contents(gateway);
    expect(await refusal(gateway.post('/v1/agents', body, headers as Record<string, string>))).toMatchObject({
      status,
      type: 'invalid_request_error',
      code,
    });
    expect(await contents(gateway)).toEqual(before);
  });

  test('that is not UTF-8 is refused', async () => {
    const response = await fetch(`${gateway.url}/v1/agents`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
      body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]),
    });
    expect(await refusal(response)).toMatchObject({ status: 400, code: 'request_body_encoding_invalid' });
  });

  test('over the limit is a 413, announced or streamed', async () => {
    const text = JSON.stringify({ name: 'x'.repeat(BODY_LIMIT) });
    expect(await refusal(gateway.post('/v1/agents', text))).toMatchObject({ status: 413, type: 'request_too_large' });
    const streamed = await fetch(`${gateway.url}/v1/agents`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.key}`, 'content-type': 'application/json' },
      body: new Blob([text]).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(await refusal(streamed)).toMatchObject({ status: 413 });
  });

  test('may be missing where nothing is needed, with or without a content type', async () => {
    const { id } = await gateway.agent();
    for (const headers of [{}, { 'content-type': 'application/json' }]) {
      const path = `${gateway.url}/v1/agents/${id}/archive`;
      const response = await fetch(path, {
        method: 'POST',
        headers: { authorization: `Bearer ${gateway.key}`, ...(headers as Record<string, string>) },
      });
      expect(response.status).toBe(200);
      await response.arrayBuffer();
    }
    expect((await gateway.post(`/v1/agents/${id}/archive`, {})).status).toBe(200);
    expect((await refusal(gateway.post(`/v1/agents/${id}/archive`, { force: true }))).message).toMatch(/^force: unknown field/);
  });

  const cases: [string, () => [string, unknown], RegExp][] = [
    ['a missing field', () => ['/v1/agents', { name: 'x' }], /^model: required/],
    ['a wrong type', () => ['/v1/agents', { name: 5, model: 'm' }], /^name: expected string/],
    ['an unknown field', () => ['/v1/agents', { name: 'x', model: 'm', temperature: 1 }], /^temperature: unknown field$/],
    [
      'a field named like a property of every object',
      () => ['/v1/agents', { name: 'x', model: 'm', constructor: 1 }],
      /^constructor: unknown field$/,
    ],
    [
      'an unknown field inside',
      () => ['/v1/agents', { name: 'x', model: { id: 'm', max_tokens: 1 } }],
      /^model\.max_tokens: unknown field/,
    ],
    ['an empty name', () => ['/v1/agents', { name: '', model: 'm' }], /^name: /],
    ['an unknown effort', () => ['/v1/agents', { name: 'x', model: { id: 'm', effort: 'huge' } }], /^model\.effort/],
    [
      'too much metadata',
      () => ['/v1/agents', { name: 'x', model: 'm', metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [i, ''])) }],
      /^metadata: at most 16 keys/,
    ],
    ['a long metadata key', () => ['/v1/agents', { name: 'x', model: 'm', metadata: { ['k'.repeat(65)]: 'v' } }], /^metadata\.k+: /],
    [
      'mcp_servers',
      () => ['/v1/agents', { name: 'x', model: 'm', mcp_servers: [{ type: 'url', name: 'n', url: 'u' }] }],
      /^mcp_servers: .*not supported yet/,
    ],
    ['skills', () => ['/v1/agents', { name: 'x', model: 'm', skills: [{ type: 'anthropic', skill_id: 'xlsx' }] }], /not supported yet/],
    [
      'a custom tool without a description',
      () => ['/v1/agents', { name: 'x', model: 'm', tools: [{ type: 'custom', name: 'n', input_schema: { type: 'object' } }] }],
      /^tools\.0\.description: required/,
    ],
    [
      'an unknown policy',
      () => [
        '/v1/agents',
        {
          name: 'x',
          model: 'm',
          tools: [{ type: 'agent_toolset_20260401', default_config: { permission_policy: { type: 'never_ask' } } }],
        },
      ],
      /always_allow/,
    ],
    ['announced tools', () => ['/v1/agents', { name: 'x', model: 'm', tools: [{ type: 'bash' }] }], /agent_toolset_20260401/],
    [
      'announced network access',
      () => ['/v1/environments', { name: 'x', network_access: 'limited' }],
      /^network_access: unknown field; .*"networking":\{"type":"limited"/,
    ],
    ['announced packages', () => ['/v1/environments', { name: 'x', packages: [] }], /^packages: unknown field; .*"config"/],
    [
      'packages',
      () => ['/v1/environments', { name: 'x', config: { type: 'cloud', packages: { pip: ['numpy'] } } }],
      /^config\.packages\.pip: .*not supported yet/,
    ],
    ['self-hosted', () => ['/v1/environments', { name: 'x', config: { type: 'self_hosted' } }], /^config.*not supported yet/],
    [
      'a host with a scheme',
      () => ['/v1/environments', { name: 'x', config: { type: 'cloud', networking: { type: 'limited', allowed_hosts: ['https://x'] } } }],
      /^config\.networking\.allowed_hosts\.0: /,
    ],
    [
      'announced agent_id',
      () => ['/v1/sessions', { agent_id: agentId, environment_id: environmentId }],
      /agent_id: unknown field; .*"agent":"agent_…"/,
    ],
    ['a wrong agent', () => ['/v1/sessions', { agent: 5, environment_id: environmentId }], /^agent: must be string or object/],
    [
      'overrides of what comes later',
      () => [
        '/v1/sessions',
        {
          agent: { type: 'agent_with_overrides', id: agentId, skills: [{ type: 'anthropic', skill_id: 'xlsx' }] },
          environment_id: environmentId,
        },
      ],
      /^agent\.skills.*not supported yet/,
    ],
    [
      'resources that are no files',
      () => ['/v1/sessions', { agent: agentId, environment_id: environmentId, resources: [{ type: 'github_repository', url: 'u' }] }],
      /^resources\.0(\.type)?: .*not supported yet/,
    ],
    [
      'half a budget',
      () => ['/v1/sessions', { agent: agentId, environment_id: environmentId, budget: { type: 'limit' } }],
      /^budget\.max_list_cost: required/,
    ],
    [
      'a budget in dollars',
      () => [
        '/v1/sessions',
        { agent: agentId, environment_id: environmentId, budget: { ...BUDGET, max_list_cost: { amount: '2.50', currency: 'USD' } } },
      ],
      /^budget\.max_list_cost\.amount: .*whole US cents/,
    ],
    [
      'a budget for a model without a price',
      () => [
        '/v1/sessions',
        { agent: { type: 'agent_with_overrides', id: agentId, model: 'nobody-knows' }, environment_id: environmentId, budget: BUDGET },
      ],
      /^budget: model_not_budgetable: .*MANYHANDS_PRICES/,
    ],
    [
      'bad initial events',
      () => ['/v1/sessions', { agent: agentId, environment_id: environmentId, initial_events: [{ type: 'user.interrupt' }] }],
      /^initial_events\.0/,
    ],
    ['vault_ids in an update', () => [`/v1/sessions/${sessionId}`, { vault_ids: [] }], /^vault_ids: /],
    ['no events', () => [`/v1/sessions/${sessionId}/events`, { events: [] }], /^events: /],
    [
      'an announced event type',
      () => [`/v1/sessions/${sessionId}/events`, { events: [{ type: 'user', content: 'hi' }] }],
      /^events\.0.*user\.message/,
    ],
    [
      'content as text',
      () => [`/v1/sessions/${sessionId}/events`, { events: [{ type: 'user.message', content: 'hi' }] }],
      /^events\.0\.content: expected array.*"type":"text"/,
    ],
    [
      'an image',
      () => [`/v1/sessions/${sessionId}/events`, { events: [{ type: 'user.message', content: [{ type: 'image' }] }] }],
      /^events\.0\.content\.0\.source/,
    ],
    [
      'a later event kind',
      () => [`/v1/sessions/${sessionId}/events`, { events: [{ type: 'user.define_outcome' }] }],
      /^events\.0.*not supported yet/,
    ],
    [
      'a message outside of events',
      () => [`/v1/sessions/${sessionId}/events`, { message: 'hi' }],
      /events: required.*message: unknown field; .*user\.message/,
    ],
    [
      'a thousand and one events',
      () => [`/v1/sessions/${sessionId}/events`, { events: Array.from({ length: 1001 }, () => ({ type: 'user.interrupt' })) }],
      /^events: /,
    ],
  ];
  test.each(cases)('with %s is refused with field and remedy and stores nothing', async (_name, request, message) => {
    const [path, body] = request();
    const before = await contents(gateway);
    const answer = await refusal(gateway.post(path, body));
    expect(answer).toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(answer.message).toMatch(message);
    expect(await contents(gateway)).toEqual(before);
  });

  test('of a key needs a name', async () => {
    const response = await gateway.post('/v1/manyhands/api_keys', { scopes: [] }, { authorization: `Bearer ${gateway.operatorKey}` });
    expect((await refusal(response)).message).toMatch(/name: required/);
  });
});

describe('a query', () => {
  test.each([
    ['/v1/agents?limit=0', /^limit: /],
    ['/v1/agents?limit=101', /^limit: .*100/],
    ['/v1/agents?limit=ten', /^limit: /],
    ['/v1/agents?limit=1&limit=2', /^limit: given more than once/],
    ['/v1/agents?page=garbage', /^page: /],
    ['/v1/agents?colour=red', /^colour: unknown query parameter; .*include_archived/],
    ['/v1/agents?include_archived=yes', /^include_archived: /],
    ['/v1/agents?created_at[gte]=yesterday', /^created_at\[gte\]: /],
    ['/v1/agents?created_at[gt]=2026-01-01T00:00:00Z', /^created_at\[gt\].*: unknown/],
    ['/v1/sessions?statuses[]=done', /^statuses\[\]: "done" is not one of idle/],
    ['/v1/sessions?order=up', /^order: /],
    ['/v1/sessions?agent_version=1', /^agent_version: needs agent_id/],
    ['/v1/sessions?deployment_id=depl_x', /^deployment_id: .*not supported yet/],
    ['/v1/sessions/SESSION/events?limit=1001', /^limit: .*1000/],
    ['/v1/sessions/SESSION/events?types[]=session.deleted', /^types\[\]: /],
    ['/v1/sessions/SESSION/events?page=garbage', /^page: /],
    ['/v1/sessions/SESSION/events/stream?event_deltas[]=agent.tool_use', /^event_deltas\[\]: /],
    [
      `/v1/sessions/SESSION/events/stream?${Array.from({ length: 101 }, () => 'event_deltas[]=agent.message').join('&')}`,
      /^event_deltas\[\]: at most 100/,
    ],
    ['/v1/sessions/SESSION/events/stream?after=sevt_0000000nothing', /^after: /],
    ['/v1/sessions/SESSION/events/stream?after=nonsense', /^after: /],
    ['/v1/sessions/SESSION/threads?page=x', /^page: /],
    ['/v1/agents/AGENT?version=0', /^version: /],
  ])('%s is refused, naming the parameter', async (path, message) => {
    const answer = await refusal(gateway.fetch(path.replace('SESSION', sessionId).replace('AGENT', agentId)));
    expect(answer).toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(answer.message).toMatch(message);
  });

  test('takes arrays in both spellings, encoded or not, and empty values as absent', async () => {
    for (const query of [
      'statuses[]=idle&statuses[]=running',
      'statuses%5B%5D=idle&statuses%5B%5D=running',
      'statuses=idle&statuses=running',
      'page=&limit=&order=&statuses[]=&created_at[gte]=',
      'created_at%5Bgte%5D=2020-01-01T00%3A00%3A00%2B01%3A00',
    ]) {
      const response = await gateway.fetch(`/v1/sessions?${query}`);
      expect([query, response.status, ((await response.json()) as { data: unknown[] }).data.length]).toEqual([query, 200, 1]);
    }
  });
});

describe('what is no HTTP', () => {
  const raw = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1', () => socket.write(text));
      let answer = '';
      socket.setEncoding('utf8').on('data', (part: string) => {
        answer += part;
      });
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
    });

  test('gets the envelope too, and the connection ends', async () => {
    for (const [text, status] of [
      ['NONSENSE\r\n\r\n', 400],
      ['GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n', 400],
      [`GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`, 431],
    ] as const) {
      const answer = await raw(text);
      expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(answer).toMatch(/\r\nrequest-id: req_/);
      expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))).toMatchObject({
        type: 'error',
        error: { type: 'invalid_request_error' },
      });
    }
  });

  test('a client that leaves in the middle of a body harms nobody', async () => {
    const before = await contents(gateway);
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    socket.on('error', () => {});
    const head = `POST /v1/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.key}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"na`;
    await new Promise<void>((resolve) => socket.write(head, () => resolve()));
    await new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.resetAndDestroy();
    });
    expect((await gateway.fetch('/v1/agents')).status).toBe(200);
    expect(await contents(gateway)).toEqual(before);
  });
});
