/** Routing over real upstreams: fake models on ports of their own, one protocol each or the same. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { createLogger } from '@manyhands/base';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createModelRouter, type ModelRouter, parseModelRoutes, readModelKeys } from '../src/index.ts';
import { type FakeModel, type FakeStep, startFakeModel } from '../src/testing.ts';
import { ask, askScript, failure, journalOf, KEY, log, never, recorder, until } from './harness-side.ts';

let first: FakeModel;
let second: FakeModel;
beforeAll(async () => {
  [first, second] = await Promise.all([startFakeModel({ port: 0 }), startFakeModel({ port: 0 })]);
});
afterAll(() => Promise.all([first.close(), second.close()]));
beforeEach(() => Promise.all([first, second].map(({ url }) => fetch(`${url}/fake/journal`, { method: 'DELETE' }))));

type Models = Record<string, unknown>;
function router(models: Models, extra: Record<string, unknown> = {}, clock?: { now(): number }): ModelRouter {
  const upstreams = {
    main: { kind: 'anthropic', base_url: first.url, api_key_env: 'MAIN_KEY' },
    local: { kind: 'openai', base_url: `${second.url}/v1`, api_key_env: 'LOCAL_KEY' },
    gone: { kind: 'openai', base_url: 'http://127.0.0.1:1' },
    ...((extra['upstreams'] as object) ?? {}),
  };
  const routes = parseModelRoutes(JSON.stringify({ default_upstream: 'main', cooldown_ms: 0, ...extra, models, upstreams }), 'ROUTES');
  const keyOf = readModelKeys(routes, { env: { MAIN_KEY: KEY, LOCAL_KEY: KEY }, readFile: () => '' });
  return createModelRouter({ routes, keyOf, log, ...(clock ? { clock } : {}) });
}
const say = (model: string, step: FakeStep, extra = {}) => askScript([step], { model, ...extra });
const asked = async (fake: FakeModel, session = 'sesn_test') =>
  (await journalOf(fake, session)).map((entry) => (entry.body as unknown as { model: string }).model);

describe('one model', () => {
  test('goes to its own upstream, a pattern’s, or the default one, under the name that is known there', async () => {
    const model = router({
      small: { upstream: 'local', model: 'qwen3:8b' },
      'qwen*': { upstream: 'local' },
      'qwen-max*': { upstream: 'main' },
    });
    const answered = async (id: string) => (await model.stream(say(id, { blocks: [{ text: 'hi' }] }), recorder(), never)).answeredBy;
    expect(await answered('small')).toEqual({ id: 'small', upstream: 'local', model: 'qwen3:8b', fallback: false });
    expect(await answered('qwen3:32b')).toMatchObject({ upstream: 'local', model: 'qwen3:32b' });
    expect(await answered('qwen-max-1')).toMatchObject({ upstream: 'main' });
    expect(await answered('claude-opus-4-8')).toEqual({
      id: 'claude-opus-4-8',
      upstream: 'main',
      model: 'claude-opus-4-8',
      fallback: false,
    });
    expect(await asked(second)).toEqual(['qwen3:8b', 'qwen3:32b']);
    expect(await asked(first)).toEqual(['qwen-max-1', 'claude-opus-4-8']);
  });

  test('is asked for no more tokens than it may answer with', async () => {
    const model = router({ small: { upstream: 'local', max_output: 10, context_window: 5000 } });
    const answer = await model.stream(say('small', { blocks: [{ text: 'x'.repeat(400) }] }), recorder(), never);
    expect(answer.stopReason).toBe('max_tokens');
    expect(model.limits('small')).toEqual({ contextWindow: 5000, maxOutput: 10 });
    expect(model.limits('other')).toEqual({ contextWindow: null, maxOutput: null });
  });

  test('without a chain fails as the upstream says, after one request', async () => {
    const error = await failure(
      router({}).stream(say('m', { error: { status: 529, type: 'overloaded_error', times: 9 } }), recorder(), never),
    );
    expect(error).toMatchObject({ reason: 'overloaded', retryable: true });
    expect(await asked(first)).toEqual(['m']);
  });
});

describe('a chain', () => {
  const chain = { 'claude-opus-4-8': { fallback: ['spare'], attempts: 2 }, spare: { upstream: 'local', model: 'qwen3:8b', attempts: 1 } };
  /** Fails on the Messages side only: there the identical request is tried `times` times. */
  const busy = (status: number, type: string, times = 2, more: object = {}): FakeStep => ({
    error: { status, type, times, ...more },
    blocks: [{ text: 'done' }],
  });

  test('is followed when the first model stays overloaded through its tries, and the answer tells who gave it', async () => {
    // The other fake model meets the same fault twice, with a request of its own: it needs three tries.
    const model = router({ ...chain, spare: { ...chain.spare, attempts: 3 } });
    const answer = await model.stream(say('claude-opus-4-8', busy(529, 'overloaded_error')), recorder(), never);
    expect(answer.answeredBy).toEqual({ id: 'spare', upstream: 'local', model: 'qwen3:8b', fallback: true });
    expect(await asked(first)).toEqual(['claude-opus-4-8', 'claude-opus-4-8']);
    expect(await asked(second)).toEqual(['qwen3:8b', 'qwen3:8b', 'qwen3:8b']);
  });

  test('that fails as a whole is told as the failure of the model that was asked for', async () => {
    const models = { ...chain, 'claude-opus-4-8': { fallback: ['lost', 'spare'] }, lost: { upstream: 'gone', attempts: 1 } };
    const error = await failure(router(models).stream(say('claude-opus-4-8', busy(529, 'overloaded_error', 9)), recorder(), never));
    const tried = [
      { model: 'claude-opus-4-8', reason: 'overloaded' },
      { model: 'lost', reason: 'connection' },
      { model: 'spare', reason: 'overloaded' },
    ];
    expect(error).toMatchObject({ reason: 'overloaded', kind: 'overloaded', retryable: true, details: { status: 529, tried } });
  });

  test('leads to an answer of the next model, once and whole', async () => {
    const listener = recorder();
    const model = router({ ...chain, 'claude-opus-4-8': { upstream: 'gone', fallback: ['spare'] } });
    const answer = await model.stream(say('claude-opus-4-8', { blocks: [{ text: 'from the spare' }] }), listener, never);
    expect(answer).toMatchObject({
      content: [{ text: 'from the spare' }],
      answeredBy: { id: 'spare', upstream: 'local', model: 'qwen3:8b', fallback: true },
    });
    expect(listener.texts.join('')).toBe('from the spare');
    expect(await asked(second)).toEqual(['qwen3:8b']);
  });

  test('is not followed while the first model answers within its tries', async () => {
    const answer = await router(chain).stream(say('claude-opus-4-8', busy(529, 'overloaded_error', 1)), recorder(), never);
    expect(answer.answeredBy).toMatchObject({ id: 'claude-opus-4-8', fallback: false });
    expect(await asked(first)).toHaveLength(2);
    expect(await asked(second)).toEqual([]);
  });

  test('is followed at once when the first model asks for a long wait', async () => {
    const model = router(chain);
    const started = Date.now();
    const error = await failure(
      model.stream(say('claude-opus-4-8', busy(429, 'rate_limit_error', 9, { retry_after: 600 })), recorder(), never),
    );
    expect(error).toMatchObject({ reason: 'rate_limited', retryAfterMs: 600_000 });
    expect(Date.now() - started).toBeLessThan(60_000);
    expect(await asked(first)).toEqual(['claude-opus-4-8']);
    expect(await asked(second)).toEqual(['qwen3:8b']);
  });

  test.each([
    [400, 'invalid_request_error', 'invalid_request'],
    [401, 'authentication_error', 'authentication'],
    [402, 'billing_error', 'billing'],
  ])('is not followed for a request that is wrong in itself (%i)', async (status, type, reason) => {
    expect(await failure(router(chain).stream(say('claude-opus-4-8', busy(status, type)), recorder(), never))).toMatchObject({
      reason,
      retryable: false,
    });
    expect(await asked(first)).toHaveLength(1);
    expect(await asked(second)).toEqual([]);
  });

  test('is never followed once something of an answer was told', async () => {
    const listener = recorder();
    const step: FakeStep = { fault: 'cut', times: 9, delta_chars: 2, blocks: [{ text: 'a text that breaks off' }] };
    expect(await failure(router(chain).stream(say('claude-opus-4-8', step), listener, never))).toMatchObject({ reason: 'cut_stream' });
    expect(listener.texts.length).toBeGreaterThan(0);
    expect(await asked(first)).toHaveLength(1);
    expect(await asked(second)).toEqual([]);
  });

  test('ends at once when the request is aborted between two tries', async () => {
    const controller = new AbortController();
    const waiting = router(chain).stream(
      say('claude-opus-4-8', busy(529, 'overloaded_error', 9, { retry_after: 4 })),
      recorder(),
      controller.signal,
    );
    await until(async () => ((await journalOf(first, 'sesn_test'))[0]?.outcome ? true : undefined));
    controller.abort();
    expect((await failure(waiting)).reason).toBe('aborted');
    expect(await asked(second)).toEqual([]);
  });

  test('passes over a model that failed a moment ago, and comes back to it later', async () => {
    let now = 1_000_000;
    const models = { a: { upstream: 'gone', attempts: 1, fallback: ['b'] }, b: { upstream: 'local' } };
    const warnings: string[] = [];
    const routes = parseModelRoutes(
      JSON.stringify({
        default_upstream: 'local',
        cooldown_ms: 1000,
        upstreams: {
          gone: { kind: 'openai', base_url: 'http://127.0.0.1:1' },
          local: { kind: 'openai', base_url: second.url, api_key_env: 'K' },
        },
        models,
      }),
      'ROUTES',
    );
    const listening = {
      ...log,
      debug: () => undefined,
      warn: (facts: { model: string }) => void warnings.push(facts.model),
    } as unknown as ReturnType<typeof createLogger>;
    const model = createModelRouter({ routes, keyOf: () => KEY, log: listening, clock: { now: () => now } });
    const go = () => model.stream(say('a', { blocks: [{ text: 'x' }] }), recorder(), never);
    await go();
    await go();
    expect(warnings).toEqual(['a']);
    now += 1001;
    expect((await go()).answeredBy).toMatchObject({ id: 'b', fallback: true });
    expect(warnings).toEqual(['a', 'a']);
  });

  test('is as narrow as its narrowest model', () => {
    const model = router({
      a: { context_window: 200_000, max_output: 9000, fallback: ['b'] },
      b: { upstream: 'local', context_window: 8000 },
    });
    expect(model.limits('a')).toEqual({ contextWindow: 8000, maxOutput: 9000 });
  });
});

