/**
 * Bodies at random. What is valid comes back as it was meant: an oracle here says what an answer has to be, independently of the server's
 * code. What is wrong in one place is refused by the name of that place, and Redis holds byte for byte what it held before.
 */
import { createRedis } from '@manyhands/base';
import { silentLogger } from '@manyhands/test-kit';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { all, expectRefusal, type Foreign, raw } from '../client.ts';
import { ALLOW, toldTools, TOOLS_BODY as tools } from '../tool-bodies.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'gateway' });
const RUNS = 40;
/** Per place. */
const WRONG_RUNS = 8;
const LIMIT_MS = 120_000;
type Json = Record<string, Foreign>;

// ---- what is sent

const text = (minLength: number, maxLength: number) => fc.string({ unit: 'binary', minLength, maxLength: Math.floor(maxLength / 2) });
const key = fc
  .oneof(fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 64 }), fc.constantFrom('constructor', 'toString', '0', 'k'))
  .filter((name) => name !== '__proto__');
const bag = fc.dictionary(key, text(0, 512), { maxKeys: 16 });
/** Up to 16 stored keys stay within the limit whatever the patch does, since it uses the same few names. */
const SMALL_KEYS = ['a', 'b', 'constructor', 'é', '7'];
const smallBag = fc.dictionary(fc.constantFrom(...SMALL_KEYS), text(0, 60));
const patch = fc.dictionary(fc.constantFrom(...SMALL_KEYS), fc.option(text(0, 60)));
const effort = fc.constantFrom('low', 'medium', 'high', 'xhigh', 'max');
const modelId = fc.constantFrom('m', 'model-b', 'any/model:id@1');
const model = fc.oneof(
  modelId,
  fc.record(
    {
      id: modelId,
      effort: fc.oneof(
        effort,
        effort.map((type) => ({ type })),
        fc.constant(null),
      ),
      speed: fc.constantFrom('standard', 'fast', null),
    },
    { requiredKeys: ['id'] },
  ),
);
const agentFields = {
  name: text(1, 256),
  model,
  description: fc.option(text(0, 500)),
  system: fc.option(text(0, 2000)),
  metadata: smallBag,
  tools,
};
const agentCreate = fc.record({ ...agentFields, metadata: bag }, { requiredKeys: ['name', 'model'] });
const agentUpdate = fc.record({ ...agentFields, metadata: fc.option(patch), tools: fc.option(tools) }, { requiredKeys: [] });
const host = fc.constantFrom('example.com', '*.example.org', 'a-b.c', 'x1', 'localhost');
const flag = fc.constantFrom(true, false, null);
const networking = fc.option(
  fc.oneof(
    fc.constant({ type: 'unrestricted' }),
    fc.record(
      {
        type: fc.constant('limited'),
        allowed_hosts: fc.option(fc.array(host, { maxLength: 4 })),
        allow_mcp_servers: flag,
        allow_package_managers: flag,
      },
      { requiredKeys: ['type'] },
    ),
  ),
);
const packages = fc.option(
  fc.record({ type: fc.constant('packages'), pip: fc.constantFrom([], null), apt: fc.constant([]) }, { requiredKeys: [] }),
);
const cloud = fc.option(fc.record({ type: fc.constant('cloud'), networking, packages }, { requiredKeys: ['type'] }));
const environmentCreate = fc.record(
  {
    name: text(1, 256),
    description: fc.option(text(0, 500)),
    metadata: smallBag,
    config: cloud,
    scope: fc.constantFrom('organization', null),
  },
  { requiredKeys: ['name'] },
);
const environmentUpdate = fc.record(
  {
    name: fc.option(text(1, 256)),
    description: fc.option(text(0, 500)),
    metadata: fc.option(patch),
    config: cloud,
    scope: fc.constant(null),
  },
  { requiredKeys: [] },
);
const message = fc.record({
  type: fc.constant('user.message'),
  content: fc.array(fc.record({ type: fc.constant('text'), text: text(0, 200) }), { minLength: 1, maxLength: 3 }),
});
const override = fc.record({ model, system: fc.option(text(0, 500)), tools: fc.option(tools) }, { requiredKeys: [] });
const sessionCreate = fc.record(
  { title: fc.option(text(0, 1024)), metadata: bag, initial_events: fc.array(message, { maxLength: 4 }) },
  { requiredKeys: [] },
);
const sessionUpdate = fc.record(
  { title: fc.option(text(0, 200)), metadata: fc.option(patch), agent: fc.record({ tools }, { requiredKeys: [] }) },
  { requiredKeys: [] },
);

