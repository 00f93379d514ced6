/** Turns of an agent without a sandbox: order, queue, usage, prompts, workers that come and go. */
import type { FakeStep } from '@manyhands/model/testing';
import { describe, expect } from 'vitest';
import { raw } from '../client.ts';
import {
  answer,
  expectSound,
  follow,
  history,
  modelRequests,
  only,
  openSession,
  say,
  script,
  send,
  texts,
  types,
} from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns' });
const sessions = () => stack().client().beta.sessions;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const NO_USAGE = { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
/** An answer that takes a while: one piece each 50 ms. */
const slow = (text = 'slowly, slowly, slowly, and never in a hurry at all'): FakeStep => ({
  blocks: [{ text }],
  delta_ms: 50,
  delta_chars: 1,
});
const END = ['session.thread_status_idle', 'session.usage', 'session.status_idle'];
const REQUEST = ['span.model_request_start', 'agent.message', 'span.model_request_end'];
const RUNNING = ['session.status_running', 'session.thread_status_running'];

describe('a turn', () => {
  verifies(['turn.order', 'turn.events'], async () => {
    const id = await openSession(stack());
    const thread = id.replace('sesn_', 'sthr_');
    await using stream = await follow(stack(), id);
    const message = script([answer('Hello.')], 'hi');
    const sent = await send(stack(), id, message);
    await stream.next('session.status_idle');
    expect(types(stream.events)).toEqual(['user.message', ...RUNNING, 'user.message', ...REQUEST, ...END]);
    const stamp = { id: expect.stringMatching(/^sevt_\w+$/), processed_at: expect.stringMatching(RFC3339) };
    const start = stream.events[4] as { id: string };
    const usage = {
      input_tokens: expect.any(Number),
      output_tokens: expect.any(Number),
      cache_creation_input_tokens: expect.any(Number),
      cache_read_input_tokens: 0,
    };
    expect(stream.events).toEqual([
      sent.data![0],
      { type: 'session.status_running', ...stamp },
      { type: 'session.thread_status_running', ...stamp, session_thread_id: thread, agent_name: 'tester' },
      { ...sent.data![0], processed_at: stamp.processed_at },
      { type: 'span.model_request_start', ...stamp },
      { type: 'agent.message', ...stamp, content: [{ type: 'text', text: 'Hello.' }] },
      { type: 'span.model_request_end', ...stamp, model_request_start_id: start.id, is_error: false, model_usage: usage },
      {
        type: 'session.thread_status_idle',
        ...stamp,
        session_thread_id: thread,
        agent_name: 'tester',
        stop_reason: { type: 'end_turn' },
        stop_details: null,
      },
      { type: 'session.usage', ...stamp, usage: expect.any(Object), budget: null },
      { type: 'session.status_idle', ...stamp, stop_reason: { type: 'end_turn' }, stop_details: null },
    ]);
    const listed = await history(stack(), id);
    expectSound(listed);
    // The list is the stream, with what was queued shown once, where it was taken up.
    expect(listed).toEqual(stream.events.slice(1));
  });

  verifies('turn.status_true', async () => {
    const id = await openSession(stack());
    const seen: string[] = [];
    await using stream = await follow(stack(), id, {
      async onEvent(event) {
        if (event.type === 'session.status_idle' || event.type === 'session.thread_status_idle') {
          const [session, threads] = await Promise.all([sessions().retrieve(id), sessions().threads.list(id)]);
          seen.push(`${session.status} ${threads.data[0]!.status}`);
        }
      },
    });
    for (let round = 0; round < 5; round++) {
      await send(stack(), id, script([answer('x')], `${round}`));
      await stream.next('session.status_idle');
    }
    expect(seen).toEqual(Array.from({ length: 10 }, () => 'idle idle'));
    // So what follows an idle needs no waiting.
    await send(stack(), id, script([answer('last')]));
    await stream.next('session.status_idle');
    expect((await sessions().archive(id)).status).toBe('terminated');
  });

  verifies('turn.initial_events', async () => {
    const id = await openSession(stack(), {}, { initial_events: [script([answer('one')]), script([answer('two')])] });
    await expect.poll(async () => (await sessions().retrieve(id)).status, { timeout: 15_000 }).toBe('idle');
    const events = await history(stack(), id);
    expect(types(events)).toEqual([...RUNNING, 'user.message', ...REQUEST, 'user.message', ...REQUEST, ...END]);
    expect(texts(events, 'agent.message')).toEqual(['one', 'two']);
  });

  verifies('turn.queued', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([slow('one one one')], 'first'));
    await stream.next('span.model_request_start');
    await send(stack(), id, script([answer('two')], 'second'), script([answer('three')], 'third'));
    const waiting = await history(stack(), id);
    expect(waiting.slice(-2).map(({ processed_at }) => processed_at)).toEqual([null, null]);
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    expect(types(events)).toEqual([...RUNNING, ...[1, 2, 3].flatMap(() => ['user.message', ...REQUEST]), ...END]);
    expect(texts(events, 'agent.message')).toEqual(['one one one', 'two', 'three']);
    const [first, second, third] = await modelRequests(stack(), id);
    expect(JSON.stringify(first!.body)).not.toContain('second');
    expect(JSON.stringify(second!.body)).not.toContain('third');
    expect(third!.body.messages.map(({ role }: { role: string }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user']);
  });

  verifies('turn.many', async () => {
    const ids = await Promise.all(
      Array.from({ length: 25 }, (_, i) => openSession(stack(), {}, { initial_events: [script([answer(`answer ${i}`)])] })),
    );
    for (const [i, id] of ids.entries()) {
      await expect.poll(async () => (await sessions().retrieve(id)).status, { timeout: 30_000 }).toBe('idle');
      const events = await history(stack(), id);
      expectSound(events);
      expect(texts(events, 'agent.message')).toEqual([`answer ${i}`]);
    }
  });

  verifies('turn.blocks', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ blocks: [{ thinking: 'secret thoughts' }, { text: 'a' }, { text: 'b' }] }, answer('unused')]));
    await stream.next('session.status_idle');
    expect(types(await history(stack(), id))).toEqual([
      ...RUNNING,
      'user.message',
      'span.model_request_start',
      'agent.thinking',
      'agent.message',
      'agent.message',
      'span.model_request_end',
      ...END,
    ]);
    const byAgent = (await history(stack(), id)).filter(({ type }) => type !== 'user.message');
    expect(JSON.stringify(byAgent)).not.toContain('secret');
    const thinking = only(stream.events, 'agent.thinking')[0]!;
    expect(Object.keys(thinking).toSorted()).toEqual(['id', 'processed_at', 'type']);
    // The block goes back to the model with its signature, or the fake model would refuse it.
    await send(stack(), id, script([answer('again')]));
    await stream.next('session.status_idle');
    const last = (await modelRequests(stack(), id)).at(-1)!;
    expect(last.outcome).toBe('answered');
    expect(last.body.messages[1].content[0]).toMatchObject({
      type: 'thinking',
      thinking: 'secret thoughts',
      signature: expect.any(String),
    });
  });

  verifies('turn.empty', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ blocks: [] }]));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    await send(stack(), id, script([{ blocks: [{ text: '   ' }] }]));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    expect(only(stream.events, 'agent.message')).toEqual([]);
    await send(stack(), id, script([answer('still here')]));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    expect(texts(stream.events, 'agent.message')).toEqual(['still here']);
  });

  verifies('turn.blank', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, say('  \n'));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    await send(stack(), id, script([answer('fine')]));
    expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
    expect(texts(stream.events, 'agent.message').at(-1)).toBe('fine');
  });
});

