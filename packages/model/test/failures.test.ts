/** What fails is told alike by both adapters, and a broken answer is never half of one. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MODEL_FAILURE_REASONS, type ModelClient } from '../src/index.ts';
import { type FakeModel, type FakeStep, startFakeModel } from '../src/testing.ts';
import { ask, askScript, failure, modelFor, never, openAiFor, recorder } from './harness-side.ts';

let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0, pingIntervalMs: 50 });
});
afterAll(() => fake.close());

const adapters: [string, (timeoutMs?: number, url?: string) => ModelClient][] = [
  ['the Anthropic adapter', (timeoutMs = 20_000, url = fake.url) => modelFor(url, timeoutMs)],
  [
    'the OpenAI-compatible adapter',
    (timeoutMs = 20_000, url = fake.url) => openAiFor(url, { firstTokenTimeoutMs: timeoutMs, stallTimeoutMs: timeoutMs }),
  ],
];
const long = {
  delta_chars: 3,
  blocks: [{ text: 'a long enough text to be broken in its middle' }, { tool: 'bash', input: { command: 'ls' } }],
};

describe.each(adapters)('%s', (_name, adapter) => {
  const fail = (step: FakeStep, timeoutMs?: number) => failure(adapter(timeoutMs).stream(askScript([step]), recorder(), never));

  const statuses = [
    [400, 'invalid_request_error', 'invalid_request', 'request_failed', false],
    [401, 'authentication_error', 'authentication', 'authentication', false],
    [402, 'billing_error', 'billing', 'billing', false],
    [403, 'permission_error', 'permission', 'authentication', false],
    [403, 'billing_error', 'billing', 'billing', false],
    [404, 'not_found_error', 'not_found', 'request_failed', false],
    [408, 'timeout_error', 'timeout', 'request_failed', true],
    [409, 'api_error', 'server_error', 'request_failed', true],
    [413, 'request_too_large', 'invalid_request', 'request_failed', false],
    [429, 'rate_limit_error', 'rate_limited', 'rate_limited', true],
    [500, 'api_error', 'server_error', 'request_failed', true],
    [502, 'api_error', 'server_error', 'request_failed', true],
    [503, 'overloaded_error', 'overloaded', 'overloaded', true],
    [504, 'timeout_error', 'timeout', 'request_failed', true],
    [529, 'overloaded_error', 'overloaded', 'overloaded', true],
  ] as const;
  test.each(statuses)('tells status %i %s as %s (%s), retryable: %s', async (status, type, reason, kind, retryable) => {
    const error = await fail({ error: { status, type } });
    expect(error).toMatchObject({ reason, kind, retryable, code: retryable ? 'unavailable' : 'internal', details: { status, type } });
    expect(MODEL_FAILURE_REASONS).toContain(error.reason);
  });

  test.each([429, 529])('tells how long to wait after %i, and succeeds when the trouble is over', async (status) => {
    const script = askScript([{ error: { status, type: 'x', retry_after: 7, times: 2 }, blocks: [{ text: 'at last' }] }]);
    const model = adapter();
    for (let n = 0; n < 2; n++)
      expect(await failure(model.stream(script, recorder(), never))).toMatchObject({ retryAfterMs: 7000, retryable: true });
    expect((await model.stream(script, recorder(), never)).content).toMatchObject([{ text: 'at last' }]);
  });

  test.each([
    ['cut', 'cut_stream'],
    ['end', 'cut_stream'],
    ['malformed', 'malformed'],
    ['error_event', 'overloaded'],
  ] as const)('tells an answer with the fault %s as %s, gives no half of it, and gets the next one whole', async (fault, reason) => {
    const listener = recorder();
    const script = askScript([{ ...long, fault }]);
    const model = adapter();
    expect(await failure(model.stream(script, listener, never))).toMatchObject({ reason, retryable: true });
    expect(listener.texts.length).toBeGreaterThan(0);
    expect(await model.stream(script, recorder(), never)).toMatchObject({
      stopReason: 'tool_use',
      content: [long.blocks[0], { name: 'bash' }],
    });
  });

  test('tells silence as timeout, before the first byte and in the middle', async () => {
    expect(await fail({ ...long, fault: 'hang' }, 300)).toMatchObject({ reason: 'timeout', retryable: true });
    expect(await fail({ ...long, fault: 'stall' }, 300)).toMatchObject({ reason: 'timeout', retryable: true });
  });

  test('tells a refused connection as connection', async () => {
    const gone = await startFakeModel({ port: 0 });
    await gone.close();
    const refused = await failure(adapter(undefined, gone.url).stream(ask('hi'), recorder(), never));
    expect(refused).toMatchObject({ reason: 'connection', retryable: true, message: expect.stringContaining('ECONNREFUSED') });
  });

  test('tells a prompt that is too long as context_window, and a shorter one is answered', async () => {
    const script = askScript([{ context_window: 1500, blocks: [{ text: 'fits' }] }], { tools: [] });
    const longer = { ...script, system: [{ type: 'text' as const, text: 'x'.repeat(8000) }] };
    expect(await failure(adapter().stream(longer, recorder(), never))).toMatchObject({
      reason: 'context_window',
      kind: 'request_failed',
      retryable: false,
      message: expect.stringContaining('1500'),
    });
    expect((await adapter().stream(script, recorder(), never)).content).toMatchObject([{ text: 'fits' }]);
  });

  test('tells an answer that the model refused by its stop reason, not as a failure', async () => {
    const answer = await adapter().stream(askScript([{ stop_reason: 'refusal', blocks: [{ text: 'I will not.' }] }]), recorder(), never);
    expect(answer).toMatchObject({ stopReason: 'refusal', content: [{ text: 'I will not.' }] });
  });
});

test('thinking that came without a signature is not sent to the Messages API, and signed thinking is', async () => {
  const history = (signature: string) => [
    { role: 'user' as const, content: 'one' },
    { role: 'assistant' as const, content: [{ type: 'thinking' as const, thinking: 'hm', signature }] },
    { role: 'assistant' as const, content: 'two' },
    { role: 'user' as const, content: askScript([{ blocks: [{ text: 'ok' }] }]).messages[0]!.content },
  ];
  const model = modelFor(fake.url);
  expect((await model.stream(ask('', { messages: history('') }), recorder(), never)).content).toMatchObject([{ text: 'ok' }]);
  expect(await failure(model.stream(ask('', { messages: history('forged') }), recorder(), never))).toMatchObject({
    reason: 'invalid_request',
    message: expect.stringContaining('signature'),
  });
});
