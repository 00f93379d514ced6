/** The fake model as a server: what it refuses, how it counts, how it keeps its journal, and that its default job is a real one. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ModelRequest, ModelResponse } from '../src/index.ts';
import { type FakeModel, fakeScript, type JournalEntry, startFakeModel } from '../src/testing.ts';
import { type FakeModelProcess, spawnFakeModel } from './fake-process.ts';
import { ask, askScript, BASH, modelFor, never, recorder } from './harness-side.ts';

let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0 });
});
afterAll(() => fake.close());

const HEADERS = { 'content-type': 'application/json', 'x-api-key': 'k', 'anthropic-version': '2023-06-01' };
async function post(body: unknown, options: { route?: string; headers?: Record<string, string>; url?: string } = {}) {
  const answer = await fetch(`${options.url ?? fake.url}${options.route ?? '/v1/messages'}`, {
    method: 'POST',
    headers: options.headers ?? HEADERS,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
}

describe('requests that the API would refuse', () => {
  const user = (content: unknown) => ({ role: 'user', content });
  const assistant = (content: unknown) => ({ role: 'assistant', content });
  const call = (id: string) => ({ type: 'tool_use', id, name: 'bash', input: {} });
  const result = (id: string, extra: object = {}) => ({ type: 'tool_result', tool_use_id: id, content: 'ok', ...extra });
  const base = { model: 'm', max_tokens: 100, tools: [BASH], messages: [user('hi')] };
  const mark = { cache_control: { type: 'ephemeral' } };

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['no model', { model: undefined }, /model: Field required/],
    ['max_tokens 0', { max_tokens: 0 }, /max_tokens/],
    ['an unknown field', { temprature: 1 }, /temprature: Extra inputs are not permitted/],
    ['no messages', { messages: [] }, /at least one message/],
    ['an assistant first', { messages: [assistant('hi'), user('x')] }, /first message must use the "user" role/],
    ['a system role inside', { messages: [user('x'), { role: 'system', content: 'x' }, user('x')] }, /messages\.1\.role/],
    ['an empty text', { messages: [user([{ type: 'text', text: '' }])] }, /text content blocks must be non-empty/],
    ['a blank text', { messages: [user([{ type: 'text', text: ' \n' }])] }, /non-whitespace/],
    ['an empty content', { messages: [user([])] }, /non-empty content/],
    ['a prefill', { messages: [user('x'), assistant('so')] }, /prefill/],
    [
      'an unanswered tool call',
      { messages: [user('x'), assistant([call('a'), call('b')]), user([result('a')])] },
      /without `tool_result`.*: b\./,
    ],
    [
      'a result in a later message',
      { messages: [user('x'), assistant([call('a')]), user('y'), assistant('z'), user([result('a')])] },
      /without `tool_result`/,
    ],
    ['a result for nothing', { messages: [user([result('a')])] }, /unexpected `tool_use_id`/],
    ['two results for one call', { messages: [user('x'), assistant([call('a')]), user([result('a'), result('a')])] }, /single result/],
    [
      'a result after text',
      { messages: [user('x'), assistant([call('a')]), user([{ type: 'text', text: 'y' }, result('a')])] },
      /must come first/,
    ],
    ['the same id twice', { messages: [user('x'), assistant([call('a'), call('a')]), user([result('a')])] }, /unique/],
    ['an id with spaces', { messages: [user('x'), assistant([call('a b')]), user([result('a b')])] }, /pattern/],
    [
      'an input that is no object',
      { messages: [user('x'), assistant([{ ...call('a'), input: 'ls' }]), user([result('a')])] },
      /valid dictionary/,
    ],
    [
      'an error result without text',
      { messages: [user('x'), assistant([call('a')]), user([result('a', { is_error: true, content: '' })])] },
      /is_error/,
    ],
    ['a tool call by the user', { messages: [user([call('a')])] }, /not allowed for the user role/],
    [
      'a forged thinking signature',
      { messages: [user('x'), assistant([{ type: 'thinking', thinking: 'x', signature: 'y' }]), user('z')] },
      /signature/,
    ],
    ['a bad tool name', { tools: [{ ...BASH, name: 'web.fetch' }] }, /tools\.0\.name/],
    ['two tools of one name', { tools: [BASH, BASH] }, /unique/],
    ['a tool without schema', { tools: [{ name: 'x' }] }, /input_schema/],
    ['calls without tools', { tools: undefined, messages: [user('x'), assistant([call('a')]), user([result('a')])] }, /must define tools/],
    ['an empty system text', { system: [{ type: 'text', text: '' }] }, /system/],
    ['five cache marks', { system: [1, 2, 3, 4, 5].map((n) => ({ type: 'text', text: `${n}`, ...mark })) }, /maximum of 4.*Found 5/],
    ['an unknown effort', { output_config: { effort: 'huge' } }, /effort/],
    ['speed without its beta header', { speed: 'fast' }, /fast-mode-2026-02-01/],
    ['a broken script', { messages: [user('```fake\n[{"blocks": [}]\n```')] }, /the script is not JSON/],
    ['a script with an unknown field', { messages: [user('```fake\n[{"blokcs": []}]\n```')] }, /step 0.*blokcs/],
  ])('%s is a 400 in the error envelope', async (_what, change, message) => {
    const answer = await post({ ...base, ...change });
    expect(answer.status).toBe(400);
    const body = JSON.parse(answer.text) as { type: string; error: { type: string; message: string }; request_id: string };
    expect(body).toMatchObject({ type: 'error', error: { type: 'invalid_request_error', message: expect.stringMatching(message) } });
    expect(body.request_id).toBe(answer.headers.get('request-id'));
  });

  test('broken JSON is a 400, a missing key a 401, an unknown route a 404', async () => {
    expect((await post('{"model":')).status).toBe(400);
    expect((await post(base, { headers: { 'anthropic-version': '2023-06-01' } })).status).toBe(401);
    expect((await post(base, { route: '/v1/complete' })).status).toBe(404);
  });

  test('consecutive messages of one role are merged, and results may be spread over them', async () => {
    const messages = [
      user('x'),
      assistant('thinking about it'),
      assistant([call('a'), call('b')]),
      user([result('a')]),
      user([result('b')]),
      user('go on'),
    ];
    const answer = await post({ ...base, messages });
    expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('"stop_reason":"tool_use"')]);
  });
});

describe('the wire', () => {
  test('a request without stream gets one message', async () => {
    const messages = [{ role: 'user', content: fakeScript([{ blocks: [{ text: 'whole' }] }]) }];
    const answer = await post({ model: 'any-id', max_tokens: 50, messages });
    expect(JSON.parse(answer.text)).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: 'any-id',
      content: [{ type: 'text', text: 'whole' }],
      stop_reason: 'end_turn',
    });
  });

  test('a stream has the events of the API in their order, with a ping', async () => {
    const messages = [{ role: 'user', content: fakeScript([{ delta_chars: 3, blocks: [{ text: 'whole' }] }]) }];
    const { text } = await post({ model: 'm', max_tokens: 50, messages, stream: true });
    expect([...text.matchAll(/^event: (.*)$/gm)].map((match) => match[1])).toEqual([
      'message_start',
      'content_block_start',
      'ping',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
  });

  test('tokens are counted without max_tokens, and a model is found by id', async () => {
    const counted = await post(
      { model: 'm', messages: [{ role: 'user', content: 'x'.repeat(4000) }] },
      { route: '/v1/messages/count_tokens' },
    );
    expect((JSON.parse(counted.text) as { input_tokens: number }).input_tokens).toBeGreaterThan(1000);
    const found = await fetch(`${fake.url}/v1/models/manyhands-fake`, { headers: HEADERS });
    expect(await found.json()).toMatchObject({ type: 'model', id: 'manyhands-fake' });
    expect((await fetch(`${fake.url}/v1/models/other`, { headers: HEADERS })).status).toBe(404);
  });

  test('the journal tells what was asked, by session, and forgets when told', async () => {
    await modelFor(fake.url).stream(ask('remember me', { sessionId: 'sesn_journal' }), recorder(), never);
    const read = async (query: string) =>
      ((await (await fetch(`${fake.url}/fake/journal${query}`)).json()) as { data: JournalEntry[] }).data;
    const [entry, ...more] = await read('?session=sesn_journal');
    expect(more).toEqual([]);
    expect(entry).toMatchObject({ session: 'sesn_journal', path: '/v1/messages', status: 200, source: 'default', step: 0 });
    expect(JSON.stringify(entry!.body)).toContain('remember me');
    expect(entry!.first_byte_at_ms).toBeGreaterThanOrEqual(entry!.received_at_ms);
    expect(await read('?limit=1')).toHaveLength(1);
    await fetch(`${fake.url}/fake/journal`, { method: 'DELETE' });
    expect(await read('')).toEqual([]);
  });
});

describe('usage', () => {
  test('the cached part grows with the stable prefix, and the counts add up to the prompt', async () => {
    const fresh = await startFakeModel({ port: 0 });
    try {
      const model = modelFor(fresh.url);
      const cache_control = { type: 'ephemeral' as const };
      const system = [{ type: 'text' as const, text: 's'.repeat(4000), cache_control }];
      const messages: Anthropic.MessageParam[] = [];
      const turn = async (said: string): Promise<ModelResponse['usage']> => {
        messages.push({ role: 'user', content: [{ type: 'text', text: fakeScript([{ blocks: [{ text: said }] }]) }] });
        // The harness marks the newest block only.
        const marked = messages.map((message, at) =>
          at < messages.length - 1
            ? message
            : { ...message, content: (message.content as Anthropic.TextBlockParam[]).map((block) => ({ ...block, cache_control })) },
        );
        const answer = await model.stream(ask('', { system, messages: marked }), recorder(), never);
        messages.push({ role: 'assistant', content: answer.content as Anthropic.ContentBlockParam[] });
        return answer.usage;
      };
      const usages = [await turn('one'), await turn('two'), await turn('three')];
      expect(usages[0]!.cache_read_input_tokens).toBe(0);
      expect(usages[0]!.cache_creation_5m).toBeGreaterThan(1000);
      for (const at of [1, 2]) {
        const [before, now] = [usages[at - 1]!, usages[at]!];
        expect(now.cache_read_input_tokens).toBe(before.cache_read_input_tokens + before.cache_creation_input_tokens);
        expect(now.cache_creation_input_tokens).toBeGreaterThan(0);
        expect(now.cache_creation_input_tokens).toBeLessThan(200);
        expect(now.input_tokens).toBe(0);
      }
    } finally {
      await fresh.close();
    }
  });
});

describe('scripts', () => {
  test('steps follow the conversation, results and the said text are filled in, and after the end comes a closing text', async () => {
    const script = fakeScript(
      [
        { blocks: [{ tool: 'bash', input: { command: 'date' } }] },
        { blocks: [{ text: 'You said {{echo}}; it is {{last_tool_result}}.' }] },
      ],
      'what time is it?',
    );
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content: script }];
    const model = modelFor(fake.url);
    const answers: ModelResponse[] = [];
    for (let n = 0; n < 3; n++) {
      const answer = await model.stream(ask('', { messages }), recorder(), never);
      answers.push(answer);
      messages.push({ role: 'assistant', content: answer.content as Anthropic.ContentBlockParam[] });
      const [block] = answer.content;
      messages.push({
        role: 'user',
        content:
          block?.type === 'tool_use'
            ? [{ type: 'tool_result', tool_use_id: block.id, content: 'noon $& sharp' }]
            : [{ type: 'text', text: script }],
      });
      if (n === 1) messages.splice(-1, 1, { role: 'assistant', content: 'x' }, { role: 'user', content: 'y' });
    }
    expect(answers[1]!.content).toMatchObject([{ text: 'You said what time is it?; it is noon $& sharp.' }]);
    expect(answers[1]!.stopReason).toBe('end_turn');
    const past = [
      { role: 'user' as const, content: script },
      { role: 'assistant' as const, content: 'a' },
      { role: 'user' as const, content: [{ type: 'text' as const, text: '   .' }] },
    ];
    expect((await model.stream(ask('', { messages: past }), recorder(), never)).stopReason).toBe('tool_use');
  });

  test('the newest user text decides: a plain one after a scripted one gets the default job', async () => {
    const messages: Anthropic.MessageParam[] = [
      { role: 'user', content: fakeScript([{ blocks: [{ text: 'scripted' }] }]) },
      { role: 'user', content: 'never mind' },
    ];
    const answer = await modelFor(fake.url).stream(ask('', { messages }), recorder(), never);
    expect(answer.content).toMatchObject([{ text: expect.stringContaining('never mind') }, { type: 'tool_use', name: 'bash' }]);
  });

  test('attempts are counted per session', async () => {
    const model = modelFor(fake.url);
    const script = (sessionId: string) =>
      askScript([{ error: { status: 529, type: 'overloaded_error' }, blocks: [{ text: 'ok' }] }], { sessionId });
    for (const session of ['sesn_one', 'sesn_two']) {
      await expect(model.stream(script(session), recorder(), never)).rejects.toMatchObject({ kind: 'overloaded' });
      await expect(model.stream(script(session), recorder(), never)).resolves.toMatchObject({ stopReason: 'end_turn' });
    }
  });
});

describe('the default job', () => {
  const TOOLS = ['bash', 'write', 'read', 'glob'].map((name) => ({ ...BASH, name }));
  interface Sandbox {
    directory: string;
    /** Names of tools to fail once. */
    broken: string[];
    calls: string[];
  }
  function execute(sandbox: Sandbox, block: Anthropic.ToolUseBlock): { content: string; is_error: boolean } {
    const input = block.input as Record<string, string>;
    const local = (file: string) => file.replace('/workspace', sandbox.directory);
    sandbox.calls.push(block.name);
    const broken = sandbox.broken.indexOf(block.name);
    if (broken >= 0) {
      sandbox.broken.splice(broken, 1);
      return { content: 'the sandbox was lost', is_error: true };
    }
    try {
      if (block.name === 'bash')
        return {
          content: execFileSync('bash', ['-c', input['command']!], { cwd: sandbox.directory, encoding: 'utf8', stdio: 'pipe' }),
          is_error: false,
        };
      if (block.name === 'write') {
        writeFileSync(local(input['file_path']!), input['content']!);
        return { content: 'wrote', is_error: false };
      }
      if (block.name === 'read') return { content: readFileSync(local(input['file_path']!), 'utf8'), is_error: false };
      return { content: readdirSync(sandbox.directory).join('\n') || 'no matches', is_error: false };
    } catch (error) {
      return { content: String(error), is_error: true };
    }
  }
  /** A harness in a few lines: runs a turn to its end. */
  async function runTurn(
    messages: Anthropic.MessageParam[],
    said: string,
    sandbox: Sandbox,
    tools: ModelRequest['tools'] = TOOLS,
  ): Promise<string> {
    const model = modelFor(fake.url);
    messages.push({ role: 'user', content: said });
    for (let round = 0; round < 12; round++) {
      const answer = await model.stream(ask('', { messages, tools }), recorder(), never);
      messages.push({ role: 'assistant', content: answer.content as Anthropic.ContentBlockParam[] });
      const calls = answer.content.filter((block) => block.type === 'tool_use');
      if (calls.length === 0) return answer.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
      messages.push({
        role: 'user',
        content: calls.map((call) => ({ type: 'tool_result', tool_use_id: call.id, ...execute(sandbox, call) })),
      });
    }
    throw new Error('the turn never ended');
  }
  async function inSandbox<T>(broken: string[], work: (sandbox: Sandbox) => Promise<T>): Promise<T> {
    const directory = mkdtempSync(path.join(tmpdir(), 'fake-'));
    try {
      return await work({ directory, broken, calls: [] });
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  test('looks, writes a program, runs it and reports its true output; the next turn runs it again', async () => {
    await inSandbox([], async (sandbox) => {
      writeFileSync(path.join(sandbox.directory, 'notes.txt'), 'a\nb\nc\n');
      const messages: Anthropic.MessageParam[] = [];
      const first = await runTurn(messages, 'What is in my workspace?', sandbox);
      expect(sandbox.calls).toEqual(['bash', 'glob', 'write', 'bash', 'read']);
      expect(first).toContain('primes below 100000: 9592');
      expect(first).toMatch(/files: 2, lines: \d+, bytes: \d+/);
      expect(JSON.parse(readFileSync(path.join(sandbox.directory, 'workspace-report.json'), 'utf8'))).toMatchObject({
        files: 2,
        primes: 9592,
      });
      expect(JSON.stringify(messages)).toContain('What is in my workspace?');
      writeFileSync(path.join(sandbox.directory, 'more.txt'), 'd\n');
      sandbox.calls.length = 0;
      const second = await runTurn(messages, 'And now?', sandbox);
      expect(sandbox.calls).toEqual(['bash', 'read']);
      expect(second).toMatch(/files: 3, lines/);
    });
  });

  test.each([
    ['bash', ['bash', 'glob', 'bash', 'glob', 'write', 'bash', 'read']],
    ['write', ['bash', 'glob', 'write', 'write', 'bash', 'read']],
    ['read', ['bash', 'glob', 'write', 'bash', 'read', 'read']],
  ])('a %s call that fails once does not stop it', async (tool, calls) => {
    await inSandbox([tool], async (sandbox) => {
      expect(await runTurn([], 'go', sandbox)).toContain('primes below 100000: 9592');
      expect(sandbox.calls).toEqual(calls);
    });
  });

  test('a sandbox lost between writing and running makes it write the program again', async () => {
    await inSandbox([], async (sandbox) => {
      const lose = { ...sandbox, calls: sandbox.calls };
      // The program is gone when it is to be run for the first time.
      Object.defineProperty(lose, 'directory', {
        get: () => {
          if (sandbox.calls.length === 4 && sandbox.calls[3] === 'bash')
            rmSync(path.join(sandbox.directory, 'workspace-report.mjs'), { force: true });
          return sandbox.directory;
        },
      });
      expect(await runTurn([], 'go', lose)).toContain('primes below 100000: 9592');
      expect(sandbox.calls).toEqual(['bash', 'glob', 'write', 'bash', 'write', 'bash', 'read']);
    });
  });

  test('a sandbox that always fails ends the turn with what the tool said', async () => {
    await inSandbox(Array<string>(20).fill('bash'), async (sandbox) => {
      const said = await runTurn([], 'go', sandbox, [BASH]);
      expect(said).toContain('the sandbox was lost');
      expect(sandbox.calls).toEqual(['bash', 'bash']);
    });
  });

  test('with bash alone it does the same job through the shell', async () => {
    await inSandbox([], async (sandbox) => {
      expect(await runTurn([], 'go', sandbox, [BASH])).toContain('primes below 100000: 9592');
      expect(sandbox.calls).toEqual(['bash', 'bash', 'bash']);
    });
  });

  test('without tools it answers plainly and says what it is', async () => {
    const answer = await modelFor(fake.url).stream(ask('How are you?', { tools: [] }), recorder(), never);
    expect(answer.content).toMatchObject([{ text: expect.stringMatching(/How are you\?.*no tools.*built-in fake model/s) }]);
  });
});

