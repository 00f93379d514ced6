/** The main flows through the SDK as it was before 1.0, unmodified. What it does not know it passes over, and that is shown, too. */
import { createHash } from 'node:crypto';
import { until } from '@manyhands/test-kit';
import Legacy, { BadRequestError, ConflictError, NotFoundError, toFile } from 'anthropic-sdk-legacy';
import { betaTool } from 'anthropic-sdk-legacy/helpers/beta/json-schema';
import type { BetaManagedAgentsStreamSessionEvents as Told } from 'anthropic-sdk-legacy/resources/beta/sessions/events';
import { describe, expect } from 'vitest';
import { all } from '../client.ts';
import { answer, history, INTERRUPT, script, types } from '../conversation.ts';
import { loadDeclarations } from '../declarations/load.ts';
import { kindsOf } from '../declarations/shape.ts';
import { legacyClient } from '../legacy.ts';
import { OPERATOR_KEY } from '../stack.ts';
import { kindsOnLegacyStreams } from '../surface/legacy-streams.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'full' });
const beta = () => legacyClient(stack()).beta;
const WAIT_MS = 20_000;
const LONG_MS = 60_000;

const SCHEMA = { type: 'object' as const, properties: { key: { type: 'string' as const } }, required: ['key'] };
const LOOK_UP = { type: 'custom' as const, name: 'look_up', description: 'Looks something up.', input_schema: SCHEMA };
const ASKED_BASH = {
  type: 'agent_toolset_20260401' as const,
  default_config: { enabled: false },
  configs: [{ name: 'bash' as const, enabled: true, permission_policy: { type: 'always_ask' as const } }],
};

async function open(tools: Legacy.Beta.AgentCreateParams['tools'] = []): Promise<string> {
  const { agents, environments, sessions } = beta();
  const [agent, environment] = await Promise.all([agents.create({ name: 'a', model: 'fake', tools }), environments.create({ name: 'e' })]);
  return (await sessions.create({ agent: agent.id, environment_id: environment.id })).id;
}

/** Opens a stream, does something, and resolves to what the stream tells until the session is idle. */
async function during(id: string, act: () => Promise<unknown>): Promise<Told[]> {
  const stream = await beta().sessions.events.stream(id);
  const told: Told[] = [];
  const timer = setTimeout(() => stream.controller.abort(), WAIT_MS);
  await act();
  for await (const event of stream) {
    told.push(event);
    if (event.type === 'session.status_idle') break;
  }
  clearTimeout(timer);
  expect(told.at(-1)?.type, `told: ${types(told).join(', ')}`).toBe('session.status_idle');
  return told;
}
const only = <K extends Told['type']>(events: readonly Told[], kind: K) =>
  events.filter((event): event is Extract<Told, { type: K }> => event.type === kind);

