/** Tools that the client runs, and sessions that wait for them. */
import { isDeepStrictEqual } from 'node:util';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import type { BetaManagedAgentsEventParams } from '@anthropic-ai/sdk/resources/beta/sessions/events';
import { createRedis } from '@manyhands/base';
import type { FakeBlock } from '@manyhands/model/testing';
import { silentLogger, until } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import { expectRejection } from '../client.ts';
import { answer, expectSound, follow, history, INTERRUPT, modelRequests, only, say, script, texts, types } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns', count: { harness: 2 } });
const sessions = () => stack().client().beta.sessions;
const LONG_MS = 60_000;

const SCHEMA = { type: 'object' as const, properties: { key: { type: 'string' as const } }, required: ['key'] };
const LOOK_UP = { type: 'custom' as const, name: 'look_up', description: 'Looks something up.', input_schema: SCHEMA };
const NOTE = { type: 'custom' as const, name: 'note', description: 'Writes something down.', input_schema: { type: 'object' as const } };
const SEARCH = {
  type: 'agent_toolset_20260401' as const,
  default_config: { enabled: false },
  configs: [{ name: 'web_search' as const, enabled: true, permission_policy: { type: 'always_ask' as const } }],
};

async function open(model = 'fake'): Promise<string> {
  const { agents, environments } = stack().client().beta;
  const [agent, environment] = await Promise.all([
    agents.create({ name: 'a', model, tools: [LOOK_UP, SEARCH, NOTE] }),
    environments.create({ name: 'e' }),
  ]);
  expect(agent.tools).toEqual([LOOK_UP, expect.objectContaining({ type: 'agent_toolset_20260401' }), NOTE]);
  return (await sessions().create({ agent: agent.id, environment_id: environment.id })).id;
}
const send = (id: string, ...events: BetaManagedAgentsEventParams[]) => sessions().events.send(id, { events });
const lookUp = (key: string): FakeBlock => ({ tool: 'look_up', input: { key } });
const result = (custom_tool_use_id: string, text: string) => ({
  type: 'user.custom_tool_result' as const,
  custom_tool_use_id,
  content: [{ type: 'text' as const, text }],
});
const PARK = ['session.thread_status_idle', 'session.usage', 'session.status_idle'];
const RUNNING = ['session.status_running', 'session.thread_status_running'];
const REQUEST = ['span.model_request_start', 'agent.message', 'span.model_request_end'];

/** A session that waits for one answer to `look_up`; resolves to its id and the call's. */
async function parked(): Promise<{ id: string; call: string }> {
  const id = await open();
  await using stream = await follow(stack(), id);
  await send(id, script([{ blocks: [lookUp('a')] }, answer('it is {{last_tool_result}}')]));
  await stream.next('session.status_idle');
  return { id, call: only(stream.events, 'agent.custom_tool_use')[0]!.id };
}
async function ended(id: string): Promise<void> {
  await until(async () => only(await history(stack(), id), 'session.status_idle').at(-1)?.stop_reason.type === 'end_turn', {
    what: 'the turn to end',
    timeoutMs: 20_000,
  });
}

