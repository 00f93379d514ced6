import type { BuiltinToolContent, EventBody } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import { describe, expect, test } from 'vitest';
import { type Context, emptyContext, fold, type HiddenFacts } from '../src/context/context.ts';
import { buildPrompt } from '../src/prompt/prompt.ts';
import { startableCalls, waitingCalls } from '../src/tools/open-calls.ts';

function log(...bodies: (EventBody | { body: EventBody; id?: string; hidden?: HiddenFacts; kind?: 'queued' })[]): LogEntry[] {
  return bodies.map((item, i) => {
    const { body, id, hidden, kind } = 'body' in item ? item : { body: item, id: undefined, hidden: undefined, kind: undefined };
    return {
      position: i + 1,
      sequence: i + 1,
      kind: kind ?? 'event',
      event: { ...body, id: id ?? `e${i + 1}`, processed_at: '2026-01-01T00:00:00.000Z' },
      hidden: hidden ?? null,
      arrival: null,
      copyOf: null,
    };
  });
}
function folded(entries: LogEntry[]): Context {
  const context = emptyContext();
  for (const entry of entries) fold(context, entry);
  return context;
}
const message = (text: string): EventBody => ({ type: 'user.message', content: [{ type: 'text', text }] });
const RUNNING: EventBody = { type: 'session.thread_status_running', session_thread_id: 'sthr_a', agent_name: 'tester' };
const start: EventBody = { type: 'span.model_request_start' };
const end = (isError = false): EventBody => ({
  type: 'span.model_request_end',
  model_request_start_id: 's',
  is_error: isError,
  model_usage: { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
});
const answer = (text: string): EventBody => ({ type: 'agent.message', content: [{ type: 'text', text }] });
const use = (id: string) => ({
  id,
  body: { type: 'agent.tool_use', name: 'bash', input: { command: 'x' }, evaluated_permission: 'allow' } as EventBody,
});
const result = (id: string): EventBody => ({
  type: 'agent.tool_result',
  tool_use_id: id,
  is_error: false,
  content: [{ type: 'text', text: 'out' }],
});

test('a turn with tools folds into alternating messages with event ids as call ids', () => {
  const context = folded(
    log(
      RUNNING,
      message('hi'),
      start,
      answer('let me see'),
      use('t1'),
      use('t2'),
      end(),
      result('t2'),
      result('t1'),
      start,
      answer('done'),
      end(),
    ),
  );
  expect(context.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  expect(context.messages[1]?.content).toMatchObject([{ type: 'text' }, { type: 'tool_use', id: 't1' }, { type: 'tool_use', id: 't2' }]);
  expect(context.messages[2]?.content).toMatchObject([{ tool_use_id: 't2' }, { tool_use_id: 't1' }]);
  expect(context).toMatchObject({ openCalls: [], awaitsModel: false, turnOpen: true, openSpan: null });
});

test('the model is awaited only once every call has its result', () => {
  const entries = log(message('hi'), start, use('t1'), use('t2'), end(), result('t1'));
  expect(folded(entries).openCalls.map(({ id }) => id)).toEqual(['t2']);
});

test('an answer whose request was cut is not in the context', () => {
  const context = folded(log(message('hi'), start, answer('half'), end(true)));
  expect(context.messages).toHaveLength(1);
  expect(context.awaitsModel).toBe(true);
});

test('an interrupted message stays in the context and joins the next one', () => {
  const context = folded(log(message('one'), start, end(true), { type: 'user.interrupt', session_thread_id: null }, message('two')));
  expect(context.messages).toEqual([
    {
      role: 'user',
      content: [
        { type: 'text', text: 'one' },
        { type: 'text', text: 'two' },
      ],
    },
  ]);
  expect(context.awaitsModel).toBe(true);
});

test('queued events are no context before they are stamped', () => {
  const context = folded(log({ body: message('later'), kind: 'queued' }));
  expect(context).toMatchObject({ messages: [], awaitsModel: false, position: 1 });
});

test('thinking blocks are carried back with their signature and before the calls they led to', () => {
  const block = { type: 'thinking' as const, thinking: 'hm', signature: 'sig' };
  const context = folded(log(message('hi'), start, { body: { type: 'agent.thinking' }, hidden: { block } }, use('t1'), end()));
  expect(context.messages[1]?.content).toMatchObject([block, { type: 'tool_use' }]);
});

test('folding from a checkpoint gives what folding from the beginning gives', () => {
  const entries = log(
    RUNNING,
    message('hi'),
    start,
    answer('a'),
    use('t1'),
    end(),
    result('t1'),
    start,
    answer('b'),
    end(),
    message('more'),
  );
  for (let cut = 0; cut <= entries.length; cut++) {
    const checkpoint = JSON.parse(JSON.stringify(folded(entries.slice(0, cut)))) as Context;
    for (const entry of entries) fold(checkpoint, entry);
    expect(checkpoint).toEqual(folded(entries));
  }
});

test('images and documents of a tool reach the model as they are; blank text and what an error may not hold do not', () => {
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } } as const;
  const pdf = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERg==' } } as const;
  const given = (content: BuiltinToolContent, isError = false) => {
    const body: EventBody = { type: 'agent.tool_result', tool_use_id: 't1', is_error: isError, content };
    const [block] = folded(log(message('hi'), start, use('t1'), end(), body)).messages.at(-1)!.content;
    return block?.type === 'tool_result' ? block.content : null;
  };
  const text = (said: string) => ({ type: 'text', text: said }) as const;
  expect(given([image, pdf, text(' \n')])).toEqual([image, pdf]);
  expect(given([text('\n')])).toEqual([text('(no output)')]);
  expect(given([])).toEqual([text('(no output)')]);
  expect(given([text('why'), image], true)).toEqual([text('why')]);
  expect(given([image], true)).toEqual([text('(no output)')]);
  const found = {
    type: 'search_result',
    source: 'https://a.example/',
    title: 'A',
    content: [text('said')],
    citations: { enabled: false },
  } as const;
  // Not every endpoint knows blocks of search results.
  expect(given([{ ...found, content: [...found.content] }])).toEqual([text('A\nhttps://a.example/\nsaid')]);
});

