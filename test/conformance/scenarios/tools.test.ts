/** The built-in tools in real sandboxes, called by the fake model. */
import { createHash } from 'node:crypto';
import type { FakeBlock } from '@manyhands/model/testing';
import { processTable, until } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import {
  type AgentWish,
  answer,
  expectSound,
  follow,
  history,
  INTERRUPT,
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

const stack = useStack({ tier: 'full', env: { 'sandbox-pool': { MANYHANDS_POOL_WARM: '2' } } });
const ALL: NonNullable<AgentWish['tools']> = ['bash', 'read', 'write', 'edit', 'glob', 'grep', 'web_fetch'];
const LONG_MS = 60_000;

const bash = (command: string, more: object = {}): FakeBlock => ({ tool: 'bash', input: { command, ...more } });
const use = (tool: string, input: Record<string, unknown>): FakeBlock => ({ tool, input });

interface Result {
  text: string;
  isError: boolean;
}

/** One turn in which the model makes these calls, one after the other; their results, in order. */
async function run(id: string, ...calls: FakeBlock[]): Promise<Result[]> {
  await using stream = await follow(stack(), id);
  await send(stack(), id, script([...calls.map((call) => ({ blocks: [call] })), answer('done')]));
  await stream.next('session.status_idle');
  const results = only(stream.events, 'agent.tool_result');
  expect(results).toHaveLength(calls.length);
  return results.map((result, i) => ({ text: texts([result], 'agent.tool_result')[0]!, isError: results[i]!.is_error === true }));
}
const open = (wish: AgentWish = {}) => openSession(stack(), { tools: ALL, ...wish });
const fine = (text: string): Result => ({ text, isError: false });

describe('bash', () => {
  verifies(
    ['tools.bash', 'tools.events'],
    async () => {
      const id = await open();
      await using stream = await follow(stack(), id);
      await send(
        stack(),
        id,
        script([{ blocks: [{ text: 'let me see' }, bash('echo out; echo err >&2')] }, answer('it said {{last_tool_result}}')]),
      );
      await stream.next('session.status_idle');
      const events = await history(stack(), id);
      expectSound(events);
      expect(types(events)).toEqual([
        'session.status_running',
        'session.thread_status_running',
        'user.message',
        'span.model_request_start',
        'agent.message',
        'agent.tool_use',
        'span.model_request_end',
        'agent.tool_result',
        'span.model_request_start',
        'agent.message',
        'span.model_request_end',
        'session.thread_status_idle',
        'session.usage',
        'session.status_idle',
      ]);
      const stamp = { id: expect.stringMatching(/^sevt_/), processed_at: expect.any(String) };
      expect(events[5]).toEqual({
        type: 'agent.tool_use',
        ...stamp,
        name: 'bash',
        input: { command: 'echo out; echo err >&2' },
        evaluated_permission: 'allow',
        evaluation: { type: 'always_allow' },
      });
      expect(events[7]).toEqual({
        type: 'agent.tool_result',
        ...stamp,
        tool_use_id: events[5]!.id,
        content: [{ type: 'text', text: 'out\nerr' }],
        is_error: false,
      });
      expect(texts(events, 'agent.message')).toEqual(['let me see', 'it said out\nerr']);
      // The model sees the call under the id of its event, with its result.
      const [, second] = await modelRequests(stack(), id);
      expect(second!.body.messages.slice(1)).toMatchObject([
        {
          role: 'assistant',
          content: [
            { type: 'text', text: 'let me see' },
            { type: 'tool_use', id: events[5]!.id, name: 'bash' },
          ],
        },
        {
          role: 'user',
          content: [{ type: 'tool_result', tool_use_id: events[5]!.id, is_error: false, content: [{ type: 'text', text: 'out\nerr' }] }],
        },
      ]);
    },
    LONG_MS,
  );

  verifies(
    'tools.bash.shell',
    async () => {
      const id = await open();
      const results = await run(
        id,
        bash('pwd'),
        bash('cd /tmp && export GREETING=hello && later() { echo "$GREETING from $PWD"; }'),
        bash('later'),
        bash('echo to stderr >&2; exit_code() { return 3; }; exit_code'),
        bash('true'),
        bash('false'),
        bash('read -r line; echo "stdin: [$line]"'),
        use('bash', { restart: true }),
        bash('echo "[$GREETING]"; pwd'),
        bash('sleep 30', { timeout_ms: 300 }),
        bash('echo new shell'),
        bash('env | grep -ci anthropic'),
      );
      expect(results).toEqual([
        fine('/workspace'),
        fine('(no output)'),
        fine('hello from /tmp'),
        { text: 'to stderr', isError: true },
        fine('(no output)'),
        { text: 'exit 1', isError: true },
        fine('stdin: []'),
        fine('bash session restarted'),
        fine('[]\n/workspace'),
        { text: expect.stringMatching(/300 ms/), isError: true },
        fine('new shell'),
        { text: '0', isError: true },
      ]);
    },
    LONG_MS,
  );
});

describe('files', () => {
  verifies(
    'tools.files',
    async () => {
      const id = await open();
      const results = await run(
        id,
        use('write', { file_path: '/workspace/src/a.txt', content: 'one\ntwo\nthree\nünï\n' }),
        use('read', { file_path: 'src/a.txt' }),
        use('read', { file_path: '/workspace/src/a.txt', view_range: [2, 3] }),
        use('read', { file_path: '/workspace/src/a.txt', view_range: [3, 0] }),
        use('edit', { file_path: '/workspace/src/a.txt', old_string: 'two', new_string: '2' }),
        use('edit', { file_path: '/workspace/src/a.txt', old_string: 'e', new_string: 'E', replace_all: true }),
        use('edit', { file_path: '/workspace/src/a.txt', old_string: 'nothing', new_string: 'x' }),
        use('edit', { file_path: '/workspace/src/a.txt', old_string: 'E', new_string: 'x' }),
        bash('cat src/a.txt; mkdir -p node_modules/x .git; touch node_modules/x/b.txt .git/c.txt; sleep 0.02; echo two > src/b.txt'),
        use('glob', { pattern: '**/*.txt' }),
        use('glob', { pattern: '*.nothing' }),
        use('grep', { pattern: '^t', path: '/workspace/src' }),
        use('grep', { pattern: 'absent' }),
        use('grep', { pattern: '(' }),
        use('read', { file_path: '/workspace/none.txt' }),
        use('read', { file_path: '/workspace/src' }),
      );
      const [
        wrote,
        read,
        range,
        open_end,
        edit,
        edit_all,
        not_found,
        twice,
        shell,
        glob,
        no_glob,
        grep,
        no_grep,
        bad_grep,
        missing,
        directory,
      ] = results;
      expect(wrote).toEqual(fine('wrote 20 bytes to /workspace/src/a.txt'));
      expect(read).toEqual(fine('one\ntwo\nthree\nünï\n'));
      expect(range!.text.trimEnd()).toBe('two\nthree');
      expect(open_end!.text.trimEnd()).toBe('three\nünï');
      expect(edit).toEqual(fine('edited /workspace/src/a.txt (1 replacement(s))'));
      expect(edit_all).toEqual(fine('edited /workspace/src/a.txt (3 replacement(s))'));
      expect(not_found).toEqual({ text: expect.stringContaining('not found'), isError: true });
      expect(twice).toEqual({ text: expect.stringContaining('3 times'), isError: true });
      expect(shell!.text).toBe('onE\n2\nthrEE\nünï');
      expect(glob!.text.split('\n').map((line) => line.split('/').at(-1))).toEqual(['b.txt', 'a.txt']);
      expect(no_glob).toEqual(fine('no matches'));
      expect(grep!.text.split('\n').toSorted()).toEqual([expect.stringMatching(/a\.txt:3:thrEE$/), expect.stringMatching(/b\.txt:1:two$/)]);
      expect(no_grep).toEqual(fine('no matches'));
      for (const refused of [bad_grep, missing, directory]) expect(refused!.isError).toBe(true);
      expect(missing!.text).toContain('no such file');
    },
    LONG_MS,
  );

  verifies(
    'tools.media',
    async () => {
      const id = await open();
      const gif = 'R0lGODdhAwACAIEAAMgKCgAAAAAAAAAAACwAAAAAAwACAAAIBgABCBwYEAA7';
      const paper = `(printf '%%PDF-1.4\\n<< /Type /Page >>\\n'; head -c 3000000 /dev/zero; printf '\\n%%%%EOF\\n') > paper`;
      const calls = [
        bash(`echo ${gif} | base64 -d > picture.txt; ${paper}; base64 -w0 paper | sha256sum`),
        use('read', { file_path: 'picture.txt' }),
        use('read', { file_path: 'paper' }),
      ];
      await using stream = await follow(stack(), id);
      await send(stack(), id, script([...calls.map((call) => ({ blocks: [call] })), answer('seen')]));
      await stream.next('session.status_idle');
      const events = await history(stack(), id);
      expectSound(events);
      const [made, picture, document] = only(events, 'agent.tool_result');
      const image = { type: 'image', source: { type: 'base64', media_type: 'image/gif', data: gif } };
      expect(picture).toMatchObject({ is_error: false, content: [image] });
      expect(document).toMatchObject({ is_error: false, content: [{ type: 'document', source: { media_type: 'application/pdf' } }] });
      const { data } = (document!.content![0] as { source: { data: string } }).source;
      expect(createHash('sha256').update(data).digest('hex')).toBe(texts([made!], 'agent.tool_result')[0]!.slice(0, 64));
      const last = (await modelRequests(stack(), id)).at(-1)!.body.messages;
      expect(last.at(-3).content[0].content).toEqual([image]);
      expect(last.at(-1).content[0].content[0].source.data === data).toBe(true);
    },
    LONG_MS,
  );

  verifies(
    'tools.spill',
    async () => {
      const id = await open();
      const [, read] = await run(id, bash('seq -w 1 20000 > long; cp long twin'), use('read', { file_path: 'long' }));
      const path = /the whole is in (\S+)\./.exec(read!.text)?.[1];
      const [same, shell] = await run(id, bash(`cmp long ${path} && echo same`), bash('cat long twin twin'));
      expect(read!.text.length).toBeLessThan(25_000);
      expect(read!.text).toContain('\n00001\n00002\n');
      expect(same).toEqual(fine('same'));
      expect(shell!.text).toMatch(/^\[output truncated\]\n\[the whole is in /);
      expect(shell!.text.length).toBeLessThanOrEqual(100_000);
      const whole = /the whole is in (\S+);/.exec(shell!.text)?.[1];
      expect((await run(id, bash(`wc -l < ${whole}; head -1 ${whole}`)))[0]).toEqual(fine('60000\n00001'));
    },
    LONG_MS,
  );

  verifies(
    'tools.confined',
    async () => {
      const id = await open();
      const results = await run(
        id,
        use('read', { file_path: '/etc/passwd' }),
        use('read', { file_path: '/proc/self/environ' }),
        use('read', { file_path: '../etc/passwd' }),
        use('write', { file_path: '/etc/x', content: 'x' }),
        use('write', { file_path: '/workspace/../../etc/x', content: 'x' }),
        bash('ln -s /etc/passwd link; ln -s /etc dir'),
        use('read', { file_path: '/workspace/link' }),
        use('read', { file_path: '/workspace/dir/passwd' }),
        use('edit', { file_path: '/workspace/link', old_string: 'root', new_string: 'x' }),
        use('glob', { pattern: '../**' }),
        use('glob', { pattern: '*', path: '/etc' }),
        use('grep', { pattern: 'root', path: '/workspace/dir' }),
        bash('head -c 4 /etc/passwd > /dev/null && echo bash may'),
      );
      for (const [i, { isError, text }] of results.entries()) {
        if (i === 5) continue;
        expect(isError, `${i}: ${text}`).toBe(i !== results.length - 1);
        expect(text).not.toContain('root:');
      }
    },
    LONG_MS,
  );

  verifies(
    'tools.bad_input',
    async () => {
      const id = await open();
      const results = await run(
        id,
        use('bash', {}),
        use('bash', { command: 5 }),
        use('read', {}),
        use('read', { file_path: '/workspace/a', view_range: [1] }),
        use('write', { file_path: '/workspace/a' }),
        use('edit', { file_path: '/workspace/a', old_string: '', new_string: 'x' }),
        use('glob', { pattern: '/etc/*' }),
        use('grep', {}),
        use('bash', { command: 'true', colour: 'red' }),
        { tool: 'write', raw_input: '{"file_path": "/workspace/x", ' },
        use('web_fetch', { url: 'file:///etc/passwd' }),
      );
      const named = ['command', 'command', 'file_path', 'view_range', 'content', 'old_string', 'pattern', 'pattern', 'colour', '', 'url'];
      for (const [i, { isError, text }] of results.entries()) {
        expect(isError, text).toBe(true);
        expect(text).toContain(named[i]!);
      }
    },
    LONG_MS,
  );
});

describe('calls', () => {
  verifies(
    'tools.parallel',
    async () => {
      const id = await open();
      await using stream = await follow(stack(), id);
      const blocks = [
        use('write', { file_path: '/workspace/p.txt', content: 'p' }),
        bash('sleep 0.3; echo slow'),
        use('glob', { pattern: '*.none' }),
      ];
      await send(stack(), id, script([{ blocks }, answer('all three')]));
      await stream.next('session.status_idle');
      const events = await history(stack(), id);
      expectSound(events);
      const uses = only(events, 'agent.tool_use');
      const results = only(events, 'agent.tool_result');
      const byCall = (at: number) =>
        texts(
          results.filter(({ tool_use_id }) => tool_use_id === uses[at]!.id),
          'agent.tool_result',
        );
      expect([0, 1, 2].map(byCall)).toEqual([['wrote 1 bytes to /workspace/p.txt'], ['slow'], ['no matches']]);
      // The model gets all results in one turn of the user.
      const [, second] = await modelRequests(stack(), id);
      expect(second!.body.messages).toHaveLength(3);
      expect(second!.body.messages[2].content).toHaveLength(3);
    },
    LONG_MS,
  );

  verifies(
    'tools.interrupt',
    async () => {
      const id = await open();
      await using stream = await follow(stack(), id);
      const mark = `sleep 7${process.pid % 1000}`;
      await send(stack(), id, script([{ blocks: [bash(`echo begun > begun; ${mark}; echo late > late`)] }, answer('never said')]));
      await until(() => processTable().some(({ command }) => command === mark), { what: 'the command to run' });
      await send(stack(), id, INTERRUPT);
      expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
      const events = await history(stack(), id);
      expectSound(events);
      expect(only(events, 'agent.tool_result')[0]).toMatchObject({ is_error: true });
      expect(texts(events, 'agent.tool_result')[0]).toContain('Tool execution was interrupted before completion. Please retry.');
      expect(texts(events, 'agent.message')).toEqual([]);
      await until(() => !processTable().some(({ command }) => command === mark), { what: 'the command to be gone' });
      expect((await run(id, bash('ls')))[0]).toEqual(fine('begun'));
    },
    LONG_MS,
  );

  verifies(
    'tools.workspace',
    async () => {
      const one = await open();
      const two = await open();
      await run(one, bash('echo mine > file; mkdir -p /mnt/session/outputs && echo out > /mnt/session/outputs/o'));
      const [theirs] = await run(two, bash('ls -A /workspace /mnt/session/outputs'));
      expect(theirs!.text).not.toMatch(/file|\bo\b/);
      const [mine] = await run(one, bash('cat file /mnt/session/outputs/o'));
      expect(mine).toEqual(fine('mine\nout'));
    },
    LONG_MS,
  );

  verifies(
    'tools.queued_behind',
    async () => {
      const id = await open();
      await using stream = await follow(stack(), id);
      await send(stack(), id, script([{ blocks: [bash('sleep 0.5; echo first >> log')] }, answer('one')]));
      await stream.next('agent.tool_use');
      await send(stack(), id, script([{ blocks: [bash('echo second >> log; cat log')] }, answer('two')]));
      await stream.next('session.status_idle');
      const events = await history(stack(), id);
      expectSound(events);
      expect(texts(events, 'agent.tool_result')).toEqual(['(no output)', 'first\nsecond']);
      expect(texts(events, 'agent.message')).toEqual(['one', 'two']);
      expect(types(events).filter((type) => type === 'session.status_idle')).toHaveLength(1);
    },
    LONG_MS,
  );

  verifies(
    'tools.default_job',
    async () => {
      const id = await open();
      await using stream = await follow(stack(), id);
      await send(stack(), id, say('What is in the workspace?'));
      expect((await stream.next('session.status_idle')).stop_reason).toEqual({ type: 'end_turn' });
      expectSound(await history(stack(), id));
      expect(only(stream.events, 'agent.tool_result').length).toBeGreaterThanOrEqual(4);
      expect(only(stream.events, 'agent.tool_result').every(({ is_error }) => !is_error)).toBe(true);
      const printed = texts(stream.events, 'agent.tool_result').find((text) => text.includes('sha256'))!;
      expect(texts(stream.events, 'agent.message').at(-1)).toContain(printed.trim());
    },
    LONG_MS,
  );
});