describe('usage and prompts', () => {
  verifies(['usage.sums', 'usage.cache'], async () => {
    const id = await openSession(stack(), { system: 'You are a tester. '.repeat(50), tools: ['web_search'] });
    await using stream = await follow(stack(), id);
    for (let round = 0; round < 3; round++) {
      await send(
        stack(),
        id,
        script([{ blocks: [{ tool: 'web_search', input: { query: 'x' } }] }, answer(`answer ${round}`)], `round ${round}`),
      );
      await stream.next('session.status_idle');
    }
    const events = await history(stack(), id);
    const spans = only(events, 'span.model_request_end').map(({ model_usage }) => model_usage);
    expect(spans).toHaveLength(6);
    const sum = (key: keyof typeof NO_USAGE) => spans.reduce((total, span) => total + span[key], 0);
    const session = await sessions().retrieve(id);
    expect(session.usage).toEqual({
      input_tokens: sum('input_tokens'),
      output_tokens: sum('output_tokens'),
      cache_read_input_tokens: sum('cache_read_input_tokens'),
      cache_creation: { ephemeral_5m_input_tokens: sum('cache_creation_input_tokens'), ephemeral_1h_input_tokens: 0 },
      active_seconds: expect.any(Number),
      list_cost: null,
      server_tool_use: null,
    });
    const told = only(events, 'session.usage').map(({ usage }) => usage);
    // What is not known is null in the session and left out of the event.
    expect({ ...told.at(-1), list_cost: null, server_tool_use: null }).toEqual(session.usage);
    expect(told.map(({ output_tokens }) => output_tokens)).toEqual(
      told.map(({ output_tokens }) => output_tokens).toSorted((a, b) => a! - b!),
    );
    expect(session.usage.active_seconds).toBeGreaterThan(0);
    expect(session.stats.active_seconds).toBe(session.usage.active_seconds);
    expect(session.stats.duration_seconds).toBeGreaterThanOrEqual(session.stats.active_seconds!);
    expect((await sessions().threads.list(id)).data[0]!.usage).toEqual(session.usage);
    // Every request reads what the one before wrote.
    const reads = spans.map(({ cache_read_input_tokens }) => cache_read_input_tokens);
    expect(reads[0]).toBe(0);
    for (let i = 1; i < reads.length; i++) expect(reads[i]).toBeGreaterThan(reads[i - 1]!);
    for (const [i, span] of spans.entries())
      if (i > 0)
        expect(span.cache_read_input_tokens).toBe(spans[i - 1]!.cache_read_input_tokens + spans[i - 1]!.cache_creation_input_tokens);
  });

  verifies('prompt.agent', async () => {
    const id = await openSession(stack(), {
      system: 'Speak like a pirate.',
      model: { id: 'any-model', effort: 'low' },
      tools: ['web_search', 'web_fetch'],
    });
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([answer('arr')]));
    await stream.next('session.status_idle');
    const [request] = await modelRequests(stack(), id);
    expect(request!.body).toMatchObject({ model: 'any-model', stream: true, output_config: { effort: 'low' } });
    expect(JSON.stringify(request!.body.system)).toContain('Speak like a pirate.');
    expect(request!.body.tools.map(({ name }: { name: string }) => name).toSorted()).toEqual(['web_fetch', 'web_search']);
    const bare = await openSession(stack());
    await using other = await follow(stack(), bare);
    await send(stack(), bare, script([answer('x')]));
    await other.next('session.status_idle');
    const [plain] = await modelRequests(stack(), bare);
    expect(plain!.body.tools ?? []).toEqual([]);
    expect(plain!.body.system ?? []).toEqual([]);
  });
});

