/** AG-1..6 through the SDK. */
import type { BetaManagedAgentsAgent as Agent } from '@anthropic-ai/sdk/resources/beta/agents/agents';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { all, expectRefusal, expectRejection, raw } from '../client.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'gateway' });
const agents = () => stack().client().beta.agents;
const MINIMAL = { name: 'tester', model: 'claude-opus-4-8' };
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const ALLOW = { type: 'always_allow' } as const;

/** Runs something that must be refused, and proves that no agent came of it. */
async function leavesNothing(run: () => Promise<void>): Promise<void> {
  const before = await all(agents().list({ include_archived: true, limit: 100 }));
  await run();
  expect(await all(agents().list({ include_archived: true, limit: 100 }))).toEqual(before);
}

/** What a random run found once, as it is sent: a key that would be lost. */
const FAILED_ONCE: [[string, fc.JsonValue]][] = ['{"": {"__proto__": ""}}', '{"__proto__": null}'].map((text) => [
  ['aaa_x', JSON.parse(text) as fc.JsonValue],
]);

/** Every option that it may have at most. */
const FETCH = {
  allowed_domains: Array.from({ length: 64 }, (_, i) => `h${i}.example.com`),
  max_content_tokens: 1_000_000,
  url_sources: {
    user_input: { type: 'all' as const },
    client_tool_results: { type: 'none' as const },
    server_tool_results: { type: 'only' as const, tools: [{ type: 'tool_reference' as const, name: 'web_search' }] },
  },
};

