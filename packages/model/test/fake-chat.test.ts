/** The fake model's chat completions: what it refuses, what it sends, and what it wants back; and its faults, in both protocols. */
import type Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeModel, fakeScript, startFakeModel } from '../src/testing.ts';
import { ask, BASH, failure, modelFor, never, openAiFor, recorder } from './harness-side.ts';

let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0 });
});
afterAll(() => fake.close());

const HEADERS = { 'content-type': 'application/json', authorization: 'Bearer k' };
async function post(body: unknown, headers: Record<string, string> = HEADERS) {
  const answer = await fetch(`${fake.url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: answer.status, text: await answer.text() };
}
const TOOL = { type: 'function', function: { name: 'bash', description: 'Runs a command', parameters: { type: 'object' } } };
const user = (content: unknown) => ({ role: 'user', content });
const called = (...ids: string[]) => ({
  role: 'assistant',
  content: null,
  tool_calls: ids.map((id) => ({ id, type: 'function', function: { name: 'bash', arguments: '{}' } })),
});
const result = (tool_call_id: string) => ({ role: 'tool', tool_call_id, content: 'ok' });
const base = { model: 'm', max_tokens: 1000, tools: [TOOL], messages: [user('hi')] };

describe('requests that a careful endpoint would refuse', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['no model', { model: undefined }, /model/],
    ['an unknown argument', { speed: 'fast' }, /Unrecognized request argument supplied: speed/],
    ['no messages', { messages: [] }, /at least one message/],
    ['an unknown role', { messages: [{ role: 'robot', content: 'x' }] }, /messages\[0\]\.role/],
    [
      'reasoning that was sent back',
      { messages: [user('x'), { role: 'assistant', content: 'y', reasoning_content: 'z' }, user('w')] },
      /unknown field reasoning_content/,
    ],
    ['an unanswered call', { messages: [user('x'), called('a', 'b'), result('a'), user('y')] }, /did not have response messages: b/],
    ['a call at the end', { messages: [user('x'), called('a')] }, /no response messages/],
    ['a result for nothing', { messages: [user('x'), result('a')] }, /must be a response to a preceding message/],
    [
      'arguments that are no JSON object',
      {
        messages: [
          user('x'),
          { role: 'assistant', tool_calls: [{ id: 'a', type: 'function', function: { name: 'bash', arguments: '[]' } }] },
          result('a'),
        ],
      },
      /arguments that are a JSON object/,
    ],
    ['an empty answer', { messages: [user('x'), { role: 'assistant', content: null }, user('y')] }, /must have content or tool_calls/],
    [
      'an image that is no image',
      { messages: [user([{ type: 'image_url', image_url: { url: 'file:///etc/passwd' } }])] },
      /messages\[0\]\.content\[0\]/,
    ],
    ['a tool without a schema', { tools: [{ type: 'function', function: { name: 'x' } }] }, /tools\[0\]\.function\.parameters/],
    ['stream options without a stream', { stream_options: { include_usage: true } }, /stream_options/],
    ['a broken script', { messages: [user('```fake\n[{"blocks": [}]\n```')] }, /the script is not JSON/],
  ])('%s is a 400 in the error form of this protocol', async (_what, change, message) => {
    const answer = await post({ ...base, ...change });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toEqual({
      error: { message: expect.stringMatching(message), type: 'invalid_request_error', param: null, code: null },
    });
  });

  test('a missing key is a 401', async () => {
    expect((await post(base, { 'content-type': 'application/json' })).status).toBe(401);
  });
});

describe('the wire', () => {
  const script = fakeScript([
    { delta_chars: 3, blocks: [{ thinking: 'hm' }, { text: 'whole' }, { tool: 'bash', input: { command: 'ls' } }] },
  ]);

  test('a request without stream gets one completion', async () => {
    const { text } = await post({ ...base, messages: [user(script)] });
    expect(JSON.parse(text)).toMatchObject({
      object: 'chat.completion',
      model: 'm',
      choices: [
        {
          finish_reason: 'tool_calls',
          message: {
            role: 'assistant',
            content: 'whole',
            reasoning_content: 'hm',
            tool_calls: [{ type: 'function', function: { name: 'bash', arguments: '{"command":"ls"}' } }],
          },
        },
      ],
      usage: { prompt_tokens: expect.any(Number), completion_tokens: expect.any(Number), prompt_tokens_details: { cached_tokens: 0 } },
    });
  });

  test('a stream ends with a finish reason, usage where it was asked for, and [DONE]', async () => {
    const events = async (extra: object) => {
      const { text } = await post({ ...base, messages: [user(script)], stream: true, ...extra });
      return [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) =>
        data === '[DONE]' ? data : (JSON.parse(data!) as { choices: { finish_reason: unknown }[]; usage?: unknown }),
      );
    };
    const plain = await events({});
    expect(plain.at(-1)).toBe('[DONE]');
    expect(plain.at(-2)).toMatchObject({ choices: [{ finish_reason: 'tool_calls' }] });
    expect(plain.filter((event) => typeof event === 'object' && event.usage !== undefined)).toEqual([]);
    const counted = await events({ stream_options: { include_usage: true } });
    expect(counted.at(-2)).toMatchObject({ choices: [], usage: { prompt_tokens: expect.any(Number) } });
  });

  test('both protocols list the model in their own form', async () => {
    const list = async (headers: Record<string, string>) =>
      (await (await fetch(`${fake.url}/v1/models`, { headers })).json()) as { object?: string; has_more?: boolean };
    expect((await list({ authorization: 'Bearer k' })).object).toBe('list');
    expect((await list({ 'x-api-key': 'k', 'anthropic-version': '2023-06-01' })).has_more).toBe(false);
  });

  test('the default job works over this protocol too', async () => {
    const answer = await openAiFor(fake.url).stream(ask('What is here?'), recorder(), never);
    expect(answer.content).toMatchObject([{ text: expect.stringContaining('What is here?') }, { type: 'tool_use', name: 'bash' }]);
  });
});

describe('what the fake model wants back', () => {
  const said = fakeScript([{ blocks: [{ thinking: 'first think' }, { tool: 'bash', input: {} }] }, { blocks: [{ text: 'done' }] }]);
  async function goOn(change: (content: Anthropic.ContentBlock[]) => Anthropic.ContentBlock[]): Promise<unknown> {
    const model = modelFor(fake.url);
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content: said }];
    const answer = await model.stream(ask('', { messages, tools: [BASH] }), recorder(), never);
    const call = answer.content.find((block) => block.type === 'tool_use')!;
    messages.push(
      { role: 'assistant', content: change(answer.content) as Anthropic.ContentBlockParam[] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: 'ok' }] },
    );
    return model.stream(ask('', { messages, tools: [BASH] }), recorder(), never);
  }

  test('thinking that comes back unchanged with its signature is taken', async () => {
    expect(await goOn((content) => content)).toMatchObject({ content: [{ text: 'done' }] });
  });
  test('thinking that was left out before a tool call is refused', async () => {
    const error = await failure(goOn((content) => content.filter((block) => block.type !== 'thinking')));
    expect(error).toMatchObject({ reason: 'invalid_request', message: expect.stringContaining('Expected `thinking`') });
  });
  test('thinking that was changed is refused', async () => {
    const error = await failure(
      goOn((content) => content.map((block) => (block.type === 'thinking' ? { ...block, thinking: 'other' } : block))),
    );
    expect(error).toMatchObject({ reason: 'invalid_request', message: expect.stringContaining('signature') });
  });
});

test('a fake model with a context window refuses what is longer, in both protocols', async () => {
  const narrow = await startFakeModel({ port: 0, contextWindow: 500 });
  try {
    for (const model of [modelFor(narrow.url), openAiFor(narrow.url)]) {
      expect((await model.stream(ask('short', { tools: [] }), recorder(), never)).stopReason).toBe('end_turn');
      expect(await failure(model.stream(ask('x'.repeat(4000), { tools: [] }), recorder(), never))).toMatchObject({
        reason: 'context_window',
      });
    }
  } finally {
    await narrow.close();
  }
});