// ---- what has to come back

const given = <T>(wanted: T | undefined, otherwise: T): T => (wanted === undefined ? otherwise : wanted);
const orNull = (wanted: string | null | undefined) => wanted || null;

function toldModel(wanted: Foreign, stored: Foreign = null): Json {
  const { id, effort: level, speed } = typeof wanted === 'string' ? ({ id: wanted } as Json) : wanted;
  const kept = level === undefined && stored?.id === id ? stored.effort : { type: 'high' };
  return { id, effort: level ? { type: level.type ?? level } : kept, ...(speed ? { speed } : {}) };
}
/** `clears`: values that delete a key. */
function merged(stored: Json, change: Json | null | undefined, clears: readonly unknown[] = [null]): Json {
  const kept = Object.entries(stored).filter(([name]) => !Object.hasOwn(change ?? {}, name));
  return Object.fromEntries([...kept, ...Object.entries(change ?? {}).filter(([, value]) => !clears.includes(value))]);
}
function toldNetworking(wanted: Json | null | undefined, stored: Json): Json {
  if (!wanted) return stored;
  if (wanted['type'] === 'unrestricted') return { type: 'unrestricted' };
  const was = stored['type'] === 'limited' ? stored : { allowed_hosts: [], allow_mcp_servers: false, allow_package_managers: false };
  const flags = ['allowed_hosts', 'allow_mcp_servers', 'allow_package_managers'];
  return { type: 'limited', ...Object.fromEntries(flags.map((name) => [name, wanted[name] ?? (was as Json)[name]])) };
}
const toldConfig = (wanted: Json | null | undefined, stored: Json) => ({
  type: 'cloud',
  networking: toldNetworking(wanted?.['networking'], stored),
  packages: { type: 'packages', apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] },
});

async function post(path: string, body: unknown): Promise<Foreign> {
  const { status, body: told, text: said } = await raw(stack(), 'POST', path, { body });
  expect(status, said).toBe(200);
  return told;
}
const get = async (path: string): Promise<Foreign> => (await raw(stack(), 'GET', path)).body;
const assertAll = <T>(arbitrary: fc.Arbitrary<T>, check: (value: T) => Promise<void>, numRuns = RUNS) =>
  fc.assert(fc.asyncProperty(arbitrary, check), { numRuns });