describe('calls that need no sandbox', () => {
  verifies('tools.denied', async () => {
    const id = await openSession(stack(), { tools: ['web_search'] });
    await using stream = await follow(stack(), id);
    await send(
      stack(),
      id,
      script([
        { blocks: [{ text: 'trying' }, { tool: 'bash', input: { command: 'true' } }, { tool: 'teleport', input: { to: 'moon' } }] },
        answer('{{last_tool_result}}'),
      ]),
    );
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    const uses = only(events, 'agent.tool_use');
    expect(uses).toEqual([
      {
        type: 'agent.tool_use',
        id: expect.any(String),
        processed_at: expect.any(String),
        name: 'bash',
        input: { command: 'true' },
        evaluated_permission: 'deny',
      },
      {
        type: 'agent.tool_use',
        id: expect.any(String),
        processed_at: expect.any(String),
        name: 'teleport',
        input: { to: 'moon' },
        evaluated_permission: 'deny',
      },
    ]);
    const results = only(events, 'agent.tool_result');
    expect(results.every(({ is_error }) => is_error)).toBe(true);
    expect(texts(events, 'agent.tool_result')).toEqual(['Permission to use bash has been denied.', expect.stringContaining('teleport')]);
    expect(texts(events, 'agent.message').at(-1)).toContain('teleport');
  });

  verifies('tools.web_search', async () => {
    const id = await openSession(stack(), { tools: ['web_search'] });
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ blocks: [{ tool: 'web_search', input: { query: 'x' } }] }, answer('so be it')]));
    await stream.next('session.status_idle');
    expect(only(stream.events, 'agent.tool_use')[0]).toMatchObject({ evaluated_permission: 'allow', evaluation: { type: 'always_allow' } });
    expect(only(stream.events, 'agent.tool_result')[0]).toMatchObject({ is_error: true });
    expect(texts(stream.events, 'agent.tool_result')[0]).toMatch(/configured/);
    expect(texts(stream.events, 'agent.message')).toEqual(['so be it']);
  });

  verifies('tools.broken_input', async () => {
    const id = await openSession(stack(), { tools: ['web_search'] });
    await using stream = await follow(stack(), id);
    for (const raw_input of ['{"query": ', '[1]', '"text"', 'null', ''])
      await send(stack(), id, script([{ blocks: [{ tool: 'web_search', raw_input }] }, answer(`after ${raw_input}`)]));
    for (let left = 5; left > 0; left--) await stream.next('agent.message');
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    expect(only(events, 'agent.tool_result').every(({ is_error }) => is_error)).toBe(true);
    expect(only(events, 'agent.tool_use').every(({ input }) => typeof input === 'object' && !Array.isArray(input))).toBe(true);
  });
});