describe('calls that wait for the client', () => {
  const asked = (id: string) => ({
    id,
    body: { type: 'agent.tool_use', name: 'bash', input: {}, evaluated_permission: 'ask', evaluation: { type: 'always_ask' } } as EventBody,
  });
  const customUse = (id: string) => ({ id, body: { type: 'agent.custom_tool_use', name: 'look_up', input: {} } as EventBody });
  const confirmed = (id: string, verdict: 'allow' | 'deny'): EventBody => ({
    type: 'user.tool_confirmation',
    tool_use_id: id,
    result: verdict,
  });
  const answered = (id: string, text = 'out'): EventBody => ({
    type: 'user.custom_tool_result',
    custom_tool_use_id: id,
    content: [{ type: 'text', text }],
  });
  const idle = (...event_ids: string[]): EventBody => ({
    type: 'session.thread_status_idle',
    session_thread_id: 'sthr_a',
    agent_name: 'tester',
    stop_reason: { type: 'requires_action', event_ids },
    stop_details: null,
  });
  const before = [message('hi'), start, asked('t1'), customUse('t2'), use('t3'), end(), result('t3')];

  test('stay open while the session is parked, and what came meanwhile waits for the model', () => {
    const context = folded(log(RUNNING, ...before, idle('t1', 't2'), answered('t2')));
    expect(context).toMatchObject({ turnOpen: false, awaitsModel: true, parkedOn: ['t1', 't2'] });
    expect(waitingCalls(context).map(({ id }) => id)).toEqual(['t1']);
    expect(startableCalls(context)).toEqual([]);
  });

  test('run once nothing waits and the session is told running; a denied one needs neither', () => {
    const partly = folded(log(RUNNING, ...before, idle('t1', 't2'), confirmed('t1', 'allow')));
    expect(startableCalls(partly)).toEqual([]);
    const all = [RUNNING, ...before, idle('t1', 't2'), confirmed('t1', 'allow'), answered('t2')];
    expect(startableCalls(folded(log(...all)))).toEqual([]);
    expect(startableCalls(folded(log(...all, RUNNING))).map(({ id }) => id)).toEqual(['t1']);
    const denied = folded(log(RUNNING, ...before, idle('t1', 't2'), confirmed('t1', 'deny')));
    expect(startableCalls(denied)).toMatchObject([{ id: 't1', refusal: 'Permission to use bash has been denied.' }]);
  });

  test('have one result, whoever else writes one', () => {
    const context = folded(log(...before, answered('t2', 'first'), answered('t2', 'second')));
    const results = context.messages.at(-1)!.content.filter((block) => block.type === 'tool_result' && block.tool_use_id === 't2');
    expect(results).toMatchObject([{ content: [{ text: 'first' }] }]);
  });

  test('fold alike from any checkpoint', () => {
    const entries = log(
      RUNNING,
      ...before,
      idle('t1', 't2'),
      answered('t2'),
      confirmed('t1', 'allow'),
      RUNNING,
      result('t1'),
      { type: 'system.message', content: [{ type: 'text', text: 'be brief' }] },
      start,
      answer('a'),
      end(),
    );
    for (let cut = 0; cut <= entries.length; cut++) {
      const checkpoint = JSON.parse(JSON.stringify(folded(entries.slice(0, cut)))) as Context;
      for (const entry of entries) fold(checkpoint, entry);
      expect(checkpoint).toEqual(folded(entries));
    }
  });
});