describe('a custom tool', () => {
  verifies('custom.round_trip', async () => {
    const { id, call } = await parked();
    const before = await history(stack(), id);
    expect(types(before)).toEqual([
      ...RUNNING,
      'user.message',
      'span.model_request_start',
      'agent.custom_tool_use',
      'span.model_request_end',
      ...PARK,
    ]);
    const stamp = { id: expect.stringMatching(/^sevt_/), processed_at: expect.any(String) };
    expect(before[4]).toEqual({ type: 'agent.custom_tool_use', ...stamp, name: 'look_up', input: { key: 'a' } });
    expect(only(before, 'session.status_idle')[0]!.stop_reason).toEqual({ type: 'requires_action', event_ids: [call] });
    await using stream = await follow(stack(), id);
    const sent = await send(id, result(call, 'forty-two'));
    expect(sent.data).toEqual([{ ...result(call, 'forty-two'), ...stamp }]);
    await stream.next('session.status_idle');
    expect(types(stream.events)).toEqual(['user.custom_tool_result', ...RUNNING, ...REQUEST, ...PARK]);
    expect(texts(stream.events, 'agent.message')).toEqual(['it is forty-two']);
    const [first, second] = await modelRequests(stack(), id);
    const { type: _type, ...definition } = LOOK_UP;
    expect(first!.body.tools.map(({ cache_control: _mark, ...tool }: { cache_control?: unknown }) => tool)).toEqual([
      expect.objectContaining({ name: 'web_search' }),
      definition,
      { name: 'note', description: NOTE.description, input_schema: NOTE.input_schema },
    ]);
    expect(second!.body.messages.at(-1)).toMatchObject({
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: call, is_error: false, content: [{ type: 'text', text: 'forty-two' }] }],
    });
  });

  verifies('custom.early', async () => {
    const id = await open();
    await using stream = await follow(stack(), id, {
      async onEvent(event) {
        if (event.type === 'agent.custom_tool_use') await send(id, result(event.id, 'at once'));
      },
    });
    const calls = ['a', 'b', 'c'].map(lookUp);
    await send(id, script([{ blocks: calls }, answer('it is {{last_tool_result}}')]));
    await stream.next('session.status_idle', ({ stop_reason }) => stop_reason.type === 'end_turn');
    const events = await history(stack(), id);
    expect(only(events, 'user.custom_tool_result').map(({ custom_tool_use_id }) => custom_tool_use_id)).toEqual(
      only(events, 'agent.custom_tool_use').map(({ id: call }) => call),
    );
    expect(texts(events, 'agent.message')).toEqual(['it is at once']);
    expect(await modelRequests(stack(), id)).toHaveLength(2);
  });

  verifies('custom.content', async () => {
    const { id, call } = await parked();
    const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
    const content = [
      { type: 'text' as const, text: 'see' },
      { type: 'image' as const, source: { type: 'base64' as const, media_type: 'image/png', data: png } },
      { type: 'image' as const, source: { type: 'url' as const, url: 'https://example.com/a.png' } },
      {
        type: 'document' as const,
        source: { type: 'text' as const, media_type: 'text/plain' as const, data: 'words' },
        title: 'T',
        context: null,
      },
      {
        type: 'search_result' as const,
        source: 'https://example.com',
        title: 'S',
        content: [{ type: 'text' as const, text: 'found' }],
        citations: { enabled: false },
      },
    ];
    const sent = await send(id, { type: 'user.custom_tool_result', custom_tool_use_id: call, content });
    expect(sent.data![0]).toMatchObject({ content });
    await ended(id);
    const request = (await modelRequests(stack(), id)).at(-1)!;
    const { context: _none, ...document } = content[3] as { context: null };
    expect(request.body.messages.at(-1).content[0].content).toEqual([content[0], content[1], content[2], document, content[4]]);
    const broken = await parked();
    await send(broken.id, { type: 'user.custom_tool_result', custom_tool_use_id: broken.call, is_error: true });
    await ended(broken.id);
    const told = (await modelRequests(stack(), broken.id)).at(-1)!.body.messages.at(-1).content[0];
    expect(told).toMatchObject({ is_error: true, content: [{ type: 'text', text: '(no output)' }] });
  });

  verifies('custom.parallel', async () => {
    const id = await open();
    await using stream = await follow(stack(), id);
    const calls = [
      lookUp('a'),
      { tool: 'web_search', input: { query: 'q' } },
      { tool: 'note', input: {} },
      { tool: 'bash', input: { command: 'x' } },
    ];
    await send(id, script([{ blocks: calls }, answer('done')]));
    const uses = () => only(stream.events, 'agent.custom_tool_use').map((event) => event.id);
    const first = await stream.next('session.status_idle');
    const [a, b] = uses();
    const ask = only(stream.events, 'agent.tool_use').find(({ name }) => name === 'web_search')!.id;
    expect(first.stop_reason).toEqual({ type: 'requires_action', event_ids: [a, ask, b] });
    await send(id, result(b!, 'noted'));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'requires_action', event_ids: [a, ask] });
    await send(id, { type: 'user.tool_confirmation', tool_use_id: ask, result: 'deny' });
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'requires_action', event_ids: [a] });
    expect(only(stream.events, 'session.status_running')).toHaveLength(1);
    await send(id, result(a!, 'found'));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    const second = (await modelRequests(stack(), id)).at(-1)!;
    expect(
      second.body.messages
        .at(-1)
        .content.map(({ tool_use_id }: { tool_use_id: string }) => tool_use_id)
        .toSorted(),
    ).toEqual([a, b, ask, only(stream.events, 'agent.tool_use').find(({ name }) => name === 'bash')!.id].toSorted());
  });

  verifies('custom.repeated', async () => {
    const { id, call } = await parked();
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => send(id, result(call, `answer ${i}`))));
    const [event] = answers[0]!.data!;
    for (const { data } of answers) expect(data).toEqual([event]);
    await ended(id);
    expect((await send(id, result(call, 'much later'))).data).toEqual([event]);
    expect(only(await history(stack(), id), 'user.custom_tool_result')).toEqual([event]);
  });

  verifies('custom.refusals', async () => {
    const { id, call } = await parked();
    const before = await history(stack(), id);
    const bitmap = { type: 'image' as const, source: { type: 'base64' as const, media_type: 'image/bmp', data: 'AAAA' } };
    const cases: [BetaManagedAgentsEventParams, RegExp][] = [
      [result('sevt_nothing', ''), /events\.0\.custom_tool_use_id: .*no agent\.custom_tool_use event/],
      [
        { type: 'user.tool_confirmation', tool_use_id: call, result: 'allow' },
        /events\.0\.tool_use_id: .*answered by user\.custom_tool_result/,
      ],
      [{ type: 'user.custom_tool_result', custom_tool_use_id: call, content: [bitmap] }, /events\.0\.content\.0\.source\.media_type/],
    ];
    for (const [event, says] of cases) await expectRejection(send(id, event), { status: 400, says });
    expect(await history(stack(), id)).toEqual(before);
    await send(id, INTERRUPT);
    await ended(id);
    await expectRejection(send(id, result(call, 'too late')), { status: 400, says: /waits for no answer any more/ });
  });

  verifies(
    'custom.runner',
    async () => {
      const id = await open();
      const ran: string[] = [];
      const tool = betaTool({
        name: 'look_up',
        description: LOOK_UP.description,
        inputSchema: SCHEMA,
        run: ({ key }) => {
          ran.push(String(key));
          if (key === 'bad') throw new Error('no such key');
          return `value of ${key}`;
        },
      });
      // One call is open before the runner comes.
      await send(id, script([{ blocks: [lookUp('a')] }, { blocks: [lookUp('bad'), lookUp('b')] }, answer('it is {{last_tool_result}}')]));
      const runner = sessions().events.toolRunner(id, { tools: [tool], maxIdleMs: 300 });
      const calls: { name: string; isError: boolean; posted: boolean }[] = [];
      for await (const { name, isError, posted } of runner) calls.push({ name, isError: isError === true, posted });
      expect(ran).toEqual(['a', 'bad', 'b']);
      expect(calls.map(({ isError, posted }) => [isError, posted])).toEqual([
        [false, true],
        [true, true],
        [false, true],
      ]);
      const events = await history(stack(), id);
      expect(only(events, 'user.custom_tool_result')).toHaveLength(3);
      expect(texts(events, 'agent.message')).toEqual(['it is value of b']);
      expect((await sessions().retrieve(id)).status).toBe('idle');
    },
    LONG_MS,
  );
});

