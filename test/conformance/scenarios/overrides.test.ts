/** An agent as one session has it: overrides at its creation (SE-1), other tools later (SE-3), and what of it reaches the model. */
import type { BetaManagedAgentsSession as Session, SessionCreateParams } from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import { describe, expect } from 'vitest';
import { all, expectRefusal, expectRejection, raw } from '../client.ts';
import { answer, follow, history, modelRequests, only, script, send } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns' });
const beta = () => stack().client().beta;
const ALLOW = { type: 'always_allow' } as const;
const TOOLSET = { type: 'agent_toolset_20260401' } as const;
const toolset = (...names: ('web_fetch' | 'web_search' | 'bash')[]) => ({
  ...TOOLSET,
  default_config: { enabled: false },
  configs: names.map((name) => ({ name, enabled: true }) as const),
});
type Override = Omit<Extract<SessionCreateParams['agent'], { type: 'agent_with_overrides' }>, 'type' | 'id'>;

/** An agent of two versions, and an environment. */
async function parts(): Promise<{ agentId: string; environment_id: string }> {
  const [agent, environment] = await Promise.all([
    beta().agents.create({ name: 'first', model: 'fake' }),
    beta().environments.create({ name: 'e' }),
  ]);
  await beta().agents.update(agent.id, {
    name: 'second',
    description: 'd',
    system: 'Speak like a pirate.',
    model: { id: 'fake', effort: 'max', speed: 'fast' },
    tools: [toolset('web_search')],
    metadata: { a: '1' },
  });
  return { agentId: agent.id, environment_id: environment.id };
}
async function open({ agentId, environment_id }: Awaited<ReturnType<typeof parts>>, override: Override): Promise<Session> {
  return beta().sessions.create({ agent: { type: 'agent_with_overrides', id: agentId, ...override }, environment_id });
}
async function turn(sessionId: string): Promise<void> {
  await using stream = await follow(stack(), sessionId);
  await send(stack(), sessionId, script([answer('done')]));
  await stream.next('session.status_idle');
}
const toolNames = (body: { tools?: { name: string }[] }) => (body.tools ?? []).map(({ name }) => name).toSorted();