describe('a valid body', () => {
  verifies(
    'bodies.agents',
    () =>
      assertAll(fc.tuple(agentCreate, fc.array(agentUpdate, { maxLength: 4 })), async ([body, changes]: Foreign) => {
        let told = await post('/v1/agents', body);
        expect(told).toEqual({
          type: 'agent',
          id: told.id,
          version: 1,
          name: body.name,
          description: orNull(body.description),
          system: orNull(body.system),
          model: toldModel(body.model),
          tools: toldTools(body.tools),
          mcp_servers: [],
          skills: [],
          multiagent: null,
          execution_identity: { type: 'service_account' },
          metadata: body.metadata ?? {},
          created_at: told.created_at,
          updated_at: told.created_at,
          archived_at: null,
        });
        for (const change of changes) {
          // A bag of strangers may be full already; the patch then goes over the limit.
          if (change.metadata && Object.keys(merged(told.metadata, change.metadata)).length > 16) continue;
          const next = await post(`/v1/agents/${told.id}`, change);
          const wanted = {
            ...told,
            name: change.name ?? told.name,
            description: 'description' in change ? orNull(change.description) : told.description,
            system: 'system' in change ? orNull(change.system) : told.system,
            model: 'model' in change ? toldModel(change.model, told.model) : told.model,
            tools: 'tools' in change ? toldTools(change.tools) : told.tools,
            metadata: merged(told.metadata, change.metadata),
          };
          expect(next).toEqual({ ...wanted, version: next.version, updated_at: next.updated_at });
          // A version more exactly if something is different; the order of configs may be.
          const { version: _v, updated_at: _u, ...before } = told;
          const { version: _w, updated_at: _x, ...after } = next;
          expect(next.version).toBe(told.version + (JSON.stringify(sorted(before)) === JSON.stringify(sorted(after)) ? 0 : 1));
          told = next;
        }
        expect(await get(`/v1/agents/${told.id}`)).toEqual(told);
        expect((await get(`/v1/agents/${told.id}/versions?limit=1`)).data).toEqual([told]);
      }),
    LIMIT_MS,
  );

  verifies(
    'bodies.environments',
    () =>
      assertAll(fc.tuple(environmentCreate, fc.array(environmentUpdate, { maxLength: 4 })), async ([body, changes]: Foreign) => {
        let told = await post('/v1/environments', body);
        expect(told).toEqual({
          type: 'environment',
          id: told.id,
          name: body.name,
          description: body.description ?? null,
          config: toldConfig(body.config, { type: 'unrestricted' }),
          metadata: body.metadata ?? {},
          scope: 'organization',
          created_at: told.created_at,
          updated_at: told.created_at,
          archived_at: null,
        });
        for (const change of changes) {
          const next = await post(`/v1/environments/${told.id}`, change);
          expect(next).toEqual({
            ...told,
            name: change.name ?? told.name,
            description: given(change.description, told.description),
            config: toldConfig(change.config, told.config.networking),
            metadata: change.metadata ? merged(told.metadata, change.metadata, [null, '']) : told.metadata,
            updated_at: next.updated_at,
          });
          told = next;
        }
        expect(await get(`/v1/environments/${told.id}`)).toEqual(told);
        expect((await raw(stack(), 'DELETE', `/v1/environments/${told.id}`)).body).toEqual({ id: told.id, type: 'environment_deleted' });
      }),
    LIMIT_MS,
  );

  verifies(
    'bodies.sessions',
    () =>
      assertAll(
        fc.tuple(agentCreate, sessionCreate, fc.option(override), fc.boolean(), fc.array(sessionUpdate, { maxLength: 3 })),
        async ([agentBody, body, overridden, pinned, changes]: Foreign) => {
          const agent = await post('/v1/agents', agentBody);
          const environment = await post('/v1/environments', { name: 'e' });
          const { metadata: _m, created_at: _c, updated_at: _u, archived_at: _a, ...snapshot } = agent;
          const pin = pinned ? { version: 1 } : {};
          const reference = overridden
            ? { type: 'agent_with_overrides', id: agent.id, ...pin, ...overridden }
            : pinned
              ? { type: 'agent', id: agent.id, ...pin }
              : agent.id;
          let told = await post('/v1/sessions', { agent: reference, environment_id: environment.id, ...body });
          const messages = body.initial_events ?? [];
          expect(told).toEqual({
            ...told,
            status: messages.length > 0 ? 'running' : 'idle',
            title: body.title ?? null,
            metadata: body.metadata ?? {},
            environment_id: environment.id,
            agent: {
              ...snapshot,
              ...(overridden?.model === undefined ? {} : { model: toldModel(overridden.model) }),
              ...(overridden?.system === undefined ? {} : { system: orNull(overridden.system) }),
              ...(overridden?.tools === undefined ? {} : { tools: toldTools(overridden.tools) }),
            },
          });
          const events = (await get(`/v1/sessions/${told.id}/events`)).data;
          expect(events).toEqual(messages.map((one: Json) => ({ ...one, id: expect.any(String), processed_at: null })));
          for (const change of changes) {
            if (change.metadata && Object.keys(merged(told.metadata, change.metadata)).length > 16) continue;
            if (change.agent?.tools && told.status !== 'idle') continue;
            const next = await post(`/v1/sessions/${told.id}`, change);
            expect(next).toEqual({
              ...told,
              title: given(change.title, told.title),
              metadata: merged(told.metadata, change.metadata),
              agent: { ...told.agent, tools: change.agent?.tools === undefined ? told.agent.tools : toldTools(change.agent.tools) },
              updated_at: next.updated_at,
              stats: next.stats,
              usage: next.usage,
            });
            told = next;
          }
          const read = await get(`/v1/sessions/${told.id}`);
          expect(read).toEqual({ ...told, stats: read.stats, usage: read.usage });
        },
      ),
    LIMIT_MS,
  );
});

function sorted(value: Foreign): Foreign {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((name) => [name, sorted(value[name])]),
  );
}

// ---- what is wrong