describe('a parked session', () => {
  verifies('parked.messages', async () => {
    const { id, call } = await parked();
    const before = await history(stack(), id);
    const says = ['waiting on responses', call];
    await expectRejection(send(id, say('hello?')), { status: 400, says });
    await expectRejection(send(id, say('hello?'), { type: 'system.message', content: [{ type: 'text', text: 'x' }] }), {
      status: 400,
      says,
    });
    expect(await history(stack(), id)).toEqual(before);
    // Behind the last answer it is taken.
    await send(id, result(call, 'there'), script([answer('second')], 'two'));
    await ended(id);
    expect(texts(await history(stack(), id), 'agent.message')).toEqual(['it is there', 'second']);
  });

  verifies('parked.partial', async () => {
    const id = await open();
    await using stream = await follow(stack(), id);
    await send(id, script([{ blocks: ['a', 'b', 'c', 'd'].map(lookUp) }, answer('it is {{last_tool_result}}')]));
    await stream.next('session.status_idle');
    const [a, b, c, d] = only(stream.events, 'agent.custom_tool_use').map((event) => event.id) as [string, string, string, string];
    const stopReason = async () => only(await history(stack(), id), 'session.status_idle').at(-1)!.stop_reason;
    const workers = stack().services('harness');
    for (const worker of workers) worker.pause();
    try {
      const before = (await history(stack(), id)).length;
      await send(id, result(b, 'second'), result(d, 'last'));
      expect(types(await history(stack(), id)).slice(before)).toEqual(['user.custom_tool_result', 'user.custom_tool_result', ...PARK]);
      expect(await stopReason()).toEqual({ type: 'requires_action', event_ids: [a, c] });
      expect((await sessions().retrieve(id)).status).toBe('idle');
    } finally {
      for (const worker of workers) worker.resume();
    }
    // What the events tell of the budget and the title may have changed: then a worker tells it.
    await sessions().update(id, { title: 'changed' });
    await send(id, result(c, 'third'));
    await until(async () => isDeepStrictEqual(await stopReason(), { type: 'requires_action', event_ids: [a] }), {
      what: 'idle with one call',
    });
    await send(id, result(a, 'first'));
    await ended(id);
    const events = await history(stack(), id);
    expect(only(events, 'session.status_running')).toHaveLength(2);
    expectSound(events);
    expect(await modelRequests(stack(), id)).toHaveLength(2);
  });

  verifies(
    'parked.rest',
    async () => {
      const { id, call } = await parked();
      const redis = createRedis(stack().redis.url, 'finite', silentLogger, 'test');
      try {
        const [thread] = await redis.keys(`mh:*:2:${id}:t:*:state`);
        const holder = () => redis.hget(thread!, 'lease_worker');
        await until(async () => (await holder()) === '', { what: 'the lease to be given back' });
        const due = await Promise.all((await redis.keys('mh:*:due')).map((key) => redis.zrangebyscore(key, '-inf', '+inf')));
        expect(due.flat().filter((member) => member.startsWith(id))).toEqual([]);
        // Workers may come and go: nobody touches it, and it still takes its answer.
        await stack().restart('harness', 0);
        await stack().restart('harness', 1);
        expect((await sessions().retrieve(id)).status).toBe('idle');
        expect(await holder()).toBe('');
      } finally {
        redis.disconnect();
      }
      await send(id, result(call, 'still here'));
      await ended(id);
      expect(texts(await history(stack(), id), 'agent.message')).toEqual(['it is still here']);
    },
    LONG_MS,
  );

  verifies('parked.interrupt', async () => {
    const { id, call } = await parked();
    await using stream = await follow(stack(), id);
    await send(id, { ...INTERRUPT, session_thread_id: (await sessions().threads.list(id)).data[0]!.id });
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    expect(types(stream.events)).toEqual(['user.interrupt', 'user.custom_tool_result', 'user.interrupt', ...PARK]);
    expect(only(stream.events, 'user.custom_tool_result')).toMatchObject([
      {
        custom_tool_use_id: call,
        is_error: true,
        content: [{ type: 'text', text: 'Tool execution was interrupted before completion. Please retry.' }],
      },
    ]);
    expect(await modelRequests(stack(), id)).toHaveLength(1);
    await send(id, script([answer('a new start')]));
    await stream.next('agent.message');
    await expectRejection(send(id, { ...INTERRUPT, session_thread_id: 'sthr_other' }), { status: 404, says: 'sthr_other' });
  });

  verifies(
    'parked.crash',
    async () => {
      // Both workers are killed again and again while answers come; every answer counts once, and no call is asked for twice.
      const all = await Promise.all(Array.from({ length: 6 }, open.bind(null, 'fake')));
      const steps = ['a', 'b', 'c'].map((key) => ({ blocks: [lookUp(key), { tool: 'note', input: {} }], delay_ms: 500 }));
      const lives = all.map(async (id) => {
        const answered = new Set<string>();
        await using stream = await follow(stack(), id, {
          async onEvent(event) {
            if (event.type !== 'agent.custom_tool_use' || answered.has(event.id)) return;
            answered.add(event.id);
            await send(id, result(event.id, `for ${event.id}`));
          },
        });
        await send(id, script([...steps, answer('through')]));
        await stream.next('session.status_idle', ({ stop_reason }) => stop_reason.type !== 'requires_action').catch(() => ended(id));
        return id;
      });
      for (const n of [0, 1, 0, 1]) {
        await until(
          async () => (await Promise.all(all.map((id) => history(stack(), id)))).some((events) => types(events).includes('user.message')),
          {
            what: 'work to begin',
          },
        );
        await stack().restart('harness', n);
      }
      let cut = 0;
      for (const id of await Promise.all(lives)) {
        const events = await history(stack(), id);
        const uses = only(events, 'agent.custom_tool_use').map((event) => event.id);
        expect(uses).toHaveLength(6);
        expect(
          only(events, 'user.custom_tool_result')
            .map(({ custom_tool_use_id }) => custom_tool_use_id)
            .toSorted(),
        ).toEqual(uses.toSorted());
        expect(texts(events, 'agent.message')).toEqual(['through']);
        expect(only(events, 'session.error')).toEqual([]);
        cut += only(events, 'span.model_request_end').filter(({ is_error }) => is_error).length;
      }
      expect(cut, 'requests that were cut by a kill').toBeGreaterThan(0);
    },
    120_000,
  );
});

