/** What checks every answer has to notice what is wrong with one, and to understand the whole SDK. */
import { beforeAll, describe, expect, test } from 'vitest';
import { takeSeen, watch } from '../observe.ts';
import { check } from './check.ts';
import { createDeclared, type Declared } from './declared.ts';
import { loadDeclarations } from './load.ts';
import { OWNED_EXTRAS } from './owned.ts';
import { type Declarations, kindsOf, type Shape } from './shape.ts';

const AT = '2026-11-20T10:00:00Z';
const MESSAGE = { type: 'agent.message', id: 'sevt_1', processed_at: AT, content: [{ type: 'text', text: 'hi' }] };
const ENVIRONMENT = {
  ...{ type: 'environment', id: 'env_1', name: 'e', description: null, metadata: { a: 'b' }, scope: 'organization' },
  ...{ created_at: AT, updated_at: AT, archived_at: null },
  config: {
    type: 'cloud',
    networking: { type: 'limited', allowed_hosts: ['example.com'], allow_mcp_servers: false, allow_package_managers: false },
    packages: { type: 'packages', apt: [], cargo: [], gem: [], go: [], npm: [], pip: ['x'] },
  },
};
const REFUSAL = { type: 'error', error: { type: 'not_found_error', message: 'm' }, request_id: 'req_1' };

let declarations: Declarations;
let declared: Declared;
beforeAll(async () => {
  declarations = await loadDeclarations('current');
  declared = createDeclared(declarations, 'current');
}, 60_000);

const bodyOf = (method: string, path: string, body: unknown) => declared.checkBody(declared.target(method, path)!, body);
const environment = (body: unknown) => bodyOf('GET', '/v1/environments/env_1', body);
const event = (told: unknown) => declared.checkEvent(declared.target('GET', '/v1/sessions/sesn_1/events/stream')!, told);

describe('the declarations of an SDK', () => {
  test('are read whole: every method has an answer, every event a kind', async () => {
    expect(declarations.version).toBe('1.12.0');
    expect(declarations.routes.find(({ call }) => call === 'beta.agents.versions.list')).toMatchObject({
      method: 'GET',
      path: '/v1/agents/{}/versions',
      answer: { kind: 'json' },
    });
    const { answer } = declarations.routes.find(({ call }) => call === 'beta.sessions.events.stream')!;
    expect(answer.kind === 'stream' && kindsOf(answer.shape, declarations.shapes)).toHaveLength(44);
    const old = await loadDeclarations('legacy');
    expect(old.version).toMatch(/^0\.9\d\./);
    expect(old.routes.find(({ call }) => call === 'beta.sessions.create')).toMatchObject({ method: 'POST', path: '/v1/sessions' });
  });

  test('hold no type that was not understood', () => {
    const unknown = (shape: Shape, place: string): string[] => {
      if (shape.kind === 'unknown') return [place];
      if (shape.kind === 'union') return shape.of.flatMap((member) => unknown(member, place));
      if (shape.kind === 'array') return unknown(shape.of, `${place}[]`);
      if (shape.kind !== 'object') return [];
      const rest = shape.rest ? unknown(shape.rest, `${place}.*`) : [];
      return [...Object.entries(shape.fields).flatMap(([name, field]) => unknown(field.shape, `${place}.${name}`)), ...rest];
    };
    // What is open on purpose: inputs of tools.
    expect(Object.entries(declarations.shapes).flatMap(([name, shape]) => unknown(shape, name))).toEqual([
      'BetaManagedAgentsCustomToolInputSchema.properties.*',
      'BetaManagedAgentsCustomToolInputSchema.*',
      'BetaManagedAgentsAgentCustomToolUseEvent.input.*',
      'BetaManagedAgentsAgentMCPToolUseEvent.input.*',
      'BetaManagedAgentsAgentToolUseEvent.input.*',
    ]);
  });

  test('find the endpoint of a request, a fixed name before a parameter', () => {
    const key = (method: string, path: string) => declared.target(method, path)?.key ?? null;
    expect(key('GET', '/v1/environments/env_1/work/poll')).toBe('GET /v1/environments/{}/work/poll');
    expect(key('GET', '/v1/environments/env_1/work/work_1')).toBe('GET /v1/environments/{}/work/{}');
    expect([key('PUT', '/v1/agents'), key('GET', '/v1/agents/'), key('GET', '/v1/nothing')]).toEqual([null, null, null]);
    expect(declared.target('GET', '/v1/files')?.routes.map(({ call }) => call)).toEqual(['files.list', 'beta.files.list']);
  });
});