describe('overrides at creation', () => {
  verifies('sessions.overrides', async () => {
    const made = await parts();
    const agent = await beta().agents.retrieve(made.agentId);
    const { metadata: _m, created_at: _c, updated_at: _u, archived_at: _a, ...snapshot } = agent;

    const inherited = await open(made, {});
    expect(inherited.agent).toEqual(snapshot);

    const replaced = await open(made, { system: 'Be brief.', tools: [toolset('web_fetch')] });
    expect(replaced.agent).toEqual({
      ...snapshot,
      system: 'Be brief.',
      tools: [
        {
          ...TOOLSET,
          default_config: { enabled: false, permission_policy: ALLOW },
          configs: [{ name: 'web_fetch', type: 'web_fetch', enabled: true, permission_policy: ALLOW, url_sources: null }],
        },
      ],
    });
    expect((await beta().sessions.retrieve(replaced.id)).agent).toEqual(replaced.agent);

    const cleared = await open(made, { system: null, tools: [], mcp_servers: [], skills: [] });
    expect(cleared.agent).toEqual({ ...snapshot, system: null, tools: [] });
    const nothing = await raw(stack(), 'POST', '/v1/sessions', {
      body: {
        agent: { type: 'agent_with_overrides', id: made.agentId, system: '', tools: null, mcp_servers: null, skills: null },
        environment_id: made.environment_id,
      },
    });
    expect(nothing.body.agent).toEqual({ ...snapshot, system: null, tools: [] });

    const pinned = await open(made, { version: 1, system: 'x' });
    expect(pinned.agent).toMatchObject({ id: made.agentId, version: 1, name: 'first', system: 'x', tools: [] });

    // Nothing of it reaches the agent, or another session.
    expect(await beta().agents.retrieve(made.agentId)).toEqual(agent);
    expect(await all(beta().agents.versions.list(made.agentId))).toHaveLength(2);
    expect((await beta().sessions.create({ agent: made.agentId, environment_id: made.environment_id })).agent).toEqual(snapshot);
    const listed = await all(beta().sessions.list({ agent_id: made.agentId, agent_version: 2 }));
    expect(listed.map(({ id }) => id)).toContain(replaced.id);
    expect(listed.map(({ id }) => id)).not.toContain(pinned.id);
  });

  verifies('sessions.overrides.model', async () => {
    const made = await parts();
    const model = async (wanted: Override['model'] & {}) => (await open(made, { model: wanted })).agent.model;
    // The model is replaced whole: neither effort nor speed of the agent's model is left, the same id or not.
    expect(await model('fake')).toEqual({ id: 'fake', effort: { type: 'high' } });
    expect(await model('another')).toEqual({ id: 'another', effort: { type: 'high' } });
    expect(await model({ id: 'fake', effort: 'low' })).toEqual({ id: 'fake', effort: { type: 'low' } });
    expect(await model({ id: 'fake', effort: null, speed: 'standard' })).toEqual({
      id: 'fake',
      effort: { type: 'high' },
      speed: 'standard',
    });
  });

  verifies('sessions.overrides.effect', async () => {
    const session = await open(await parts(), {
      model: { id: 'other-model', effort: 'low' },
      system: 'Speak like a judge.',
      tools: [toolset('web_fetch')],
    });
    await turn(session.id);
    const [request] = await modelRequests(stack(), session.id);
    expect(request!.body).toMatchObject({ model: 'other-model', output_config: { effort: 'low' } });
    expect(JSON.stringify(request!.body.system)).toContain('Speak like a judge.');
    expect(JSON.stringify(request!.body.system)).not.toContain('pirate');
    expect(toolNames(request!.body)).toEqual(['web_fetch']);
  });

  verifies('sessions.overrides.refusals', async () => {
    const made = await parts();
    const count = async () => (await all(beta().sessions.list({ agent_id: made.agentId, include_archived: true }))).length;
    const before = await count();
    const wrong: [object, number, string | string[], string?][] = [
      [{ model: null }, 400, 'agent.model: cannot be cleared', 'agent_model_required'],
      [{ model: '' }, 400, 'agent.model'],
      [{ model: { effort: 'low' } }, 400, 'agent.model.id'],
      [{ system: 's'.repeat(100_001) }, 400, 'agent.system'],
      [{ system: 5 }, 400, 'agent.system'],
      [{ tools: 'bash' }, 400, 'agent.tools'],
      [{ tools: [{ ...TOOLSET, configs: [{ name: 'rm' }] }] }, 400, 'agent.tools.0.configs.0.name'],
      [{ tools: [{ ...TOOLSET, configs: [{ name: 'bash', enabled: 1 }] }] }, 400, 'agent.tools.0.configs.0.enabled'],
      [{ name: 'x' }, 400, 'agent.name: unknown field'],
      [{ description: 'x' }, 400, 'agent.description: unknown field'],
      [{ metadata: {} }, 400, 'agent.metadata: unknown field'],
      [{ version: 0 }, 400, 'agent.version'],
      [{ version: 3 }, 404, 'version 3'],
      [{ id: 'agent_unknown' }, 404, 'agent_unknown'],
      [{ id: undefined }, 400, 'agent.id: required'],
      [{ skills: [{ type: 'anthropic', skill_id: 'xlsx' }] }, 400, ['agent.skills', 'not supported yet']],
      [{ mcp_servers: [{ type: 'url', name: 'x', url: 'https://example.com' }] }, 400, ['agent.mcp_servers', 'not supported yet']],
      [{ tools: [{ type: 'mcp_toolset', mcp_server_name: 'x' }] }, 400, ['agent.tools.0', 'not supported yet']],
    ];
    for (const [fields, status, says, code] of wrong) {
      const body = { agent: { type: 'agent_with_overrides', id: made.agentId, ...fields }, environment_id: made.environment_id };
      expectRefusal(await raw(stack(), 'POST', '/v1/sessions', { body }), { status, says, ...(code === undefined ? {} : { code }) });
    }
    await beta().agents.archive(made.agentId);
    await expectRejection(open(made, { system: 'x' }), { status: 400, says: 'archived' });
    expect(await count()).toBe(before);
  });
});