describe('a refusal of the model', () => {
  verifies('turn.refusal', async () => {
    const id = await open();
    await using stream = await follow(stack(), id);
    const stop_details = { type: 'refusal' as const, category: 'bio' as const, explanation: 'not this' };
    await send(id, script([{ blocks: [{ text: 'I will not' }], stop_reason: 'refusal', stop_details }], 'first'));
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'refusal' }, stop_details });
    expect(only(stream.events, 'session.thread_status_idle')[0]).toMatchObject({ stop_reason: { type: 'refusal' }, stop_details });
    await send(id, script([answer('gladly')], 'second'));
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' }, stop_details: null });
    const last = (await modelRequests(stack(), id)).at(-1)!;
    const told = JSON.stringify(last.body.messages);
    expect(told).toContain('first');
    expect(last.body.messages.map(({ role }: { role: string }) => role)).toEqual(['user']);
  });
});

describe('a system message', () => {
  const system = (text: string) => ({ type: 'system.message' as const, content: [{ type: 'text' as const, text }] });

  verifies('system.turn', async () => {
    const id = await open('claude-opus-4-8');
    await using stream = await follow(stack(), id);
    const sent = await send(id, script([{ blocks: [lookUp('a')] }, answer('{{last_tool_result}}')]), system('be brief'));
    expect(sent.data!.at(-1)).toEqual({ ...system('be brief'), id: expect.any(String), processed_at: null });
    await stream.next('session.status_idle');
    const call = only(stream.events, 'agent.custom_tool_use')[0]!.id;
    await send(id, result(call, 'found'), system('be very brief'));
    await stream.next('session.status_idle', ({ stop_reason }) => stop_reason.type === 'end_turn');
    const events = await history(stack(), id);
    expect(types(events).slice(0, 5)).toEqual([...RUNNING, 'user.message', 'system.message', 'span.model_request_start']);
    expect(events.every(({ processed_at }) => processed_at !== null)).toBe(true);
    const [first, second] = await modelRequests(stack(), id);
    expect(first!.body.messages[1]).toEqual({ role: 'system', content: [{ type: 'text', text: 'be brief' }] });
    expect(second!.body.messages.map(({ role }: { role: string }) => role)).toEqual(['user', 'system', 'assistant', 'user', 'system']);
    expect(second!.body.messages.at(-1).content).toEqual([{ type: 'text', text: 'be very brief' }]);
    expect(second!.body.system).toEqual(first!.body.system);
  });

  verifies('system.words', async () => {
    const id = await open();
    await using stream = await follow(stack(), id);
    await send(id, say('hello'), system('be brief'));
    await stream.next('session.status_idle');
    const [first] = await modelRequests(stack(), id);
    expect(first!.body.messages).toHaveLength(1);
    expect(first!.body.messages[0].content).toMatchObject([
      { type: 'text', text: 'hello' },
      { type: 'text', text: expect.stringContaining('be brief') },
    ]);
  });

  verifies('system.refusals', async () => {
    const old = await open('claude-sonnet-4-5');
    await expectRejection(send(old, say('hi'), system('x')), { status: 400, code: 'model_does_not_support_mid_conversation_system' });
    const id = await open();
    const cases: BetaManagedAgentsEventParams[][] = [
      [system('alone')],
      [system('first'), say('hi')],
      [say('hi'), system('one'), system('two')],
      [INTERRUPT, system('behind an interrupt')],
      [say('hi'), { type: 'system.message', content: [] }],
    ];
    for (const events of cases) await expectRejection(send(id, ...events), { status: 400, says: /events\.\d/ });
    expect([...(await history(stack(), id)), ...(await history(stack(), old))]).toEqual([]);
  });
});
