/** Whole programs in front of a whole stack: a chat in a process of its own, and clients that stand beside a sandbox. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { type FakeScript, fakeScript } from '@manyhands/model/testing';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect } from 'vitest';
import { createFrontend, kinds } from '../../e2e/clients/ag-ui-frontend.ts';
import { follow, history, only, script, texts, types } from '../conversation.ts';
import { OPERATOR_KEY } from '../stack.ts';
import { useStack, verifies } from '../verifies.ts';

const PROGRAM = path.resolve(import.meta.dirname, '../../e2e/clients/chat-program.mjs');
const GRACE_MS = 300;
const stack = useStack({
  tier: 'full',
  env: { 'sandbox-pool': { MANYHANDS_POOL_WARM: '1', MANYHANDS_SANDBOX_GRACE_MS: String(GRACE_MS) } },
});
const LONG_MS = 60_000;
const bash = (command: string) => ({ tool: 'bash', input: { command } });
const BASH = (policy: 'always_ask' | 'always_allow') => ({
  type: 'agent_toolset_20260401' as const,
  default_config: { enabled: false },
  configs: [{ name: 'bash' as const, enabled: true, permission_policy: { type: policy } }],
});

verifies(
  'clients.chat',
  async () => {
    await using directory = await temporaryDirectory('chat');
    const child = spawn(process.execPath, [PROGRAM, directory.path], {
      env: { ANTHROPIC_BASE_URL: stack().url(), ANTHROPIC_API_KEY: OPERATOR_KEY },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    try {
      let output = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
      const exited = once(child, 'exit');
      const type = (text: string) => child.stdin.write(`${text.replaceAll('\n', '\\\n')}\n`);
      const say = (...steps: FakeScript) => type(fakeScript(steps));
      const shown = (text: string, times = 1) =>
        until(() => output.split(text).length > times, { what: `the program to show ${JSON.stringify(text)}; it showed:\n${output}` });

      await shown('> ');
      const file = '/mnt/session/outputs/all/bytes.bin';
      say(
        { blocks: [{ text: 'I will write ' }, { text: 'it down.' }, bash(`mkdir -p ${path.dirname(file)} && ${allBytes(file)}`)] },
        { blocks: [bash('rm -rf /workspace')] },
        { blocks: [{ tool: 'order_status', input: { order: 'A-17' } }] },
        { blocks: [{ text: 'Your order was {{last_tool_result}}, as I heard. '.repeat(3) }], delta_ms: 10, delta_chars: 9 },
      );
      await shown('allow bash? ');
      // The answer meets no gateway, and what comes of it comes to no stream.
      await stack().kill('gateway');
      type('allow');
      await stack().restart('gateway');
      await shown('allow bash? ', 2);
      type('that would be a pity');
      await shown('> ', 2);
      say({ blocks: [{ text: 'Good bye.' }] });
      await shown('> ', 3);
      child.stdin.end();
      expect(await exited).toEqual([0, null]);

      const id = /^(sesn_\w+) used \d+ tokens in, \d+ of the cache, [1-9]\d* out$/m.exec(output)?.[1] ?? '';
      const events = await history(stack(), id);
      expect(texts(events, 'agent.tool_result')).toEqual(['256', expect.stringContaining('that would be a pity')]);
      expect(only(events, 'user.tool_confirmation').map(({ result }) => result)).toEqual(['allow', 'deny']);
      // Every text once, whether it came in pieces, whole, or after the connection was lost.
      const said = texts(events, 'agent.message');
      expect(said).toEqual(['I will write ', 'it down.', 'Your order was shipped yesterday, as I heard. '.repeat(3), 'Good bye.']);
      for (const text of said) expect(output.split(text)).toHaveLength(2);
      expect(output.match(/\[connection lost\]/g)).toHaveLength(1);
      expect(output).toContain('fetched all/bytes.bin, 256 bytes');
      expect(await readFile(path.join(directory.path, 'all/bytes.bin'))).toEqual(Buffer.from(Array.from({ length: 256 }, (_, at) => at)));
    } finally {
      child.kill('SIGKILL');
    }
  },
  LONG_MS,
);

verifies(
  'clients.runner.idle',
  async () => {
    const { agents, environments, sessions } = stack().client().beta;
    const schema = { type: 'object' as const };
    const [agent, environment] = await Promise.all([
      agents.create({
        name: 'a',
        model: 'fake',
        tools: [BASH('always_allow'), { type: 'custom', name: 'note', description: 'Writes something down.', input_schema: schema }],
      }),
      environments.create({ name: 'e' }),
    ]);
    const { id } = await sessions.create({ agent: agent.id, environment_id: environment.id });
    await using stream = await follow(stack(), id);
    const steps: FakeScript = [
      { blocks: [{ tool: 'note', input: {} }] },
      { blocks: [bash('echo here > /mnt/session/outputs/note')] },
      { blocks: [{ text: 'done' }] },
    ];
    await sessions.events.send(id, { events: [script(steps)] });
    const note = betaTool({ name: 'note', description: 'Writes something down.', inputSchema: schema, run: () => 'noted' });
    const dispatched: [string, boolean][] = [];
    // It outlives the sandbox, whose end nobody is told.
    for await (const { name, posted } of sessions.events.toolRunner(id, { tools: [note], maxIdleMs: GRACE_MS + 700 }))
      dispatched.push([name, posted]);
    // The call of the sandbox is not its own, so it has left it alone.
    expect(dispatched).toEqual([
      ['note', true],
      ['bash', false],
    ]);
    expect(types(stream.events).at(-1)).toBe('session.status_idle');
    expect((await history(stack(), id)).at(-1)).toEqual(stream.events.at(-1));
    expect(only(stream.events, 'session.status_idle').at(-1)!.stop_reason).toEqual({ type: 'end_turn' });
  },
  LONG_MS,
);

verifies('clients.ag_ui.sandbox', async () => {
  const client = stack().client();
  const [agent, environment] = await Promise.all([
    client.beta.agents.create({ name: 'a', model: 'fake', tools: [BASH('always_ask')] }),
    client.beta.environments.create({ name: 'e' }),
  ]);
  const frontend = createFrontend({ managedAgentId: agent.id, environmentId: environment.id, client, toolConfirmation: 'allow' });
  const calls = [bash('echo "<one>"'), bash('echo two >&2; exit 3')];
  const told = await frontend.run([{ text: fakeScript([{ blocks: calls }, { blocks: [{ text: 'ran' }] }]) }]);
  const call = ['TOOL_CALL_START', 'TOOL_CALL_ARGS', 'TOOL_CALL_END'];
  const results = ['TOOL_CALL_RESULT', 'TOOL_CALL_RESULT'];
  const text = ['TEXT_MESSAGE_START', 'TEXT_MESSAGE_CONTENT', 'TEXT_MESSAGE_END'];
  expect(kinds(told)).toEqual(['RUN_STARTED', 'STATE_SNAPSHOT', 'CUSTOM', ...call, ...call, ...results, ...text, 'RUN_FINISHED']);
  const uses = only(await history(stack(), frontend.sessionId), 'agent.tool_use').map(({ id }) => id);
  const resultOf = (id: string) => told.find(({ type, toolCallId }) => type === 'TOOL_CALL_RESULT' && toolCallId === id)!.content;
  expect(uses.map(resultOf)).toEqual(['<one>', expect.stringContaining('two')]);
});

/** A command that writes each byte once and tells how many there are. */
function allBytes(file: string): string {
  return `for i in {0..255}; do printf "\\\\x$(printf %02x $i)"; done > ${file} && wc -c < ${file}`;
}