describe('as a process', () => {
  let processes: FakeModelProcess[] = [];
  beforeAll(async () => {
    processes = await Promise.all([spawnFakeModel(), spawnFakeModel()]);
  });
  afterAll(async () => void (await Promise.all(processes.map((process) => process.stop()))));

  test('two processes answer the same requests with the same bytes', async () => {
    const bodies = [
      'do something',
      fakeScript([{ blocks: [{ thinking: 'hm' }, { text: 'é🌍' }, { tool: 'bash', input: { command: 'ls' } }] }]),
    ].map((content) => ({ model: 'm', max_tokens: 1000, stream: true, tools: [BASH], messages: [{ role: 'user', content }] }));
    for (const body of bodies) {
      const [one, two] = await Promise.all(processes.map(({ url }) => post(body, { url })));
      expect(one!.status).toBe(200);
      expect(one!.text).toBe(two!.text);
    }
  });

  test('SIGTERM ends it cleanly, also while a stream is open, and so does the end of its parent', async () => {
    const [one, two] = processes as [FakeModelProcess, FakeModelProcess];
    const messages = [{ role: 'user', content: fakeScript([{ delta_ms: 60_000, blocks: [{ text: 'x' }] }]) }];
    const open = fetch(`${one.url}/v1/messages`, {
      method: 'POST',
      headers: HEADERS,
      body: JSON.stringify({ model: 'm', max_tokens: 9, messages, stream: true }),
    });
    await (await open).body!.getReader().read();
    expect(await one.stop()).toBe(0);
    two.child.stdin!.end();
    expect(await new Promise((resolve) => two.child.once('exit', resolve))).toBe(0);
  });
});