describe('resources', () => {
  verifies('legacy.requests', async () => {
    const asked: { url: string; headers: Headers }[] = [];
    const client = legacyClient(stack(), {
      fetch: (url, init) => {
        asked.push({ url: String(url), headers: new Headers(init?.headers) });
        return fetch(url, init);
      },
    });
    expect((await client.beta.agents.list()).data).toEqual(expect.any(Array));
    const [{ url, headers }] = asked as [(typeof asked)[0]];
    expect(url).toContain('?beta=true');
    expect([headers.get('x-api-key'), headers.get('authorization'), headers.get('anthropic-version')]).toEqual([
      OPERATOR_KEY,
      null,
      '2023-06-01',
    ]);
    expect(headers.get('user-agent')).toBe(`Anthropic/JS ${(await loadDeclarations('legacy')).version}`);
  });

  verifies('legacy.agents', async () => {
    const { agents } = beta();
    const agent = await agents.create({ name: 'old', model: 'claude-sonnet-4-6', system: 'Be brief.', tools: [LOOK_UP, ASKED_BASH] });
    expect(agent).toMatchObject({ type: 'agent', version: 1, name: 'old', system: 'Be brief.', archived_at: null, mcp_servers: [] });
    const changed = await agents.update(agent.id, { version: 1, description: 'd' });
    expect(changed).toMatchObject({ version: 2, description: 'd', system: 'Be brief.' });
    expect(await agents.retrieve(agent.id, { version: 1 })).toEqual(agent);
    expect((await all(agents.versions.list(agent.id, { limit: 1 }))).map(({ version }) => version)).toEqual([2, 1]);
    const more = await Promise.all([1, 2, 3].map((n) => agents.create({ name: `n${n}`, model: 'm' })));
    const listed = (await all(agents.list({ limit: 2 }))).map(({ id }) => id);
    expect(listed).toEqual(expect.arrayContaining([agent.id, ...more.map(({ id }) => id)]));
    expect(new Set(listed).size).toBe(listed.length);
    expect((await agents.archive(agent.id)).archived_at).toEqual(expect.any(String));
  });

  verifies('legacy.environments', async () => {
    const { environments } = beta();
    const networking = { type: 'limited' as const, allowed_hosts: ['example.com'] };
    const environment = await environments.create({ name: 'old', config: { type: 'cloud', networking } });
    expect(environment).toMatchObject({ type: 'environment', name: 'old', config: { type: 'cloud', networking } });
    const changed = await environments.update(environment.id, { description: 'd', metadata: { a: '1' } });
    expect(changed).toMatchObject({ description: 'd', metadata: { a: '1' }, config: environment.config });
    expect(await environments.retrieve(environment.id)).toEqual(changed);
    expect((await all(environments.list({ limit: 1 }))).map(({ id }) => id)).toContain(environment.id);
    expect((await environments.archive(environment.id)).archived_at).toEqual(expect.any(String));
    expect(await environments.delete(environment.id)).toEqual({ id: environment.id, type: 'environment_deleted' });
  });

  verifies('legacy.sessions', async () => {
    const { sessions } = beta();
    const id = await open();
    const session = await sessions.retrieve(id);
    expect(session).toMatchObject({ type: 'session', id, status: 'idle', title: null, resources: [], vault_ids: [] });
    expect(await sessions.update(id, { title: 't', metadata: { a: '1' } })).toMatchObject({ title: 't', metadata: { a: '1' } });
    const others = [await open(), await open()];
    const listed = await all(sessions.list({ limit: 1, order: 'asc' }));
    expect(listed.map((each) => each.id).filter((each) => [id, ...others].includes(each))).toEqual([id, ...others]);
    const threads = await all(sessions.threads.list(id));
    expect(threads).toMatchObject([{ type: 'session_thread', session_id: id, parent_thread_id: null }]);
    expect(await sessions.threads.retrieve(threads[0]!.id, { session_id: id })).toMatchObject({ id: threads[0]!.id });
    const thread = threads[0]!.id;
    expect(types(await all(sessions.threads.events.list(thread, { session_id: id })))).toEqual(['session.updated']);
    const stream = await sessions.threads.events.stream(thread, { session_id: id });
    await sessions.update(id, { title: 'u' });
    for await (const event of stream) {
      expect(event).toMatchObject({ type: 'session.updated', title: 'u' });
      break;
    }
    await expect(sessions.threads.archive(thread, { session_id: id })).rejects.toThrow('archive the session');
    expect((await sessions.archive(id)).status).toBe('terminated');
    expect(await sessions.delete(id)).toEqual({ id, type: 'session_deleted' });
    await expect(sessions.retrieve(id)).rejects.toThrow(NotFoundError);
  });

  verifies('legacy.files', async () => {
    const { files, sessions } = beta();
    const bytes = Buffer.from('one\ntwo\n');
    const uploads = await Promise.all([1, 2].map(async (n) => files.upload({ file: await toFile(bytes, `f${n}.txt`) })));
    const [file] = uploads as [Legacy.Beta.FileMetadata];
    expect(file).toMatchObject({ type: 'file', filename: 'f1.txt', size_bytes: bytes.length, downloadable: false });
    expect(await files.retrieveMetadata(file.id)).toEqual(file);
    // That client asks for the next page by another parameter than there is: it sees the first page, and is not told of more.
    expect((await all(files.list({ limit: 1 }))).length).toBe(1);
    const id = await open([{ ...ASKED_BASH, configs: [{ ...ASKED_BASH.configs[0]!, permission_policy: { type: 'always_allow' } }] }]);
    const resource = await sessions.resources.add(id, { type: 'file', file_id: file.id, mount_path: '/workspace/in.txt' });
    expect((await all(sessions.resources.list(id))).map((each) => 'id' in each && each.id)).toEqual([resource.id]);
    expect(await sessions.resources.retrieve(resource.id, { session_id: id })).toEqual(resource);
    await expect(sessions.resources.update(resource.id, { session_id: id, authorization_token: 't' })).rejects.toThrow(BadRequestError);
    const copied = [{ tool: 'bash', input: { command: 'cp /workspace/in.txt /mnt/session/outputs/out.txt' } }];
    await during(id, () => sessions.events.send(id, { events: [script([{ blocks: copied }, answer('done')])] }));
    const output = (await all(files.list({ scope_id: id }))).find(({ downloadable }) => downloadable);
    const content = Buffer.from(await (await files.download(output!.id)).arrayBuffer());
    expect(createHash('sha256').update(content).digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(await sessions.resources.delete(resource.id, { session_id: id })).toMatchObject({ id: resource.id });
    for (const upload of uploads) expect(await files.delete(upload.id)).toEqual({ id: upload.id, type: 'file_deleted' });
  });

  verifies('legacy.models', async () => {
    const models = await all(beta().models.list({ limit: 1 }));
    expect(models.length).toBeGreaterThan(1);
    for (const model of models) expect(await beta().models.retrieve(model.id)).toEqual(model);
    await expect(beta().models.retrieve('nobody')).rejects.toThrow(NotFoundError);
  });

  verifies('legacy.errors', async () => {
    const { agents, sessions } = beta();
    const unknown = await sessions.retrieve('sesn_x').catch((error: unknown) => error);
    expect(unknown).toBeInstanceOf(NotFoundError);
    expect(unknown).toMatchObject({ status: 404, type: 'not_found_error', requestID: expect.stringMatching(/^req_/) });
    await expect(agents.create({ name: '', model: 'm' })).rejects.toThrow(BadRequestError);
    const agent = await agents.create({ name: 'a', model: 'm' });
    await expect(agents.update(agent.id, { version: 7, name: 'b' })).rejects.toThrow(ConflictError);
    const stranger = legacyClient(stack(), { apiKey: 'wrong-key-0123456789' });
    await expect(stranger.beta.agents.list()).rejects.toThrow(Legacy.AuthenticationError);
  });
});

describe('sessions at work', () => {
  verifies('legacy.stream.kinds', async () => {
    const { routes, shapes } = await loadDeclarations('current');
    const route = routes.find(({ call }) => call === 'beta.sessions.events.stream')!;
    const kinds = route.answer.kind === 'stream' ? kindsOf(route.answer.shape, shapes) : [];
    const seen = new Set(await kindsOnLegacyStreams(kinds));
    expect(kinds.filter((kind) => !seen.has(kind)).toSorted()).toEqual([
      'event_delta',
      'event_start',
      'session.usage',
      'system.message',
      'workflow_run.created',
      'workflow_run.error',
      'workflow_run.phase_ended',
      'workflow_run.phase_started',
      'workflow_run.status_ended',
      'workflow_run.status_idle',
      'workflow_run.status_running',
    ]);
  });

  verifies('legacy.turn', async () => {
    const { sessions } = beta();
    const id = await open();
    const told = await during(id, () => sessions.events.send(id, { events: [script([answer('hello')])] }));
    const stored = await history(stack(), id);
    // Queued and taken up, a message is told twice; what this client has no name for is left out.
    const known = types(stored).filter((type) => type !== 'session.usage');
    expect(types(told)).toEqual(['user.message', ...known]);
    expect(await all(sessions.events.list(id, { limit: 3 }))).toEqual(stored);
    expect(only(told, 'agent.message').flatMap(({ content }) => content)).toEqual([{ type: 'text', text: 'hello' }]);
    expect(await all(sessions.events.list(id, { types: ['agent.message'], order: 'desc' }))).toHaveLength(1);
  });

  verifies('legacy.interrupt', async () => {
    const { sessions } = beta();
    const id = await open();
    const slow = { blocks: [{ text: 'a long story '.repeat(200) }], delta_ms: 20, delta_chars: 3 };
    const told = await during(id, async () => {
      await sessions.events.send(id, { events: [script([slow])] });
      await until(async () => types(await history(stack(), id)).includes('span.model_request_start'), { what: 'the model is asked' });
      await sessions.events.send(id, { events: [INTERRUPT] });
    });
    expect(told.at(-1)).toMatchObject({ stop_reason: { type: 'end_turn' } });
  });

  verifies(
    'legacy.confirmations',
    async () => {
      const { sessions } = beta();
      const id = await open([ASKED_BASH]);
      const call = (command: string) => ({ blocks: [{ tool: 'bash', input: { command } }] });
      const asked = await during(id, () =>
        sessions.events.send(id, { events: [script([call('echo one'), call('echo two'), answer('done')])] }),
      );
      const [first] = only(asked, 'agent.tool_use');
      expect(asked.at(-1)).toMatchObject({ stop_reason: { type: 'requires_action', event_ids: [first!.id] } });
      const allowed = await during(id, () =>
        sessions.events.send(id, { events: [{ type: 'user.tool_confirmation', tool_use_id: first!.id, result: 'allow' }] }),
      );
      expect(only(allowed, 'agent.tool_result')).toMatchObject([{ tool_use_id: first!.id, content: [{ type: 'text', text: 'one' }] }]);
      const [second] = only(allowed, 'agent.tool_use');
      const denied = await during(id, () =>
        sessions.events.send(id, {
          events: [{ type: 'user.tool_confirmation', tool_use_id: second!.id, result: 'deny', deny_message: 'not today' }],
        }),
      );
      expect(JSON.stringify(only(denied, 'agent.tool_result'))).toContain('not today');
      expect(denied.at(-1)).toMatchObject({ stop_reason: { type: 'end_turn' } });
    },
    LONG_MS,
  );

  verifies(
    'legacy.runner',
    async () => {
      const { sessions } = beta();
      const id = await open([LOOK_UP]);
      const tool = betaTool({
        name: 'look_up',
        description: LOOK_UP.description,
        inputSchema: SCHEMA,
        run: ({ key }) => `value of ${String(key)}`,
      });
      const lookUp = (key: string) => ({ blocks: [{ tool: 'look_up', input: { key } }] });
      await sessions.events.send(id, { events: [script([lookUp('a'), lookUp('b'), answer('it is {{last_tool_result}}')])] });
      const calls: boolean[] = [];
      for await (const { isError } of sessions.events.toolRunner(id, { tools: [tool], maxIdleMs: 300 })) calls.push(isError === true);
      expect(calls).toEqual([false, false]);
      const events = await all(sessions.events.list(id));
      expect(only(events, 'agent.message').at(-1)?.content).toEqual([{ type: 'text', text: 'it is value of b' }]);
    },
    LONG_MS,
  );
});
