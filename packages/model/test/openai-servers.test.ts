/** Servers that speak chat completions each in their own way: what they send is known from their sources and issue trackers. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failure as failureOf } from '../src/failure.ts';
import type { ModelResponse } from '../src/index.ts';
import { createChatAssembler } from '../src/openai/chat-assembler.ts';
import { createSseReader } from '../src/openai/sse-reader.ts';
import { ask, failure, never, openAiFor, recorder, withEndpoint } from './harness-side.ts';

type Delta = Record<string, unknown>;
const chunk = (delta: Delta, finish_reason: string | null = null) => ({
  id: 'c',
  model: 'local',
  choices: [{ index: 0, delta, finish_reason }],
});
const sse = (chunks: unknown[], done = true) =>
  `${chunks.map((data) => `data: ${JSON.stringify(data)}\n\n`).join('')}${done ? 'data: [DONE]\n\n' : ''}`;
const call = (fields: Delta) => chunk({ tool_calls: [fields] });
const answerOf = (body: string, contentType?: string): Promise<ModelResponse> =>
  withEndpoint(body, (url) => openAiFor(url).stream(ask('hi'), recorder(), never), contentType);
const calls = (answer: ModelResponse) => answer.content.flatMap((block) => (block.type === 'tool_use' ? [[block.name, block.input]] : []));

describe('tool calls', () => {
  const whole = (name: string, args: string, more: Delta = {}) => ({ ...more, function: { name, arguments: args } });
  test.each<[string, unknown[], unknown[]]>([
    [
      'all under index 0 with ids of their own',
      [call(whole('a', '{"x":1}', { index: 0, id: 'one' })), call(whole('b', '{"y":2}', { index: 0, id: 'two' }))],
      [
        ['a', { x: 1 }],
        ['b', { y: 2 }],
      ],
    ],
    [
      'without index and id',
      [call(whole('a', '{"x":1}')), call(whole('b', '{}'))],
      [
        ['a', { x: 1 }],
        ['b', {}],
      ],
    ],
    [
      'without index, in pieces',
      [
        call(whole('a', '', { id: 'one' })),
        call({ function: { arguments: '{"x"' } }),
        call({ function: { arguments: ':1}' } }),
        call(whole('b', '{}', { id: 'two' })),
      ],
      [
        ['a', { x: 1 }],
        ['b', {}],
      ],
    ],
    [
      'with the name repeated in every piece',
      [call(whole('a', '{"x"', { index: 0, id: 'one' })), call(whole('a', ':1}', { index: 0, id: 'one' }))],
      [['a', { x: 1 }]],
    ],
    ['with the name in pieces', [call(whole('ba', '', { index: 0, id: 'one' })), call(whole('sh', '{}', { index: 0 }))], [['bash', {}]]],
    ['with arguments as an object', [call({ index: 0, id: 'one', function: { name: 'a', arguments: { x: 1 } } })], [['a', { x: 1 }]]],
    ['with no arguments at all', [call({ index: 0, id: 'one', function: { name: 'a' } })], [['a', {}]]],
    [
      'interleaved',
      [
        call(whole('a', '{"x":', { index: 0, id: 'one' })),
        call(whole('b', '{"y":', { index: 1, id: 'two' })),
        call({ index: 0, function: { arguments: '1}' } }),
        call({ index: 1, function: { arguments: '2}' } }),
      ],
      [
        ['a', { x: 1 }],
        ['b', { y: 2 }],
      ],
    ],
    [
      'that start again at index 0 without ids',
      [call(whole('a', '{"x":1}', { index: 0 })), call(whole('a', '{"x":2}', { index: 0 }))],
      [
        ['a', { x: 1 }],
        ['a', { x: 2 }],
      ],
    ],
  ])('%s are told apart', async (_what, chunks, expected) => {
    const answer = await answerOf(sse([...chunks, chunk({}, 'tool_calls')]));
    expect(calls(answer)).toEqual(expected);
    expect(answer.stopReason).toBe('tool_use');
    const ids = answer.content.map((block) => (block.type === 'tool_use' ? block.id : ''));
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^[a-zA-Z0-9_-]{1,64}$/);
  });

  test('ids that the protocol of the sessions does not take, or that come twice, are replaced', async () => {
    const answer = await answerOf(
      sse([
        call(whole('a', '{}', { index: 0, id: 'functions.a:0' })),
        call(whole('b', '{}', { index: 1, id: 'same' })),
        call(whole('c', '{}', { index: 2, id: 'same' })),
        chunk({}, 'stop'),
      ]),
    );
    const ids = answer.content.map((block) => (block.type === 'tool_use' ? block.id : ''));
    expect(ids).toEqual([expect.stringMatching(/^call_/), 'same', expect.stringMatching(/^call_/)]);
    expect(answer.stopReason).toBe('tool_use');
  });

  test('a call without a name is no call: the answer is malformed', async () => {
    expect(
      await failure(answerOf(sse([call({ index: 0, id: 'one', function: { arguments: '{}' } }), chunk({}, 'tool_calls')]))),
    ).toMatchObject({ reason: 'malformed' });
  });
});

describe('the end of an answer', () => {
  const said = chunk({ content: 'hello' });
  test.each<[string, string]>([
    ['a finish reason and [DONE]', sse([said, chunk({}, 'stop')])],
    ['a finish reason and no [DONE]', sse([said, chunk({}, 'stop')], false)],
    ['usage after the finish reason', sse([said, chunk({}, 'stop'), { choices: [], usage: { prompt_tokens: 7, completion_tokens: 2 } }])],
    ['a finish reason of its own', sse([said, chunk({}, 'eos_token')])],
  ])('%s is a whole one', async (_what, body) => {
    expect(await answerOf(body)).toMatchObject({ stopReason: 'end_turn', content: [{ type: 'text', text: 'hello' }] });
  });

  test.each<[string, string, string]>([
    ['without a finish reason', sse([said], false), 'cut_stream'],
    ['with [DONE] alone', sse([said]), 'cut_stream'],
    ['that the server gave up', sse([said, chunk({}, 'abort')]), 'server_error'],
    ['that ran out of resources', sse([said, chunk({}, 'insufficient_system_resource')]), 'overloaded'],
    ['with a chunk that is not JSON', `data: {"choi\n\n${sse([chunk({}, 'stop')])}`, 'malformed'],
    ['that is no object', `data: 17\n\n${sse([chunk({}, 'stop')])}`, 'malformed'],
    ['that is nothing at all', '', 'malformed'],
    ['that is an HTML page', '<html>hello</html>', 'malformed'],
  ])('an answer %s is no answer', async (_what, body, reason) => {
    expect(await failure(answerOf(body))).toMatchObject({ reason, retryable: true });
  });

  test('usage comes from any chunk, and cached tokens by either name', async () => {
    const counts = { prompt_tokens: 100, completion_tokens: 5 };
    const openai = await answerOf(
      sse([said, chunk({}, 'stop'), { choices: [], usage: { ...counts, prompt_tokens_details: { cached_tokens: 60 } } }]),
    );
    const deepseek = await answerOf(sse([said, { ...chunk({}, 'stop'), usage: { ...counts, prompt_cache_hit_tokens: 60 } }]));
    for (const { usage } of [openai, deepseek])
      expect(usage).toMatchObject({ input_tokens: 40, cache_read_input_tokens: 60, output_tokens: 5 });
    expect((await answerOf(sse([said, chunk({}, 'stop')]))).usage).toMatchObject({ input_tokens: 0, output_tokens: 0 });
  });

  test('a server that does not stream is understood too', async () => {
    const message = {
      role: 'assistant',
      content: 'whole',
      tool_calls: [{ id: 'x', type: 'function', function: { name: 'a', arguments: '{"n":1}' } }],
    };
    const body = JSON.stringify({
      id: 'c',
      model: 'm',
      choices: [{ index: 0, message, finish_reason: 'tool_calls' }],
      usage: { prompt_tokens: 3, completion_tokens: 2 },
    });
    const answer = await answerOf(body, 'application/json; charset=utf-8');
    expect(answer).toMatchObject({ content: [{ text: 'whole' }, { name: 'a', input: { n: 1 } }], usage: { input_tokens: 3 } });
  });

  test('reasoning by either name becomes thinking, and a refusal text the stop reason refusal', async () => {
    const answer = await answerOf(
      sse([
        chunk({ reasoning: 'a' }),
        chunk({ reasoning_content: 'b' }),
        chunk({ content: '\n' }),
        chunk({ refusal: 'No.' }),
        chunk({}, 'stop'),
      ]),
    );
    expect(answer).toMatchObject({
      stopReason: 'refusal',
      content: [
        { type: 'thinking', thinking: 'ab' },
        { type: 'text', text: 'No.' },
      ],
    });
  });
});

describe('errors', () => {
  test.each<[string, number, string, string, boolean]>([
    [
      'an OpenAI quota error',
      429,
      '{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}',
      'billing',
      false,
    ],
    [
      'an OpenAI context error',
      400,
      '{"error":{"message":"too many tokens","type":"invalid_request_error","code":"context_length_exceeded"}}',
      'context_window',
      false,
    ],
    [
      'a llama.cpp context error',
      400,
      '{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":256}}',
      'context_window',
      false,
    ],
    [
      'a llama.cpp context error as a server error',
      500,
      '{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}',
      'context_window',
      false,
    ],
    [
      'a llama.cpp model that is still loading',
      503,
      '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}',
      'overloaded',
      true,
    ],
    [
      'a vLLM context error',
      400,
      '{"object":"error","message":"This model\'s maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","code":400}',
      'context_window',
      false,
    ],
    [
      'an Ollama error for a missing model',
      404,
      '{"error":{"message":"model \\"x\\" not found, try pulling it first","type":"api_error"}}',
      'not_found',
      false,
    ],
    ['an error that is only text', 500, '{"error":"llama runner process has terminated"}', 'server_error', true],
    ['a prompt that a filter refused', 400, '{"error":{"message":"filtered","type":null,"code":"content_filter"}}', 'refused', false],
    ['an error without JSON', 502, '<html><h1>Bad Gateway</h1></html>', 'server_error', true],
    ['a missing route', 404, '{"detail":"Not Found"}', 'not_found', false],
    ['a redirect', 307, '', 'invalid_request', false],
    ['an empty 400', 400, '', 'invalid_request', false],
  ])('%s is told as what it is', async (_what, status, body, reason, retryable) => {
    const error = await failure(
      withEndpoint(body, (url) => openAiFor(url).stream(ask('hi'), recorder(), never), 'application/json', status),
    );
    expect(error).toMatchObject({ reason, retryable, message: expect.stringContaining(String(status)) });
  });

  test('an error in the middle of a stream is told by its type, its code or its status', async () => {
    const told = async (error: unknown) => (await failure(answerOf(sse([chunk({ content: 'x' }), error])))).reason;
    expect(await told({ error: { type: 'overloaded_error', message: 'busy' } })).toBe('overloaded');
    expect(await told({ error: { message: 'busy', code: 429 } })).toBe('rate_limited');
    expect(await told({ error: { message: 'gone', code: 500, type: 'server_error' } })).toBe('server_error');
    expect(await told({ object: 'error', message: 'gone', type: 'InternalServerError', code: 500 })).toBe('server_error');
    expect(await told({ error: 'something broke' })).toBe('server_error');
  });

  test('a list of models in an unknown form is malformed', async () => {
    expect(await failure(withEndpoint('{"models":[]}', (url) => openAiFor(url).listModels()))).toMatchObject({ reason: 'malformed' });
  });
});

test('whatever way the bytes are cut, an answer is the same or none at all', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 8 }).map((content) => chunk({ content })),
    fc.string({ unit: 'grapheme', maxLength: 8 }).map((reasoning_content) => chunk({ reasoning_content })),
    fc
      .record({ index: fc.nat(2), id: fc.constantFrom('a', 'b', ''), args: fc.constantFrom('', '{', '}', '{"é":"🌍"}', '"x":1') })
      .map(({ index, id, args }) => call({ index, id, function: { name: 'tool', arguments: args } })),
  );
  const read = (bytes: Buffer, cuts: number[]) => {
    const assembler = createChatAssembler(recorder());
    const reader = createSseReader();
    const at = [0, ...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
    at.forEach((from, n) => {
      for (const data of reader.push(bytes.subarray(from, at[n + 1] ?? bytes.length)))
        if (data !== '[DONE]') assembler.push(JSON.parse(data));
    });
    if (!assembler.finished) throw failureOf('cut_stream', 'no end');
    return assembler.finish();
  };
  // Ids that the reader mints are of no interest here.
  const plain = (answer: ModelResponse) => JSON.stringify(answer).replaceAll(/"call_[^"]*"/g, '"minted"');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 30 }), fc.nat(), (pieces, cuts, end) => {
      const bytes = Buffer.from(sse([...pieces, chunk({}, 'stop')]));
      const whole = plain(read(bytes, []));
      expect(plain(read(bytes, cuts))).toBe(whole);
      // Broken off anywhere before the finish reason was complete: never half a message.
      const finish = bytes.indexOf('"finish_reason":"stop"');
      expect(() => read(bytes.subarray(0, end % finish), [])).toThrow(/no end/);
    }),
    { numRuns: 300 },
  );
});