describe('other tools later', () => {
  verifies('sessions.update.agent', async () => {
    const made = await parts();
    const session = await open(made, { system: 'Be brief.' });
    const updated = await beta().sessions.update(session.id, { title: 't', agent: { tools: [toolset('web_fetch')] } });
    expect(updated).toMatchObject({
      title: 't',
      status: 'idle',
      agent: { ...session.agent, tools: [{ ...TOOLSET, configs: [{ name: 'web_fetch', enabled: true, url_sources: null }] }] },
    });
    const told = { type: 'session.updated', id: expect.any(String), processed_at: expect.any(String) };
    expect(await history(stack(), session.id)).toEqual([{ ...told, title: 't', agent: updated.agent }]);
    // The same again, and nothing at all, change nothing and tell nothing.
    await beta().sessions.update(session.id, { agent: { tools: [toolset('web_fetch')] } });
    await beta().sessions.update(session.id, { agent: {} });
    await beta().sessions.update(session.id, { agent: { mcp_servers: [] } });
    expect(await history(stack(), session.id)).toHaveLength(1);
    const cleared = await beta().sessions.update(session.id, { agent: { tools: [] } });
    expect(cleared.agent).toEqual({ ...session.agent, tools: [] });
    expect(await history(stack(), session.id)).toEqual([expect.anything(), { ...told, agent: cleared.agent }]);
    // It stays in the session.
    expect((await beta().agents.retrieve(made.agentId)).version).toBe(2);
    expect((await beta().agents.retrieve(made.agentId)).tools).toHaveLength(1);
    const { data } = await beta().sessions.threads.list(session.id);
    expect(data[0]!.agent).toMatchObject({ system: 'Be brief.', tools: [] });
  });

  verifies('sessions.update.agent.next_turn', async () => {
    const session = await open(await parts(), {});
    await turn(session.id);
    for (const tools of [['web_fetch'], ['web_fetch', 'web_search'], []] as const) {
      // At once after idle is told, while the worker may still hold the session.
      await beta().sessions.update(session.id, { agent: { tools: [toolset(...tools)] } });
      await turn(session.id);
    }
    const offered = (await modelRequests(stack(), session.id)).map(({ body }) => toolNames(body));
    expect(offered).toEqual([['web_search'], ['web_fetch'], ['web_fetch', 'web_search'], []]);
    const events = await history(stack(), session.id);
    expect(only(events, 'session.updated')).toHaveLength(3);
  });

  verifies('sessions.update.agent.refusals', async () => {
    const session = await open(await parts(), {});
    const update = (body: object) => raw(stack(), 'POST', `/v1/sessions/${session.id}`, { body });
    const wrong: [object, string | string[]][] = [
      [{ agent: 'agent_x' }, 'agent'],
      [{ agent: { tools: null } }, 'agent.tools'],
      [{ agent: { tools: [{ ...TOOLSET, configs: [{ name: 'rm' }] }] } }, 'agent.tools.0.configs.0.name'],
      [{ agent: { model: 'm' } }, 'agent.model: unknown field'],
      [{ agent: { system: 'x' } }, 'agent.system: unknown field'],
      [{ agent: { skills: [] } }, 'agent.skills: unknown field'],
      [{ agent: { mcp_servers: [{ type: 'url', name: 'x', url: 'https://example.com' }] } }, ['agent.mcp_servers', 'not supported yet']],
      [{ title: 'never', agent: { tools: [{ type: 'mcp_toolset', mcp_server_name: 'x' }] } }, ['agent.tools.0', 'not supported yet']],
    ];
    for (const [body, says] of wrong) expectRefusal(await update(body), { status: 400, says });
    expect(await history(stack(), session.id)).toEqual([]);

    // A model that takes its time keeps the session running.
    await using stream = await follow(stack(), session.id);
    await send(stack(), session.id, script([{ blocks: [{ text: 'slowly '.repeat(400) }], delta_ms: 20 }]));
    await stream.next('session.status_running');
    expectRefusal(await update({ title: 'never', agent: { tools: [] } }), { status: 400, says: ['running', 'interrupt'] });
    expect(await beta().sessions.retrieve(session.id)).toMatchObject({ title: null, agent: session.agent });
    await send(stack(), session.id, { type: 'user.interrupt' });
    await stream.next('session.status_idle');
    expect((await beta().sessions.update(session.id, { agent: { tools: [] } })).agent.tools).toEqual([]);

    await beta().sessions.archive(session.id);
    await expectRejection(beta().sessions.update(session.id, { agent: { tools: [] } }), { status: 409, says: 'archived' });
  });
});