describe('a system message', () => {
  const said: EventBody = { type: 'system.message', content: [{ type: 'text', text: 'be brief' }] };
  const agent = (id: string) =>
    ({ system: null, tools: [], model: { id, effort: { type: 'high' } } }) as unknown as Parameters<typeof buildPrompt>[0];
  const roles = (id: string, entries: LogEntry[]) => buildPrompt(agent(id), folded(entries), 100, 's').messages.map(({ role }) => role);

  test('is a turn of its own for models that take such turns, and words in the user turn for others', () => {
    const entries = log(message('hi'), said, start, answer('yes'), end(), message('more'), said, message('and more'));
    expect(roles('claude-opus-4-8', entries)).toEqual(['user', 'system', 'assistant', 'user', 'system', 'user']);
    expect(roles('some-model', entries)).toEqual(['user', 'assistant', 'user']);
    const last = buildPrompt(agent('some-model'), folded(entries), 100, 's').messages.at(-1)!.content;
    expect(last).toMatchObject([
      { text: 'more' },
      { text: expect.stringMatching(/<system_message>[\s\S]*be brief/) },
      { text: 'and more' },
    ]);
  });

  test('leaves what stands before it as it was, so that the prefix is read from the cache', () => {
    const entries = log(message('hi'), said, start, answer('yes'), end(), message('more'));
    for (const id of ['claude-opus-4-8', 'some-model']) {
      const bare = (upTo: number) =>
        buildPrompt(agent(id), folded(entries.slice(0, upTo)), 100, 's').messages.map((one) =>
          JSON.stringify(one).replaceAll(',"cache_control":{"type":"ephemeral"}', ''),
        );
      const first = bare(2);
      expect(bare(6).slice(0, first.length)).toEqual(first);
    }
  });
});

test('an answer that is a refusal is told and not remembered', () => {
  const details = { type: 'refusal', category: null, explanation: null } as const;
  const context = folded(log(message('hi'), start, answer('no'), { body: end(), hidden: { refused: details } }));
  expect(context.messages.map(({ role }) => role)).toEqual(['user']);
  expect(context).toMatchObject({ awaitsModel: false, refused: details });
});