describe('workers', () => {
  verifies('board.jobs', async () => {
    const id = await openSession(stack());
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([slow()]));
    await stream.next('span.model_request_start');
    const ofSession = async (status: string) => {
      const page = await raw(stack(), 'GET', `/admin/queues/api/queues?activeQueue=turns&status=${status}&page=1&jobsPerPage=100`);
      const turns = page.body.queues.find(({ name }: { name: string }) => name === 'turns');
      return turns.jobs.find(({ data }: { data: { session_id: string } }) => data.session_id === id);
    };
    await expect.poll(async () => JSON.stringify((await ofSession('active'))?.progress), { timeout: 10_000 }).toContain('model');
    const job = await ofSession('active');
    expect(job).toMatchObject({ data: { session_id: id }, attemptsStarted: 1, processedBy: expect.any(String) });
    expect(Object.keys(job.data).toSorted()).toEqual(['format', 'session_id', 'thread_id', 'traceparent', 'workspace_id']);
    const logs = await raw(stack(), 'GET', `/admin/queues/api/queues/turns/${job.id}/logs`);
    expect(logs.body.some((line: string) => line.includes('worker'))).toBe(true);
    await stream.next('session.status_idle');
    await expect.poll(async () => (await ofSession('completed'))?.id, { timeout: 10_000 }).toBe(job.id);
  });

  verifies(
    'turn.drain',
    async () => {
      await stack().add('harness');
      const id = await openSession(stack(), { tools: ['web_search'] });
      await using stream = await follow(stack(), id);
      await send(
        stack(),
        id,
        script([
          { blocks: [{ text: 'looking it up, slowly' }, { tool: 'web_search', input: { query: 'x' } }], delta_ms: 50, delta_chars: 1 },
          answer('found'),
        ]),
      );
      await stream.next('span.model_request_start');
      await stack().kill('harness', 0, 'SIGTERM');
      await stream.next('session.status_idle');
      const events = await history(stack(), id);
      expectSound(events);
      expect(only(events, 'span.model_request_end').map(({ is_error }) => is_error)).toEqual([false, false]);
      expect(texts(events, 'agent.message')).toEqual(['looking it up, slowly', 'found']);
      expect(types(events).filter((type) => type.startsWith('session.'))).toEqual([...RUNNING, ...END]);
    },
    60_000,
  );

  verifies(
    'turn.takeover',
    async () => {
      const id = await openSession(stack());
      await using stream = await follow(stack(), id, { deltas: ['agent.message'] });
      await send(stack(), id, script([slow()]));
      await stream.next('event_delta');
      await stack().kill('harness', 1);
      await stack().add('harness');
      await stream.next('session.status_idle');
      const events = await history(stack(), id);
      expectSound(events);
      expect(types(events)).toEqual([...RUNNING, 'user.message', 'span.model_request_start', 'span.model_request_end', ...REQUEST, ...END]);
      expect(only(events, 'span.model_request_end').map(({ is_error }) => is_error)).toEqual([true, false]);
      const starts = only(stream.events, 'event_start').map(({ event }) => event.id);
      expect(starts).toHaveLength(2);
      expect(starts[1]).toBe(only(events, 'agent.message')[0]!.id);
    },
    60_000,
  );
});