const anything = fc.constantFrom<unknown>(null, 0, true, '', 'x', [], {}, [{ a: [1] }], { b: { c: null } });
const notText = fc.oneof(fc.integer(), fc.boolean(), fc.constant([]), fc.constant({}));
const notObject = fc.oneof(fc.integer(), fc.boolean(), fc.constant('x'), fc.constant([]));
const notList = fc.oneof(fc.integer(), fc.boolean(), fc.constant('x'), fc.constant({}));
const notFlag = fc.oneof(fc.integer(), fc.constant('yes'), fc.constant([]), fc.constant({}));
const long = (length: number) => fc.constant('x'.repeat(length + 1));
const blank = fc.constant('');
const missing = fc.constant(null);
const LATER = fc.constantFrom(5, 'x', { type: 'x' }, [5]);
const tooManyKeys = fc.constant(Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])));
type Wrong = Record<string, fc.Arbitrary<unknown>>;

const wrongMetadata: Wrong = {
  metadata: fc.oneof(notObject, tooManyKeys),
  'metadata.k': fc.oneof(fc.integer(), fc.boolean(), fc.constant([]), long(512)),
};
/** Beside an allow list that is there already, a block list is wrong in itself. */
const wrongDomains = fc.oneof(
  notList,
  fc.constantFrom(
    ...[[], ['localhost'], ['10.0.0.1'], ['com'], ['a.internal'], ['https://example.com'], ['example.com:443'], ['*.example.com'], [5]],
    ['example.com', 'EXAMPLE.com'],
    Array.from({ length: 65 }, (_, i) => `h${i}.example.com`),
  ),
);
const BASH = [{ type: 'tool_reference', name: 'bash' }];
const wrongTools = (at: string): Wrong => ({
  [at]: notList,
  [`${at}.0`]: fc.oneof(
    fc.integer(),
    missing,
    fc.constant('bash'),
    fc.constant({ type: 'bash' }),
    fc.constant({ type: 'mcp_toolset', mcp_server_name: 'x' }),
  ),
  [`${at}.0.type`]: fc.oneof(notText, blank, fc.constant('toolset')),
  [`${at}.0.default_config`]: notObject,
  [`${at}.0.default_config.enabled`]: notFlag,
  [`${at}.0.default_config.permission_policy`]: fc.oneof(notObject, fc.constantFrom({ type: 'never' }, {})),
  [`${at}.0.configs`]: notList,
  [`${at}.0.configs.0`]: fc.oneof(fc.integer(), missing, fc.constant('bash')),
  [`${at}.0.configs.0.name`]: fc.oneof(notText, blank, fc.constant('rm')),
  [`${at}.0.configs.0.type`]: fc.oneof(notText, fc.constant('read')),
  [`${at}.0.configs.0.enabled`]: notFlag,
  [`${at}.0.configs.0.permission_policy`]: fc.oneof(notObject, fc.constantFrom({ type: 'ask' }, {})),
  [`${at}.0.configs.0.zz_unknown`]: anything,
  [`${at}.0.configs.0.allowed_domains`]: fc.constant(['example.com']),
  [`${at}.0.configs.1.allowed_domains`]: fc.oneof(wrongDomains, fc.constant(['example.com/path'])),
  [`${at}.0.configs.1.blocked_domains`]: wrongDomains,
  [`${at}.0.configs.1.max_content_tokens`]: fc.constantFrom(0, -1, 1.5, '5', []),
  [`${at}.0.configs.1.user_location`]: anything,
  [`${at}.0.configs.1.url_sources`]: fc.oneof(notObject, fc.constantFrom({ user_input: 'some' }, { others: 'all' })),
  [`${at}.0.configs.1.url_sources.server_tool_results`]: fc.constantFrom(
    'some',
    { type: 'only', tools: [] },
    { type: 'only', tools: BASH },
  ),
  [`${at}.0.configs.1.url_sources.client_tool_results`]: fc.constantFrom(5, { type: 'except', tools: BASH }, { type: 'all', tools: BASH }),
  [`${at}.0.configs.2.allowed_domains`]: fc.oneof(wrongDomains, fc.constant(['example.com/a b'])),
  [`${at}.0.configs.2.user_location`]: fc.oneof(notObject, fc.constantFrom({}, { type: 'exact' }, { type: 'approximate', country: 'de' })),
  [`${at}.0.configs.2.url_sources`]: anything,
  [`${at}.0.zz_unknown`]: anything,
});
const wrongModel = (at: string): Wrong => ({
  [at]: fc.oneof(fc.integer(), fc.boolean(), blank, long(256), fc.constant([])),
  [`${at}.id`]: fc.oneof(notText, missing, blank, long(256)),
  [`${at}.effort`]: fc.oneof(fc.integer(), fc.boolean(), fc.constant('most'), fc.constant({ type: 'most' })),
  [`${at}.speed`]: fc.oneof(notText, fc.constant('slow')),
  [`${at}.inference_geo`]: fc.oneof(notText, fc.constant('eu')),
  [`${at}.zz_unknown`]: anything,
});
const wrongAgent: Wrong = {
  name: fc.oneof(notText, missing, blank, long(256)),
  description: fc.oneof(notText, long(2048)),
  system: fc.oneof(notText, long(100_000)),
  mcp_servers: LATER,
  skills: LATER,
  multiagent: fc.constantFrom({ type: 'multiagent_20261001' }, 'x', []),
  execution_identity: fc.oneof(notObject, fc.constant({ type: 'aws_role', role_arn: 'arn:x' })),
  zz_unknown: anything,
  ...wrongModel('model'),
  ...wrongTools('tools'),
  ...wrongMetadata,
};
const wrongEnvironment: Wrong = {
  name: fc.oneof(notText, blank, long(256)),
  description: fc.oneof(notText, long(2048)),
  scope: fc.oneof(notText, fc.constant('account')),
  config: fc.oneof(notObject, fc.constant({ networking: null })),
  'config.networking': fc.oneof(notObject, fc.constant({ type: 'open' })),
  'config.networking.allowed_hosts': notList,
  'config.networking.allowed_hosts.0': fc.oneof(notText, blank, fc.constantFrom('https://x.y', 'x.y:1', 'x.y/z', '*', 'a b')),
  'config.networking.allow_mcp_servers': notFlag,
  'config.networking.allow_package_managers': notFlag,
  'config.networking.zz_unknown': anything,
  'config.packages': notObject,
  'config.packages.pip': fc.oneof(notList, fc.constant(['requests'])),
  'config.packages.conda': anything,
  'config.zz_unknown': anything,
  zz_unknown: anything,
  ...wrongMetadata,
};
const wrongMessages = (at: string): Wrong => ({
  [at]: notList,
  [`${at}.0`]: fc.oneof(fc.integer(), missing, fc.constant('hi'), fc.constant({ type: 'user' })),
  [`${at}.0.type`]: fc.oneof(notText, blank, fc.constantFrom('user.define_outcome', 'agent.message', 'session.status_idle')),
  [`${at}.0.content`]: fc.oneof(fc.integer(), missing, fc.constant('hi'), fc.constant([])),
  [`${at}.0.content.0`]: fc.oneof(fc.integer(), fc.constant('hi'), fc.constant({ type: 'image', source: {} })),
  [`${at}.0.content.0.text`]: fc.oneof(notText, missing),
  [`${at}.0.content.0.zz_unknown`]: anything,
  [`${at}.0.zz_unknown`]: anything,
});
const budgetOf = (amount: unknown, currency = 'USD') => ({ type: 'limit', max_list_cost: { amount, currency } });
const WRONG_BUDGET = fc.constantFrom(5, { type: 'limit' }, budgetOf('0'), budgetOf('1.5'), budgetOf(3), budgetOf('3', 'EUR'));
const wrongSession: Wrong = {
  agent: fc.oneof(fc.integer(), missing, fc.constant([]), fc.constant({ type: 'agents', id: 'x' })),
  'agent.id': fc.oneof(notText, missing),
  'agent.version': fc.oneof(fc.constantFrom(0, -1, 1.5, '1'), missing),
  'agent.system': fc.oneof(notText, long(100_000)),
  'agent.skills': LATER,
  'agent.mcp_servers': LATER,
  'agent.name': anything,
  environment_id: fc.oneof(notText, missing),
  title: fc.oneof(notText, long(1024)),
  resources: fc.oneof(fc.integer(), fc.constantFrom([{}], [{ type: 'file' }], [{ type: 'file', file_id: 5 }], [{ type: 'memory_store' }])),
  vault_ids: LATER,
  budget: WRONG_BUDGET,
  zz_unknown: anything,
  ...wrongModel('agent.model'),
  ...wrongTools('agent.tools'),
  ...wrongMessages('initial_events'),
  ...wrongMetadata,
};
const wrongSessionUpdate: Wrong = {
  title: fc.oneof(notText, long(1024)),
  agent: notObject,
  'agent.mcp_servers': LATER,
  'agent.model': anything,
  budget: WRONG_BUDGET,
  vault_ids: fc.constantFrom([], ['vlt_1'], null),
  zz_unknown: anything,
  ...wrongTools('agent.tools'),
  metadata: notObject,
  'metadata.k': fc.oneof(fc.integer(), fc.boolean(), long(512)),
};