describe('agents', () => {
  verifies('agents.create.defaults', async () => {
    const agent = await agents().create(MINIMAL);
    expect(agent).toEqual({
      type: 'agent',
      id: expect.stringMatching(/^agent_[A-Za-z0-9]+$/),
      version: 1,
      name: 'tester',
      description: null,
      system: null,
      model: { id: 'claude-opus-4-8', effort: { type: 'high' } },
      tools: [],
      mcp_servers: [],
      skills: [],
      multiagent: null,
      execution_identity: { type: 'service_account' },
      metadata: {},
      created_at: expect.stringMatching(RFC3339),
      updated_at: agent.created_at,
      archived_at: null,
    });
    expect(await agents().retrieve(agent.id)).toEqual(agent);
  });

  verifies('agents.create.full', async () => {
    const agent = await agents().create({
      name: 'n'.repeat(256),
      description: 'd'.repeat(2048),
      system: 's'.repeat(100_000),
      model: { id: 'any-model-id/at:all', effort: { type: 'max' }, speed: 'fast' },
      metadata: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`${i}`.padEnd(64, 'k'), 'v'.repeat(512)])),
      tools: [
        {
          type: 'agent_toolset_20260401',
          default_config: { enabled: false, permission_policy: ALLOW },
          configs: [{ name: 'bash', enabled: true }, { name: 'web_fetch', type: 'web_fetch', ...FETCH }, { name: 'bash' }],
        },
      ],
      mcp_servers: [],
      skills: [],
      multiagent: null,
      execution_identity: { type: 'service_account' },
    });
    expect(agent.model).toEqual({ id: 'any-model-id/at:all', effort: { type: 'max' }, speed: 'fast' });
    expect(agent.system).toHaveLength(100_000);
    expect(Object.keys(agent.metadata)).toHaveLength(16);
    expect(agent.tools).toEqual([
      {
        type: 'agent_toolset_20260401',
        default_config: { enabled: false, permission_policy: ALLOW },
        configs: [
          { name: 'bash', type: 'bash', enabled: false, permission_policy: ALLOW },
          { name: 'web_fetch', type: 'web_fetch', enabled: false, permission_policy: ALLOW, ...FETCH },
        ],
      },
    ]);
    const short = await agents().create({ ...MINIMAL, model: { id: 'm', effort: 'low' } });
    expect(short.model).toEqual({ id: 'm', effort: { type: 'low' } });
  });

  verifies('agents.create.refusals', async () => {
    const wrong: [object, string][] = [
      [{ model: 'm' }, 'name: required'],
      [{ name: 'n' }, 'model: required'],
      [{ name: '', model: 'm' }, 'name'],
      [{ name: 'n'.repeat(257), model: 'm' }, 'name'],
      [{ name: 7, model: 'm' }, 'name'],
      [{ ...MINIMAL, name: null }, 'name'],
      [{ ...MINIMAL, model: '' }, 'model'],
      [{ ...MINIMAL, model: { effort: 'low' } }, 'model.id'],
      [{ ...MINIMAL, model: { id: 'm', effort: 'extreme' } }, 'model.effort'],
      [{ ...MINIMAL, model: { id: 'm', temperature: 1 } }, 'model.temperature: unknown field'],
      [{ ...MINIMAL, description: 'd'.repeat(2049) }, 'description'],
      [{ ...MINIMAL, system: 's'.repeat(100_001) }, 'system'],
      [{ ...MINIMAL, systm: 'x' }, 'systm: unknown field'],
      [{ ...MINIMAL, max_tokens: 5 }, 'max_tokens: unknown field'],
      [{ ...MINIMAL, metadata: { a: 1 } }, 'metadata.a'],
      [{ ...MINIMAL, metadata: { a: 'v'.repeat(513) } }, 'metadata.a'],
      [{ ...MINIMAL, metadata: { ['k'.repeat(65)]: 'v' } }, 'metadata'],
      [{ ...MINIMAL, metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])) }, 'metadata: at most 16'],
      [{ ...MINIMAL, tools: 'bash' }, 'tools'],
      [{ ...MINIMAL, tools: [{ type: 'agent_toolset_20260401', configs: [{ name: 'rm' }] }] }, 'tools.0.configs.0.name'],
      [{ ...MINIMAL, tools: [{ type: 'agent_toolset_20260401', configs: [{ name: 'bash', type: 'read' }] }] }, 'tools.0.configs.0.type'],
      [
        { ...MINIMAL, tools: [{ type: 'agent_toolset_20260401', configs: [{ name: 'bash', enabled: 'yes' }] }] },
        'tools.0.configs.0.enabled',
      ],
      [{ ...MINIMAL, tools: [{ type: 'agent_toolset_20260401', default: {} }] }, 'tools.0.default: unknown field'],
    ];
    await leavesNothing(async () => {
      for (const [body, says] of wrong) expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body }), { status: 400, says });
    });
  });

  verifies('agents.create.not_yet', async () => {
    const later: [object, string[]][] = [
      [{ mcp_servers: [{ type: 'url', name: 'x', url: 'https://example.com' }] }, ['mcp_servers']],
      [{ skills: [{ type: 'anthropic', skill_id: 'xlsx' }] }, ['skills']],
      [{ multiagent: { type: 'multiagent_20261001' } }, ['multiagent']],
      [{ model: { id: 'm', inference_geo: 'eu' } }, ['model.inference_geo']],
      [{ tools: [{ type: 'mcp_toolset', mcp_server_name: 'x' }] }, ['tools.0', 'mcp_toolset']],
    ];
    await leavesNothing(async () => {
      for (const [fields, says] of later)
        expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body: { ...MINIMAL, ...fields } }), {
          status: 400,
          says: [...says, 'not supported yet'],
        });
    });
    expectRefusal(
      await raw(stack(), 'POST', '/v1/agents', { body: { ...MINIMAL, execution_identity: { type: 'aws_role', role_arn: 'arn:x' } } }),
      { status: 400, says: ['execution_identity', 'supported'] },
    );
  });

  verifies('agents.create.fuzz', async () => {
    const wrongField = fc.oneof(
      fc.tuple(
        fc.constantFrom('name', 'description', 'system', 'tools', 'metadata', 'model'),
        fc.oneof(fc.integer(), fc.boolean(), fc.constant([[]])),
      ),
      fc.tuple(fc.stringMatching(/^[a-z]{3,12}_x$/), fc.jsonValue()),
    );
    await leavesNothing(async () => {
      await fc.assert(
        fc.asyncProperty(wrongField, async ([field, value]) => {
          expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body: { ...MINIMAL, [field]: value } }), { status: 400, says: field });
        }),
        { numRuns: 60, examples: FAILED_ONCE },
      );
      await fc.assert(
        fc.asyncProperty(fc.jsonValue(), async (value) => {
          const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
          fc.pre(!isObject || !('name' in value && 'model' in value));
          expectRefusal(await raw(stack(), 'POST', '/v1/agents', { body: JSON.stringify(value) }), { status: 400 });
        }),
        { numRuns: 60 },
      );
    });
  });

  verifies(['agents.retrieve.versions', 'agents.versions.list'], async () => {
    const first = await agents().create(MINIMAL);
    const second = await agents().update(first.id, { system: 'two' });
    const third = await agents().update(first.id, { system: 'three' });
    expect([second.version, third.version]).toEqual([2, 3]);
    expect(await agents().retrieve(first.id, { version: 1 })).toEqual(first);
    expect(await agents().retrieve(first.id, { version: 2 })).toEqual(second);
    expect(await agents().retrieve(first.id)).toEqual(third);
    await expectRejection(agents().retrieve(first.id, { version: 4 }), { status: 404 });
    await expectRejection(agents().retrieve(first.id, { version: 0 }), { status: 400, says: 'version' });
    await expectRejection(agents().retrieve(first.id, { version: 'x' as unknown as number }), { status: 400, says: 'version' });

    expect(await all(agents().versions.list(first.id, { limit: 2 }))).toEqual([third, second, first]);
    const page = await agents().versions.list(first.id, { limit: 2 });
    expect(page.data).toEqual([third, second]);
    expect(page.next_page).toEqual(expect.any(String));
    await expectRejection(agents().versions.list(first.id, { page: 'x' }), { status: 400, says: 'page' });
    const other = await agents().create(MINIMAL);
    await expectRejection(agents().versions.list(other.id, { page: page.next_page! }), { status: 400, says: 'page' });
  });

  verifies('agents.update.merge', async () => {
    const agent = await agents().create({
      ...MINIMAL,
      description: 'd',
      system: 's',
      metadata: { a: '1', b: '2' },
      tools: [{ type: 'agent_toolset_20260401' }],
    });
    const named = await agents().update(agent.id, { name: 'other' });
    expect(named).toEqual({ ...agent, name: 'other', version: 2, updated_at: named.updated_at });
    expect(named.updated_at >= agent.updated_at).toBe(true);
    const patched = await agents().update(agent.id, { metadata: { a: null, b: '3', c: '4', z: null } });
    expect(patched.metadata).toEqual({ b: '3', c: '4' });
    const cleared = await agents().update(agent.id, {
      description: null,
      system: '',
      tools: null,
      mcp_servers: null,
      skills: null,
      metadata: null,
    });
    expect(cleared).toMatchObject({ description: null, system: null, tools: [], metadata: { b: '3', c: '4' }, version: 4 });
    await expectRejection(
      agents().update(agent.id, { metadata: Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`n${i}`, 'v'])) }),
      { status: 400, says: 'metadata' },
    );
    expect(await agents().retrieve(agent.id)).toEqual(cleared);
  });

  verifies('agents.update.model', async () => {
    const agent = await agents().create({ ...MINIMAL, model: { id: 'm', effort: 'low', speed: 'fast' } });
    const model = async (wanted: Parameters<ReturnType<typeof agents>['update']>[1]['model'] & {}) =>
      (await agents().update(agent.id, { model: wanted })).model;
    expect(await model({ id: 'm' })).toEqual({ id: 'm', effort: { type: 'low' } });
    expect(await model({ id: 'm', effort: { type: 'xhigh' }, speed: 'standard' })).toEqual({
      id: 'm',
      effort: { type: 'xhigh' },
      speed: 'standard',
    });
    expect(await model('m')).toEqual({ id: 'm', effort: { type: 'xhigh' } });
    expect(await model('m2')).toEqual({ id: 'm2', effort: { type: 'high' } });
  });

  verifies('agents.update.no_change', async () => {
    const agent = await agents().create({ ...MINIMAL, metadata: { a: '1' } });
    expect(await agents().update(agent.id, {})).toEqual(agent);
    expect(await agents().update(agent.id, { name: agent.name, system: null, metadata: { a: '1', b: null }, version: 1 })).toEqual(agent);
    expect(await all(agents().versions.list(agent.id))).toHaveLength(1);
  });

  verifies('agents.update.conflict', async () => {
    const agent = await agents().create(MINIMAL);
    const changed = await agents().update(agent.id, { name: 'two', version: 1 });
    await expectRejection(agents().update(agent.id, { name: 'three', version: 1 }), { status: 409, says: 'version', shouldRetry: 'false' });
    await expectRejection(agents().update(agent.id, { name: 'two', version: 1 }), { status: 409, says: 'version' });
    expect(await agents().retrieve(agent.id)).toEqual(changed);
    let requests = 0;
    const retrying = stack().client({
      maxRetries: 2,
      fetch: (...call) => {
        requests += 1;
        return fetch(...call);
      },
    });
    await expectRejection(retrying.beta.agents.update(agent.id, { name: 'x', version: 9 }), { status: 409 });
    expect(requests).toBe(1);
    // Without a version the last one wins, and no change is lost.
    await Promise.all(Array.from({ length: 12 }, (_, i) => agents().update(agent.id, { metadata: { [`k${i}`]: 'v' } })));
    const merged = await agents().retrieve(agent.id);
    expect(Object.keys(merged.metadata)).toHaveLength(12);
    expect(merged.version).toBe(14);
  });

  verifies('agents.update.refusals', async () => {
    const agent = await agents().create(MINIMAL);
    const wrong: [object, string][] = [
      [{ name: null }, 'name'],
      [{ name: '' }, 'name'],
      [{ model: null }, 'model'],
      [{ version: 0 }, 'version'],
      [{ version: '1' }, 'version'],
      [{ id: 'agent_x' }, 'id: unknown field'],
      [{ mcp_servers: [{ type: 'url', name: 'x', url: 'https://example.com' }] }, 'not supported yet'],
    ];
    for (const [body, says] of wrong) expectRefusal(await raw(stack(), 'POST', `/v1/agents/${agent.id}`, { body }), { status: 400, says });
    expect(await agents().retrieve(agent.id)).toEqual(agent);
  });

  verifies('agents.list', async () => {
    const made: Agent[] = [];
    for (let i = 0; i < 5; i++) made.unshift(await agents().create({ ...MINIMAL, name: `listed ${i}` }));
    await agents().archive(made[2]!.id);
    const names = (list: Agent[]) => list.map(({ name }) => name);
    const first = await agents().list({ limit: 2 });
    expect(names(first.data)).toEqual(['listed 4', 'listed 3']);
    const second = await agents().list({ limit: 2, page: first.next_page! });
    expect(names(second.data)).toEqual(['listed 1', 'listed 0']);
    const everything = await all(agents().list({ limit: 3, include_archived: true }));
    expect(names(everything.slice(0, 5))).toEqual(['listed 4', 'listed 3', 'listed 2', 'listed 1', 'listed 0']);
    expect(new Set(everything.map(({ id }) => id)).size).toBe(everything.length);
    const since = await all(agents().list({ 'created_at[gte]': made[1]!.created_at }));
    expect(since.every(({ created_at }) => created_at >= made[1]!.created_at)).toBe(true);
    expect(names(since)).toContain('listed 3');
    const until = await all(agents().list({ 'created_at[lte]': made[3]!.created_at, limit: 100 }));
    expect(names(until)).not.toContain('listed 4');
    expect((await agents().list({ limit: 100 })).data.length).toBeLessThanOrEqual(100);
    expect((await agents().list()).data.length).toBeLessThanOrEqual(20);
    for (const query of [
      'limit=0',
      'limit=101',
      'limit=x',
      'page=nonsense',
      'created_at[gte]=yesterday',
      'include_archived=1',
      'order=asc',
    ])
      expectRefusal(await raw(stack(), 'GET', `/v1/agents?${query}`), { status: 400, says: query.split('=')[0]! });
  });

  verifies('agents.archive', async () => {
    const agent = await agents().create(MINIMAL);
    const archived = await agents().archive(agent.id);
    expect(archived).toEqual({ ...agent, archived_at: expect.stringMatching(RFC3339) });
    expect(await agents().archive(agent.id)).toEqual(archived);
    expect(await agents().retrieve(agent.id)).toEqual(archived);
    await expectRejection(agents().update(agent.id, { name: 'x' }), { status: 400, says: 'archived' });
    const environment = await stack().client().beta.environments.create({ name: 'e' });
    await expectRejection(stack().client().beta.sessions.create({ agent: agent.id, environment_id: environment.id }), {
      status: 400,
      says: 'archived',
    });
    expectRefusal(await raw(stack(), 'DELETE', `/v1/agents/${agent.id}`), { status: 404, shouldRetry: 'false' });
    expect(await agents().retrieve(agent.id)).toEqual(archived);
  });
});
