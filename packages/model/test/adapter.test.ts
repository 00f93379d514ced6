/** The Anthropic adapter against the fake model, over real HTTP. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeModel, startFakeModel } from '../src/testing.ts';
import { ask, askScript, failure, journalOf, KEY, modelFor, never, recorder, until, withEndpoint } from './harness-side.ts';

let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0, pingIntervalMs: 50 });
});
afterAll(() => fake.close());

const journal = (session: string) => journalOf(fake, session);

describe('a whole answer', () => {
  test('text, thinking and parallel tool calls arrive as blocks, and text also as it streams', async () => {
    const listener = recorder();
    const answer = await modelFor(fake.url).stream(
      askScript([
        {
          delta_chars: 5,
          blocks: [
            { thinking: 'Let me see. 🤔' },
            { text: 'Grüße, 世界 🌍!' },
            { tool: 'bash', input: { command: 'ls', note: 'naïve 🌍 \u0000 "quoted"' } },
            { tool: 'bash', input: {} },
          ],
        },
      ]),
      listener,
      never,
    );
    expect(answer.content.map((block) => block.type)).toEqual(['thinking', 'text', 'tool_use', 'tool_use']);
    expect(answer.content[0]).toMatchObject({ thinking: 'Let me see. 🤔', signature: expect.stringMatching(/.{20}/) });
    expect(answer.content[1]).toMatchObject({ text: 'Grüße, 世界 🌍!' });
    expect(answer.content[2]).toMatchObject({ name: 'bash', input: { command: 'ls', note: 'naïve 🌍 \u0000 "quoted"' } });
    expect(answer.content[3]).toMatchObject({ input: {} });
    expect(answer.stopReason).toBe('tool_use');
    expect(answer.invalidInputs).toEqual({});
    expect(listener.kinds).toEqual(['0:thinking', '1:text', '2:tool_use', '3:tool_use']);
    expect(listener.texts.length).toBeGreaterThan(1);
    expect(listener.texts.join('')).toBe('Grüße, 世界 🌍!');
    expect(answer.usage.input_tokens).toBeGreaterThan(0);
    expect(answer.usage.output_tokens).toBeGreaterThan(10);
  });

  test('refusal and max_tokens are stop reasons, not errors', async () => {
    const model = modelFor(fake.url);
    const refused = await model.stream(askScript([{ stop_reason: 'refusal', blocks: [] }]), recorder(), never);
    expect([refused.stopReason, refused.content]).toEqual(['refusal', []]);
    const cut = await model.stream(askScript([{ blocks: [{ text: 'x'.repeat(400) }] }], { maxTokens: 10 }), recorder(), never);
    expect(cut.stopReason).toBe('max_tokens');
    expect(cut.content).toMatchObject([{ text: 'x'.repeat(40) }]);
  });

  test('cache marks are passed on unchanged, and effort and speed only if they differ from the default', async () => {
    const cache_control = { type: 'ephemeral' as const, ttl: '1h' as const };
    const model = modelFor(`${fake.url}/v1/`);
    const system = [{ type: 'text' as const, text: 'You are helpful.', cache_control }];
    await model.stream(ask('hi', { sessionId: 'sesn_plain', system, effort: 'high', speed: 'standard' }), recorder(), never);
    await model.stream(ask('hi', { sessionId: 'sesn_tuned', effort: 'low', speed: 'fast' }), recorder(), never);
    const [plain] = await journal('sesn_plain');
    expect(plain!.body).toMatchObject({ system: [{ cache_control }] });
    expect(Object.keys(plain!.body)).not.toContain('output_config');
    expect(Object.keys(plain!.body)).not.toContain('speed');
    const [tuned] = await journal('sesn_tuned');
    expect(tuned!.body).toMatchObject({ output_config: { effort: 'low' }, speed: 'fast' });
  });

  test('the models of the endpoint are listed', async () => {
    expect(await modelFor(fake.url).listModels()).toEqual([
      { id: 'manyhands-fake', display_name: expect.any(String), created_at: '2026-01-01T00:00:00Z' },
    ]);
  });

  test('one hundred streams at once each get their own answer', async () => {
    const model = modelFor(fake.url);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        model.stream(
          askScript([{ delta_ms: 1, delta_chars: 40, blocks: [{ text: `${n}:`.repeat(200) }] }]),
          recorder(),
          new AbortController().signal,
        ),
      ),
    );
    expect(answers.map((answer) => answer.content[0])).toMatchObject(answers.map((_, n) => ({ text: `${n}:`.repeat(200) })));
  });
});

// How each failure is told, by both adapters alike, is in failures.test.ts.
describe('failures', () => {
  test('a step fails as often as its script says, and then succeeds', async () => {
    const script = askScript([{ error: { status: 529, type: 'overloaded_error', times: 2 }, blocks: [{ text: 'at last' }] }]);
    const model = modelFor(fake.url);
    expect((await failure(model.stream(script, recorder(), never))).kind).toBe('overloaded');
    expect((await failure(model.stream(script, recorder(), never))).kind).toBe('overloaded');
    expect((await model.stream(script, recorder(), never)).content).toMatchObject([{ text: 'at last' }]);
  });

  test('a stalled stream fails as retryable, and its connection is closed', async () => {
    const script = askScript([{ fault: 'stall', blocks: [{ text: 'a long text' }] }], { sessionId: 'sesn_stall' });
    const error = await failure(modelFor(fake.url, 300).stream(script, recorder(), never));
    expect(error).toMatchObject({ kind: 'request_failed', retryable: true, message: expect.stringContaining('sent nothing') });
    const [entry] = await until(async () => {
      const entries = await journal('sesn_stall');
      return entries[0]?.outcome ? entries : undefined;
    });
    expect(entry!.outcome).toBe('stall');
  });

  test('an endpoint that never answers stalls too', async () => {
    const error = await failure(
      modelFor(fake.url, 300).stream(askScript([{ delay_ms: 60_000, blocks: [{ text: 'x' }] }]), recorder(), never),
    );
    expect(error).toMatchObject({ kind: 'request_failed', retryable: true, message: expect.stringContaining('sent nothing') });
  });

  test('pings keep a slow stream alive', async () => {
    const answer = await modelFor(fake.url, 400).stream(
      askScript([{ delta_ms: 900, delta_chars: 5, blocks: [{ text: 'slow text' }] }]),
      recorder(),
      never,
    );
    expect(answer.content).toMatchObject([{ text: 'slow text' }]);
  });

  test('a refused connection is retryable', async () => {
    const gone = await startFakeModel({ port: 0 });
    await gone.close();
    const error = await failure(modelFor(gone.url).stream(ask('hi'), recorder(), never));
    expect(error).toMatchObject({ kind: 'request_failed', retryable: true, message: expect.stringContaining('ECONNREFUSED') });
  });

  test('upstream text is cut at 500 characters and never shows the key', async () => {
    const message = `bad key ${KEY} ${'y'.repeat(2000)}`;
    const error = await failure(
      modelFor(fake.url).stream(askScript([{ error: { status: 401, type: 'authentication_error', message } }]), recorder(), never),
    );
    expect(error.message).not.toContain(KEY);
    expect(error.message).toContain('[redacted]');
    expect(error.message.length).toBeLessThan(600);
    expect(JSON.stringify(error)).not.toContain(KEY);
  });
});

describe('abort', () => {
  const slow = (sessionId: string) => askScript([{ delta_ms: 50, delta_chars: 1, blocks: [{ text: 'z'.repeat(2000) }] }], { sessionId });

  test('an abort in the middle of a stream ends the HTTP request at once', async () => {
    const controller = new AbortController();
    const listener = { ...recorder(), onText: () => controller.abort() };
    const error = await failure(modelFor(fake.url).stream(slow('sesn_abort'), listener, controller.signal));
    expect(error).toMatchObject({ kind: 'aborted', code: 'aborted', retryable: false });
    const entry = await until(async () => (await journal('sesn_abort')).find((found) => found.outcome !== null));
    expect(entry.outcome).toBe('closed');
    expect(entry.ended_at_ms! - entry.first_byte_at_ms!).toBeLessThan(20_000);
  });

  test('an abort before the first byte, and one before the request, reject as aborted', async () => {
    const controller = new AbortController();
    const waiting = modelFor(fake.url).stream(
      askScript([{ delay_ms: 60_000, blocks: [{ text: 'x' }] }], { sessionId: 'sesn_early' }),
      recorder(),
      controller.signal,
    );
    await until(async () => (await journal('sesn_early'))[0]);
    controller.abort();
    expect((await failure(waiting)).kind).toBe('aborted');
    expect((await failure(modelFor(fake.url).stream(ask('hi'), recorder(), controller.signal))).kind).toBe('aborted');
  });

  test('what the listener throws reaches the caller, and the request ends', async () => {
    const stop = new Error('fenced');
    const listener = {
      ...recorder(),
      onText: () => {
        throw stop;
      },
    };
    await expect(modelFor(fake.url).stream(slow('sesn_throw'), listener, never)).rejects.toBe(stop);
    const entry = await until(async () => (await journal('sesn_throw')).find((found) => found.outcome !== null));
    expect(entry.outcome).toBe('closed');
  });

  test('one signal can serve hundreds of requests without keeping listeners', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    const model = modelFor(fake.url);
    for (let n = 0; n < 20; n++) await model.stream(askScript([{ blocks: [{ text: 'x' }] }]), recorder(), signal);
    expect(listeners).toBe(0);
  });
});

describe('endpoints that only resemble the Messages API', () => {
  const sse = (events: Record<string, unknown>[], named: boolean) =>
    events.map((event) => `${named ? `event: ${String(event['type'])}\n` : ''}data: ${JSON.stringify(event)}\r\n\r\n`).join('');

  test('missing usage, unknown blocks, deltas and events, gaps in indices and unnamed events are tolerated', async () => {
    const events = [
      { type: 'message_start', message: { id: 'm', model: 'other', role: 'assistant' } },
      { type: 'weather_report', sunny: true },
      { type: 'content_block_start', index: 3, content_block: { type: 'hologram', data: 1 } },
      { type: 'content_block_delta', index: 3, delta: { type: 'hologram_delta', data: 2 } },
      { type: 'content_block_start', index: 7, content_block: { type: 'text', text: 'he' } },
      { type: 'content_block_delta', index: 7, delta: { type: 'text_delta', text: 'llo' } },
      { type: 'content_block_start', index: 8, content_block: { type: 'tool_use', id: 't', name: 'bash', input: { command: 'ls' } } },
      { type: 'message_delta', delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 4, input_tokens: null } },
      { type: 'message_stop' },
    ];
    for (const named of [true, false]) {
      const listener = recorder();
      const answer = await withEndpoint(sse(events, named), (url) => modelFor(url).stream(ask('hi'), listener, never));
      expect(answer.content).toEqual([
        { type: 'hologram', data: 1 },
        { type: 'text', text: 'hello' },
        { type: 'tool_use', id: 't', name: 'bash', input: { command: 'ls' } },
      ]);
      expect(answer.usage).toEqual({
        input_tokens: 0,
        output_tokens: 4,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        cache_creation_5m: 0,
        cache_creation_1h: 0,
      });
      expect(listener.kinds).toEqual(['0:other', '1:text', '2:tool_use']);
      expect(listener.texts).toEqual(['he', 'llo']);
    }
  });

  test.each([
    ['an HTML page', '<html>hello</html>', 'text/html'],
    ['nothing at all', '', 'text/event-stream'],
    [
      'a delta for a block that was never started',
      'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\n\n',
      'text/event-stream',
    ],
    ['a frame that is no object', 'event: message_start\ndata: 17\n\n', 'text/event-stream'],
  ])('%s is a retryable failure', async (_what, body, contentType) => {
    const error = await withEndpoint(body, (url) => failure(modelFor(url).stream(ask('hi'), recorder(), never)), contentType);
    expect(error).toMatchObject({ kind: 'request_failed', retryable: true });
  });

  test('a base URL that is none is refused at once', () => {
    expect(() => modelFor('api.example.com')).toThrow(/MANYHANDS_MODEL_BASE_URL/);
    expect(() => modelFor('ftp://api.example.com')).toThrow(/http/);
  });
});