test('models are listed where a request by that name would reach them, with what is configured', async () => {
  const listed = await router({ small: { upstream: 'local', model: 'qwen3:8b', context_window: 8000, max_output: 1000 } }).listModels();
  expect(listed).toEqual([
    // Both fake models list this id, and the default upstream is the one it reaches.
    { id: 'manyhands-fake', display_name: 'Manyhands fake model (scripted)', created_at: '2026-01-01T00:00:00Z' },
    { id: 'small', display_name: 'small', created_at: '1970-01-01T00:00:00.000Z', max_input_tokens: 8000, max_tokens: 1000 },
  ]);
});

describe('configuration', () => {
  const up = { kind: 'openai', base_url: 'http://127.0.0.1:1' };
  const parse = (change: object) => () =>
    parseModelRoutes(JSON.stringify({ upstreams: { a: up }, default_upstream: 'a', ...change }), 'MODEL_ROUTES');

  test.each<[string, object, RegExp]>([
    ['a missing default', { default_upstream: undefined }, /default_upstream: /],
    ['an unknown default', { default_upstream: 'b' }, /default_upstream: names no upstream; there are: a/],
    ['an unknown kind', { upstreams: { a: { ...up, kind: 'cohere' } } }, /upstreams\.a\.kind: kind must be "anthropic" or "openai"/],
    ['an unknown upstream', { models: { m: { upstream: 'b' } } }, /models\.m\.upstream: names no upstream/],
    ['an unknown field', { models: { m: { modle: 'x' } } }, /models\.m: .*modle/],
    ['a field of the other kind', { upstreams: { a: { ...up, kind: 'anthropic', images: true } } }, /upstreams\.a: .*images/],
    ['a model that falls back on itself', { models: { m: { fallback: ['m'] } } }, /models\.m\.fallback\.0: /],
    ['a pattern in a chain', { models: { m: { fallback: ['x*'] } } }, /models\.m\.fallback\.0: /],
    ['a pattern that renames', { models: { 'm*': { model: 'x' } } }, /models\.m\*\.model: /],
    ['a star in the middle', { models: { 'm*n': {} } }, /models\.m\*n: /],
    ['more output than window', { models: { m: { max_output: 10, context_window: 5 } } }, /models\.m\.max_output: /],
    ['no tries', { models: { m: { attempts: 0 } } }, /models\.m\.attempts: /],
    ['two places for a key', { upstreams: { a: { ...up, api_key_env: 'K', api_key_file: '/k' } } }, /upstreams\.a\.api_key_file: /],
  ])('%s is refused with the path of the field', (_what, change, message) => {
    expect(parse(change)).toThrow(message);
    expect(parse(change)).toThrow(/^MODEL_ROUTES cannot be used/);
  });

  test('a key in the configuration is refused, and no message repeats one', () => {
    for (const change of [
      { upstreams: { a: { ...up, api_key: KEY } } },
      { upstreams: { a: { ...up, api_key_env: KEY } } },
      { upstreams: { a: { ...up, base_url: `http://user:${KEY}@x` } } },
    ]) {
      const error = (() => {
        try {
          createModelRouter({ routes: parse(change)(), keyOf: () => '', log });
          return null;
        } catch (thrown) {
          return thrown as Error;
        }
      })();
      expect(error?.message).toMatch(/upstreams\.a/);
      expect(error?.message).not.toContain(KEY);
    }
    expect(() => parseModelRoutes(`{"key": ${KEY}`, 'MODEL_ROUTES')).toThrow(/^MODEL_ROUTES is not valid JSON$/);
  });

  describe('keys', () => {
    let directory: string;
    beforeEach(() => {
      directory = mkdtempSync(path.join(tmpdir(), 'routes-'));
    });
    afterEach(() => rmSync(directory, { recursive: true }));
    const keys = (fields: object, env = {}) =>
      readModelKeys(parse({ upstreams: { a: { ...up, ...fields } } })(), { env, readFile: (file) => readFileSync(file, 'utf8') })('a');

    test('come from a variable or a file, without the line end', () => {
      const file = path.join(directory, 'key');
      writeFileSync(file, `${KEY}\n`);
      expect(keys({ api_key_file: file })).toBe(KEY);
      expect(keys({ api_key_env: 'K' }, { K: KEY })).toBe(KEY);
      expect(keys({})).toBe('');
    });

    test('that are missing, empty or unusable are told by their field, never by their text', () => {
      expect(() => keys({ api_key_env: 'K' })).toThrow(/upstreams\.a\.api_key_env: the variable K is not set/);
      expect(() => keys({ api_key_file: path.join(directory, 'none') })).toThrow(/upstreams\.a\.api_key_file: the file cannot be read/);
      const file = path.join(directory, 'key');
      writeFileSync(file, ' \n');
      expect(() => keys({ api_key_file: file })).toThrow(/is empty/);
      expect(() => keys({ api_key_env: 'K' }, { K: 'se cret' })).toThrow(/^(?!.*se cret).*no HTTP header takes/);
    });
  });
});

test('a request that asks for what an upstream of the chain does not have goes on to the next', async () => {
  const models = { a: { upstream: 'away', attempts: 1, fallback: ['b', 'c'] }, b: { upstream: 'local' }, c: { upstream: 'main' } };
  const model = router(models, { upstreams: { away: { kind: 'anthropic', base_url: 'http://127.0.0.1:1' } } });
  const answer = await model.stream({ ...ask('hi', { tools: [] }), model: 'a', speed: 'fast' }, recorder(), never);
  expect(answer.answeredBy).toMatchObject({ id: 'c', upstream: 'main' });
});
