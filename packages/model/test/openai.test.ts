/** The OpenAI-compatible adapter against the fake model, over real HTTP. */
import type Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeModel, startFakeModel } from '../src/testing.ts';
import { ask, askScript, failure, journalOf, KEY, never, openAiFor, recorder, until, withServer } from './harness-side.ts';

let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0, pingIntervalMs: 50 });
});
afterAll(() => fake.close());

describe('a whole answer', () => {
  test('text, thinking and parallel tool calls arrive as blocks, and text also as it streams', async () => {
    const listener = recorder();
    const answer = await openAiFor(fake.url).stream(
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
    expect(answer.content).toEqual([
      { type: 'thinking', thinking: 'Let me see. 🤔', signature: '' },
      { type: 'text', text: 'Grüße, 世界 🌍!', citations: null },
      { type: 'tool_use', id: expect.stringMatching(/^call_/), name: 'bash', input: { command: 'ls', note: 'naïve 🌍 \u0000 "quoted"' } },
      { type: 'tool_use', id: expect.stringMatching(/^call_/), name: 'bash', input: {} },
    ]);
    expect(new Set(answer.content.map((block) => (block.type === 'tool_use' ? block.id : block.type))).size).toBe(4);
    expect(answer).toMatchObject({
      stopReason: 'tool_use',
      invalidInputs: {},
      model: 'manyhands-fake',
      id: expect.stringMatching(/^chatcmpl-/),
    });
    expect(listener.kinds).toEqual(['0:thinking', '1:text', '2:tool_use', '3:tool_use']);
    expect(listener.texts.length).toBeGreaterThan(1);
    expect(listener.texts.join('')).toBe('Grüße, 世界 🌍!');
    expect(answer.usage.input_tokens).toBeGreaterThan(0);
    expect(answer.usage.output_tokens).toBeGreaterThan(10);
  });

  test.each([
    ['refusal', 'refusal'],
    ['max_tokens', 'max_tokens'],
    ['end_turn', 'end_turn'],
  ])('the stop reason %s arrives as itself', async (stop_reason, expected) => {
    const answer = await openAiFor(fake.url).stream(askScript([{ stop_reason, blocks: [{ text: 'x' }] }]), recorder(), never);
    expect(answer.stopReason).toBe(expected);
  });

  test('a session goes on over many requests: results, errors, images and thinking go back as this protocol has them', async () => {
    const model = openAiFor(fake.url);
    const script = [
      { blocks: [{ thinking: 'hm' }, { tool: 'bash', input: { command: 'a' } }, { tool: 'bash', input: { command: 'b' } }] },
      { blocks: [{ text: 'It is {{last_tool_result}}' }] },
    ];
    const first = askScript(script, {
      sessionId: 'sesn_loop',
      system: [
        { type: 'text', text: 'Be brief.' },
        { type: 'text', text: 'Be kind.' },
      ],
    });
    const called = await model.stream(first, recorder(), never);
    const [one, two] = called.content.filter((block) => block.type === 'tool_use');
    const image: Anthropic.ImageBlockParam = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } };
    const messages: Anthropic.MessageParam[] = [
      ...first.messages,
      { role: 'assistant', content: called.content as Anthropic.ContentBlockParam[] },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: one!.id, content: [{ type: 'text', text: 'seen' }, image] },
          { type: 'tool_result', tool_use_id: two!.id, content: 'broken', is_error: true },
        ],
      },
    ];
    const answer = await model.stream({ ...first, messages }, recorder(), never);
    expect(answer.content).toMatchObject([{ text: expect.stringContaining('It is') }]);
    const body = (await journalOf(fake, 'sesn_loop'))[1]!.body as unknown as { messages: unknown[] };
    expect(body.messages).toEqual([
      { role: 'system', content: 'Be brief.\n\nBe kind.' },
      { role: 'user', content: expect.stringContaining('fake') },
      {
        role: 'assistant',
        content: null,
        tool_calls: [expect.objectContaining({ id: one!.id }), expect.objectContaining({ id: two!.id })],
      },
      { role: 'tool', tool_call_id: one!.id, content: 'seen\n[image 1 of the message that follows]' },
      { role: 'tool', tool_call_id: two!.id, content: '[error] broken' },
      { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }] },
    ]);
  });

  test('what the endpoint had read before is told as read from its cache', async () => {
    const model = openAiFor(fake.url);
    const system = [{ type: 'text' as const, text: 's'.repeat(4000) }];
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content: 'first' }];
    const one = await model.stream(ask('', { system, messages, tools: [] }), recorder(), never);
    messages.push({ role: 'assistant', content: one.content as Anthropic.ContentBlockParam[] }, { role: 'user', content: 'second' });
    const two = await model.stream(ask('', { system, messages, tools: [] }), recorder(), never);
    expect(one.usage).toMatchObject({ cache_read_input_tokens: 0, cache_creation_input_tokens: 0 });
    expect(two.usage.cache_read_input_tokens).toBe(one.usage.input_tokens);
    expect(two.usage.input_tokens).toBeLessThan(200);
  });

  test('the models of the endpoint are listed', async () => {
    const listing = { id: 'manyhands-fake', display_name: 'manyhands-fake', created_at: '2026-01-01T00:00:00.000Z' };
    for (const path of ['', '/v1', '/v1/', '/v1/chat/completions'])
      expect(await openAiFor(fake.url + path).listModels()).toEqual([listing]);
  });

  test('one hundred streams at once each get their own answer', async () => {
    const model = openAiFor(fake.url);
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

  test('connections are used again, and one that the server has closed meanwhile is no failure', async () => {
    const ports = new Set<number>();
    let dropped = false;
    const chunk = { choices: [{ delta: { content: 'hi' }, finish_reason: 'stop' }] };
    await withServer(
      (req, res) => {
        const port = req.socket.remotePort!;
        req.resume().once('end', () => {
          if (ports.has(port) && !dropped) {
            dropped = true;
            return req.socket.destroy();
          }
          ports.add(port);
          res.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`);
        });
      },
      async (url) => {
        const model = openAiFor(url);
        await until(async () => {
          expect((await model.stream(ask('hi'), recorder(), never)).stopReason).toBe('end_turn');
          return dropped || undefined;
        });
      },
    );
  });
});

describe('deadlines', () => {
  test('an endpoint that answers nothing at all, not even a status, is told as late', async () => {
    const model = openAiFor(fake.url, { firstTokenTimeoutMs: 300 });
    const error = await failure(model.stream(askScript([{ fault: 'hang' }], { sessionId: 'sesn_hang' }), recorder(), never));
    expect(error).toMatchObject({ reason: 'timeout', retryable: true, message: expect.stringContaining('first token') });
    expect((await until(async () => (await journalOf(fake, 'sesn_hang')).find((entry) => entry.outcome !== null))).outcome).toBe('hang');
  });

  test('an address that takes no connection is told as late', async () => {
    // Reserved for documentation: nobody answers there, or the network says at once that it is unreachable.
    const model = openAiFor('http://192.0.2.1:9/v1', { connectTimeoutMs: 200 });
    const error = await failure(model.stream(ask('hi'), recorder(), never));
    expect(['timeout', 'connection']).toContain(error.reason);
    expect(error.retryable).toBe(true);
  });

  test('silence in the middle of an answer ends it sooner than silence before it', async () => {
    const model = openAiFor(fake.url, { stallTimeoutMs: 300 });
    const script = askScript([{ fault: 'stall', delta_chars: 2, blocks: [{ text: 'a long enough text' }] }], { sessionId: 'sesn_quiet' });
    const error = await failure(model.stream(script, recorder(), never));
    expect(error).toMatchObject({ reason: 'timeout', retryable: true, message: expect.stringContaining('nothing more') });
    const slow = askScript([{ delay_ms: 900, blocks: [{ text: 'late but whole' }] }]);
    expect((await model.stream(slow, recorder(), never)).content).toMatchObject([{ text: 'late but whole' }]);
  });

  test('comments of the endpoint keep a slow answer alive', async () => {
    const model = openAiFor(fake.url, { stallTimeoutMs: 400 });
    const answer = await model.stream(askScript([{ delta_ms: 900, delta_chars: 5, blocks: [{ text: 'slow text' }] }]), recorder(), never);
    expect(answer.content).toMatchObject([{ text: 'slow text' }]);
  });
});

describe('abort', () => {
  const slow = (sessionId: string) => askScript([{ delta_ms: 50, delta_chars: 1, blocks: [{ text: 'z'.repeat(2000) }] }], { sessionId });

  test('an abort in the middle of a stream ends the HTTP request at once', async () => {
    const controller = new AbortController();
    const listener = { ...recorder(), onText: () => controller.abort() };
    const error = await failure(openAiFor(fake.url).stream(slow('sesn_o_abort'), listener, controller.signal));
    expect(error).toMatchObject({ kind: 'aborted', reason: 'aborted', code: 'aborted', retryable: false });
    const entry = await until(async () => (await journalOf(fake, 'sesn_o_abort')).find((found) => found.outcome !== null));
    expect(entry.outcome).toBe('closed');
  });

  test('an abort before the first byte, and one before the request, reject as aborted', async () => {
    const controller = new AbortController();
    const waiting = openAiFor(fake.url).stream(
      askScript([{ fault: 'hang' }], { sessionId: 'sesn_o_early' }),
      recorder(),
      controller.signal,
    );
    await until(async () => (await journalOf(fake, 'sesn_o_early'))[0]);
    controller.abort();
    expect((await failure(waiting)).reason).toBe('aborted');
    expect((await failure(openAiFor(fake.url).stream(ask('hi'), recorder(), controller.signal))).reason).toBe('aborted');
  });

  test('what the listener throws reaches the caller, and the request ends', async () => {
    const stop = new Error('fenced');
    const listener = {
      ...recorder(),
      onText: () => {
        throw stop;
      },
    };
    await expect(openAiFor(fake.url).stream(slow('sesn_o_throw'), listener, never)).rejects.toBe(stop);
    const entry = await until(async () => (await journalOf(fake, 'sesn_o_throw')).find((found) => found.outcome !== null));
    expect(entry.outcome).toBe('closed');
  });

  test('one signal can serve many requests without keeping listeners', async () => {
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
    for (let n = 0; n < 20; n++) await openAiFor(fake.url).stream(askScript([{ blocks: [{ text: 'x' }] }]), recorder(), signal);
    expect(listeners).toBe(0);
  });
});

describe('keys', () => {
  test('an upstream without a key sends none, and says so where one is wanted', async () => {
    const error = await failure(openAiFor(fake.url, { apiKey: '' }).stream(ask('hi'), recorder(), never));
    expect(error).toMatchObject({ reason: 'authentication', kind: 'authentication', retryable: false });
  });

  test('upstream text is cut and never shows the key', async () => {
    const message = `bad key ${KEY} ${'y'.repeat(2000)}`;
    const script = askScript([{ error: { status: 401, type: 'authentication_error', message } }]);
    const error = await failure(openAiFor(fake.url).stream(script, recorder(), never));
    expect(error.message).toContain('[redacted]');
    expect(error.message.length).toBeLessThan(600);
    expect(error.message + JSON.stringify(error)).not.toContain(KEY);
  });
});