const without = (wrong: Wrong, ...places: string[]): Wrong =>
  Object.fromEntries(Object.entries(wrong).filter(([at]) => !places.includes(at)));
/** The body with one place changed. */
function put(body: Foreign, path: string, value: unknown): Foreign {
  const [head = '', ...rest] = path.split('.');
  const copy = Array.isArray(body) ? [...body] : { ...body };
  copy[head] = rest.length === 0 ? value : put(copy[head], rest.join('.'), value);
  return copy;
}

describe('a body that is wrong in one place', () => {
  verifies(
    'bodies.refused',
    async () => {
      const agent = await post('/v1/agents', { name: 'a', model: 'm', metadata: { k: 'v' } });
      const environment = await post('/v1/environments', { name: 'e' });
      const session = await post('/v1/sessions', { agent: agent.id, environment_id: environment.id, metadata: { k: 'v' } });
      const toolset = {
        type: 'agent_toolset_20260401',
        default_config: { enabled: true, permission_policy: ALLOW },
        configs: [
          { name: 'bash', type: 'bash', enabled: true, permission_policy: ALLOW },
          { name: 'web_fetch', allowed_domains: ['example.com'], url_sources: { user_input: 'all' } },
          { name: 'web_search' },
        ],
      };
      const agentBody = { name: 'a', model: { id: 'm' }, tools: [toolset], metadata: { k: 'v' } };
      const say = { type: 'user.message', content: [{ type: 'text', text: 'hi' }] };
      const limited = { type: 'limited', allowed_hosts: ['example.com'] };
      const environmentBody = { name: 'e', config: { type: 'cloud', networking: limited, packages: {} }, metadata: { k: 'v' } };
      const sessionBody = {
        agent: { type: 'agent_with_overrides', id: agent.id, model: { id: 'm' }, tools: [toolset] },
        environment_id: environment.id,
        initial_events: [say],
        metadata: { k: 'v' },
      };
      const places: [string, Foreign, Wrong][] = [
        ['/v1/agents', agentBody, wrongAgent],
        [`/v1/agents/${agent.id}`, agentBody, { ...without(wrongAgent, 'metadata'), version: fc.constantFrom(0, '1', 1.5, null) }],
        ['/v1/environments', environmentBody, { ...wrongEnvironment, 'config.type': fc.constantFrom('self_hosted', 5, '') }],
        [`/v1/environments/${environment.id}`, environmentBody, without(wrongEnvironment, 'metadata')],
        ['/v1/sessions', sessionBody, wrongSession],
        [`/v1/sessions/${session.id}`, { agent: { tools: [toolset] }, metadata: { k: 'w' } }, wrongSessionUpdate],
        [`/v1/sessions/${session.id}/events`, { events: [say] }, wrongMessages('events')],
      ];
      const redis = createRedis(stack().redis.url, 'patient', silentLogger, 'test');
      try {
        const before = await contents(redis);
        for (const [path, body, wrong] of places)
          for (const [at, values] of Object.entries(wrong))
            await assertAll(
              values,
              async (value) => expectRefusal(await raw(stack(), 'POST', path, { body: put(body, at, value) }), { status: 400, says: at }),
              WRONG_RUNS,
            );
        expect(await contents(redis)).toEqual(before);
      } finally {
        redis.disconnect();
      }
      expect(await all(stack().client().beta.sessions.events.list(session.id))).toEqual([]);
    },
    LIMIT_MS,
  );
});

/** All that the installation has stored. */
async function contents(redis: ReturnType<typeof createRedis>): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await redis.keys('mh:*')).sort()) found[name] = (await redis.dumpBuffer(name))!.toString('base64');
  return found;
}
