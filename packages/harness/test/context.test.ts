import type { EventBody } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import { expect, test } from 'vitest';
import { type Context, emptyContext, fold, type HiddenFacts } from '../src/context.ts';

function log(...bodies: (EventBody | { body: EventBody; id?: string; hidden?: HiddenFacts; kind?: 'queued' })[]): LogEntry[] {
  return bodies.map((item, i) => {
    const { body, id, hidden, kind } = 'body' in item ? item : { body: item, id: undefined, hidden: undefined, kind: undefined };
    return {
      position: i + 1,
      kind: kind ?? 'event',
      event: { ...body, id: id ?? `e${i + 1}`, processed_at: '2026-01-01T00:00:00.000Z' },
      hidden: hidden ?? null,
      arrival: null,
    };
  });
}
function folded(entries: LogEntry[]): Context {
  const context = emptyContext();
  for (const entry of entries) fold(context, entry);
  return context;
}
const message = (text: string): EventBody => ({ type: 'user.message', content: [{ type: 'text', text }] });
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
      { type: 'session.status_running' },
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
    { type: 'session.status_running' },
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