describe('an answer', () => {
  test('that is what the SDK declares has no problem', () => {
    expect(environment(ENVIRONMENT)).toEqual([]);
    expect(bodyOf('GET', '/v1/environments', { data: [ENVIRONMENT, ENVIRONMENT], next_page: null })).toEqual([]);
    expect(event(MESSAGE)).toEqual([]);
    expect(declared.checkRefusal(REFUSAL)).toEqual([]);
  });

  test.each([
    ['lacks a field', { ...ENVIRONMENT, metadata: undefined }, 'metadata (missing)'],
    ['lacks a nullable field', { ...ENVIRONMENT, description: undefined }, 'description (missing)'],
    ['has a field more', { ...ENVIRONMENT, colour: 'red' }, 'colour (unknown field)'],
    ['has null where there has to be something', { ...ENVIRONMENT, name: null }, 'name (wrong)'],
    ['has a number for a string', { ...ENVIRONMENT, id: 1 }, 'id (wrong)'],
    ['has another name for itself', { ...ENVIRONMENT, type: 'env' }, 'type (wrong)'],
    ['has a time that is none', { ...ENVIRONMENT, created_at: 'yesterday' }, 'created_at (wrong)'],
    ['has a word that is not in the list', { ...ENVIRONMENT, scope: 'planet' }, 'scope (wrong)'],
    ['has a wrong value in a map', { ...ENVIRONMENT, metadata: { a: 1 } }, 'metadata.* (wrong)'],
    ['has a member that the union does not know', { ...ENVIRONMENT, config: { type: 'moon' } }, 'config (unknown member)'],
    ['has a member without a name', { ...ENVIRONMENT, config: {} }, 'config (wrong)'],
    [
      'is wrong deep inside',
      { ...ENVIRONMENT, config: { ...ENVIRONMENT.config, networking: { type: 'limited', allowed_hosts: [7] } } },
      'config.networking.allowed_hosts[] (wrong)',
    ],
    ['is a list', [ENVIRONMENT], 'the answer (wrong)'],
    ['is null', null, 'the answer (wrong)'],
  ])('that %s is told by its place', (_what, body, problem) => {
    const sent: unknown = JSON.parse(JSON.stringify(body));
    expect(environment(sent).join('\n')).toContain(`beta.environments.retrieve (1.12.0): ${problem}`);
  });

  test('of a page needs its cursor, and each item is looked at', () => {
    const page = (body: unknown) => bodyOf('GET', '/v1/environments', body).join('\n');
    expect(page({ data: [] })).toContain('next_page (missing)');
    expect(page({ data: [ENVIRONMENT, {}], next_page: null })).toContain('data[].id (missing)');
    expect(page({ data: null, next_page: null })).toContain('data (wrong)');
  });

  test('that refuses has the envelope of the SDK', () => {
    const problems = (body: unknown) => declared.checkRefusal(body).join('\n');
    expect(problems({ ...REFUSAL, error: { type: 'teapot_error', message: 'm' } })).toContain('error (unknown member)');
    expect(problems({ ...REFUSAL, error: { type: 'not_found_error' } })).toContain('error.message (missing)');
    expect(problems({ message: 'no' })).toContain('error (missing)');
  });
});

describe('an event', () => {
  test('of an unknown kind, or with a field too many or too few, is a problem', () => {
    expect(event({ ...MESSAGE, type: 'agent.sang' }).join()).toContain('the answer (unknown member)');
    expect(event({ ...MESSAGE, extra: 1 }).join()).toContain('extra (unknown field)');
    expect(event({ ...MESSAGE, processed_at: null }).join()).toContain('processed_at (wrong)');
    expect(event({ ...MESSAGE, content: [{ type: 'text' }] }).join()).toContain('content[].text (missing)');
    expect(event({ ...MESSAGE, content: [{ type: 'image' }] }).join()).toContain('content[] (unknown member)');
  });

  test('that an older client does not know is passed over by it, but what it knows has to be right', () => {
    const { answer } = declarations.routes.find(({ call }) => call === 'beta.sessions.events.stream')!;
    const problems = (told: unknown) =>
      answer.kind === 'stream' ? check(told, answer.shape, declarations.shapes, { older: true }) : expect.fail();
    expect(problems({ ...MESSAGE, type: 'agent.sang' })).toEqual([]);
    expect(problems({ ...MESSAGE, extra: 1 })).toEqual([]);
    expect(problems({ ...MESSAGE, id: undefined })).toMatchObject([{ place: 'id' }]);
  });
});

describe('what is watched', () => {
  const stream = (...frames: string[]) => new Response(frames.join(''), { headers: { 'content-type': 'text/event-stream' } });
  const json = (body: unknown, status = 200) => Response.json(body, { status });
  /** What is seen of an answer when it is read to its end. */
  async function seen(path: string, answer: Response, agent = 'node') {
    takeSeen();
    const response = await watch(async () => answer)(`http://x${path}`, { headers: { 'user-agent': agent } });
    const text = await response.text();
    return { ...takeSeen(), text, status: response.status };
  }
  const frame = (told: { type: string }, name = told.type) => `event: ${name}\ndata: ${JSON.stringify(told)}\n\n`;
  const STREAM = '/v1/sessions/sesn_1/events/stream';

  test('comes through as it is, and is noted', async () => {
    const body = { data: [MESSAGE], next_page: null };
    const list = await seen('/v1/sessions/sesn_1/events?limit=1', json(body), 'Anthropic/JS 1.12.0');
    expect(list).toMatchObject({ status: 200, problems: [], text: JSON.stringify(body) });
    expect(list.seen).toEqual({ answers: ['EV-1 current 200'], kinds: ['agent.message'], owned: [] });
    const told = await seen(STREAM, stream('event: ping\ndata: {}\n\n', frame(MESSAGE)), 'Anthropic/JS 0.99.0');
    expect(told).toMatchObject({ problems: [], text: `event: ping\ndata: {}\n\n${frame(MESSAGE)}` });
    expect(told.seen).toEqual({ answers: ['EV-3 legacy 200'], kinds: ['agent.message'], owned: [] });
    const refused = await seen('/v1/agents', json({ ...REFUSAL, error: { ...REFUSAL.error, details: { error_code: 'x' } } }, 404));
    expect(refused).toMatchObject({ status: 404, problems: [], seen: { answers: ['AG-4 raw 404'], owned: ['codes of errors'] } });
  });

  test.each([
    ['a wrong body', '/v1/environments/env_1', json({ ...ENVIRONMENT, name: 1 }), 'name (wrong)'],
    ['a body that is no JSON', '/v1/agents', new Response('<html>', { headers: { 'content-type': 'application/json' } }), 'no JSON'],
    ['another content type', '/v1/agents', new Response('{}', { headers: { 'content-type': 'text/html' } }), 'content type'],
    ['a refusal in no envelope', '/v1/agents', json({ message: 'no' }, 500), 'error (missing)'],
    ['an endpoint that the SDK does not have', '/v1/secrets', json({}), 'no such endpoint'],
    ['a list of events that is none', '/v1/sessions/s/events', json({ data: 1, next_page: null }), 'data (wrong)'],
    ['a wrong event', STREAM, stream(frame({ ...MESSAGE, id: 7 } as never)), 'id (wrong)'],
    ['a frame under another name', STREAM, stream(frame(MESSAGE, 'message')), 'a frame named message'],
    ['an event of a list', '/v1/sessions/s/events', json({ data: [{ type: 'x' }], next_page: null }), 'data[] (unknown member)'],
  ])('is a problem with %s', async (_what, path, answer, problem) => {
    expect((await seen(path, answer)).problems.join('\n')).toContain(problem);
  });

  test('is none of our business elsewhere', async () => {
    expect(await seen('/healthz', new Response('fine'))).toMatchObject({ problems: [], seen: { answers: [] } });
    expect(await seen('/v1/manyhands/api_keys', json({ any: 'thing' }))).toMatchObject({ problems: [] });
  });
});

test('what is owned says why', () => {
  for (const [name, { why }] of Object.entries(OWNED_EXTRAS)) expect(why.length, name).toBeGreaterThan(20);
});
