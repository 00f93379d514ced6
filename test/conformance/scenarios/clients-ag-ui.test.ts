/** `@ag-ui/claude-managed-agents` as npm has it, driven as a frontend drives it: what it makes of our sessions, in events of AG-UI. */
import type { ClientOptions } from '@anthropic-ai/sdk';
import { type FakeScript, fakeScript } from '@manyhands/model/testing';
import { until } from '@manyhands/test-kit';
import { expect } from 'vitest';
import {
  type AdapterConfig,
  createFrontend,
  type Frontend,
  type FrontendTool,
  kinds,
  pieces,
  type RunEvent,
} from '../../e2e/clients/ag-ui-frontend.ts';
import { answer, follow, history, modelRequests, only, texts } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'turns' });
const LONG_MS = 60_000;

const SEARCH = {
  type: 'agent_toolset_20260401' as const,
  default_config: { enabled: false },
  configs: [{ name: 'web_search' as const, enabled: true, permission_policy: { type: 'always_ask' as const } }],
};
const NOBODYS = { type: 'custom' as const, name: 'nobodys', description: 'Nobody answers it.', input_schema: { type: 'object' as const } };
/** As frontends make it out of a schema library; its name has a space, which sessions do not take. */
const PICK_COLOUR: FrontendTool = {
  name: 'pick colour',
  description: 'Lets the user pick a colour.',
  parameters: {
    $schema: 'http://json-schema.org/draft-07/schema#',
    type: 'object',
    properties: { why: { type: 'string', description: 'What for.' } },
    required: ['why'],
    additionalProperties: false,
  },
};
const WEATHER = {
  name: 'weather',
  description: 'Tells the weather.',
  parameters: { type: 'object', properties: { city: { type: 'string' } } },
  handler: async (input: unknown) => `rain in ${(input as { city: string }).city}`,
};
const pick = { tool: 'pick_colour', input: { why: 'the wall' } };

interface Given {
  frontend: Frontend;
  /** What the adapter could not do and did not tell the user. */
  problems: string[];
}
/** A new thread of an agent with a built-in tool and one that nobody answers. */
async function open(config: Partial<AdapterConfig> = {}, options: ClientOptions = {}): Promise<Given> {
  const { agents, environments } = stack().client().beta;
  const [agent, environment] = await Promise.all([
    agents.create({ name: 'a', model: 'fake', tools: [SEARCH, NOBODYS] }),
    environments.create({ name: 'e' }),
  ]);
  const problems: string[] = [];
  const frontend = createFrontend({
    managedAgentId: agent.id,
    environmentId: environment.id,
    client: stack().client(options),
    onError: (error, { operation }) => void problems.push(`${operation}: ${String(error)}`),
    ...config,
  });
  return { frontend, problems };
}
const say = (...steps: FakeScript) => ({ text: fakeScript(steps) });
const TEXT = ['TEXT_MESSAGE_START', 'TEXT_MESSAGE_CONTENT', 'TEXT_MESSAGE_END'];
const CALL = ['TOOL_CALL_START', 'TOOL_CALL_ARGS', 'TOOL_CALL_END'];
const START = ['RUN_STARTED', 'STATE_SNAPSHOT'];
const FIRST = [...START, 'CUSTOM'];
const callOf = (events: readonly RunEvent[], name: string) => events.find(({ toolCallName }) => toolCallName === name)!.toolCallId!;
const heard = (frontend: Frontend) => history(stack(), frontend.sessionId);
async function untilIdle(frontend: Frontend): Promise<void> {
  await until(async () => (await heard(frontend)).at(-1)!.type === 'session.status_idle', { what: 'the session to be idle' });
}
/** Until the session has said this, and is idle. */
async function untilSaid(frontend: Frontend, text: string): Promise<void> {
  await until(async () => texts(await heard(frontend), 'agent.message').includes(text), { what: `the session to say ${text}` });
  await untilIdle(frontend);
}

verifies('clients.ag_ui.text', async () => {
  const { frontend, problems } = await open();
  const text = 'A text that comes in pieces, with a parrot 🦜 in it. '.repeat(3);
  const first = await frontend.run([
    say({ blocks: [{ thinking: 'hm' }, { text }, { text: 'A second one.' }], delta_ms: 10, delta_chars: 5 }),
  ]);
  // The second text begins while the first one waits for its end.
  expect(kinds(first).filter((kind) => !kind.startsWith('TEXT_'))).toEqual([
    ...FIRST,
    'REASONING_START',
    'REASONING_MESSAGE_START',
    'REASONING_MESSAGE_END',
    'REASONING_END',
    'RUN_FINISHED',
  ]);
  const [a, b] = only(await heard(frontend), 'agent.message');
  for (const message of [a!, b!]) {
    const own = first.filter(({ messageId }) => messageId === message.id);
    expect(kinds(own)).toEqual(TEXT);
    expect(pieces(own).join('')).toBe(texts([message], 'agent.message')[0]);
  }
  expect(pieces(first).length).toBeGreaterThan(3);
  expect(pieces(first).join('')).toBe(`${text}A second one.`);

  const second = await frontend.run([say(answer('And on.'))]);
  expect(kinds(second)).toEqual([...START, ...TEXT, 'RUN_FINISHED']);
  expect(frontend.messages.map(({ role }) => role)).toEqual(['user', 'reasoning', 'assistant', 'assistant', 'user', 'assistant']);
  expect((await modelRequests(stack(), frontend.sessionId)).at(-1)!.body.messages).toHaveLength(3);
  expect(problems).toEqual([]);
});

verifies('clients.ag_ui.tools', async () => {
  const statuses: number[] = [];
  const { frontend, problems } = await open({ backendTools: [WEATHER] }, { fetch: noting(statuses) });
  await frontend.run([say(answer('hello'))]);
  // The frontend has a tool from now on: the adapter puts it beside those of the agent.
  const blocks = [{ text: 'I will ask.' }, pick, { tool: 'weather', input: { city: 'Bergen' } }, { tool: 'nobodys', input: {} }];
  const asked = await frontend.run([say({ blocks }, answer('It is {{last_tool_result}}.'))], { tools: [PICK_COLOUR] });
  expect(kinds(asked)).toEqual([...START, ...TEXT, ...CALL, ...CALL, 'TOOL_CALL_RESULT', ...CALL, 'TOOL_CALL_RESULT', 'RUN_FINISHED']);
  const results = asked.filter(({ type }) => type === 'TOOL_CALL_RESULT');
  expect(results.map(({ content }) => content)).toEqual(['rain in Bergen', expect.stringContaining('No handler')]);
  const toolNames = async () => {
    const { agent } = await stack().client().beta.sessions.retrieve(frontend.sessionId);
    return agent.tools.map((tool) => ('name' in tool ? tool.name : tool.type));
  };
  expect(await toolNames()).toEqual([SEARCH.type, 'nobodys', 'weather', 'pick_colour']);

  const answered = await frontend.run([{ answers: callOf(asked, 'pick colour'), content: 'blue' }], { tools: [PICK_COLOUR] });
  expect(kinds(answered)).toEqual([...START, ...TEXT, 'RUN_FINISHED']);
  const told = (await modelRequests(stack(), frontend.sessionId)).at(-1)!.body.messages.at(-1).content;
  const said = told.map(({ content }: { content: { text: string }[] }) => content[0]!.text);
  expect(said.toSorted()).toEqual([expect.stringContaining('No handler'), 'blue', 'rain in Bergen']);

  // Two calls, of which one is answered, stay parked without a turn.
  const twice = await frontend.run([say({ blocks: [pick, pick] }, answer('thanks'))], { tools: [PICK_COLOUR] });
  const [one, two] = twice.flatMap(({ type, toolCallId }) => (type === 'TOOL_CALL_START' ? [toolCallId!] : []));
  expect(kinds(await frontend.run([{ answers: one!, content: 'red' }], { tools: [PICK_COLOUR] }))).toEqual([...START, 'RUN_FINISHED']);
  // The other one goes together with a message: the user has moved on.
  const both = [{ answers: two!, content: '', error: 'changed my mind' }, say(answer('as you like'))];
  const moved = await frontend.run(both, { tools: [PICK_COLOUR] });
  expect(kinds(moved).slice(0, 3)).toEqual([...START, 'TEXT_MESSAGE_START']);
  expect(kinds(moved).at(-1)).toBe('RUN_FINISHED');
  // It sends them one after the other, and leaves at the first idle: with a fast model before the second answer.
  await untilSaid(frontend, 'as you like');
  expect(texts(await heard(frontend), 'agent.message').slice(-2)).toEqual(['thanks', 'as you like']);
  expect(only(await heard(frontend), 'user.custom_tool_result').at(-1)).toMatchObject({ is_error: true });
  // Without tools of its own the frontend leaves those of the agent.
  await frontend.run([say(answer('bye'))]);
  expect(await toolNames()).toEqual([SEARCH.type, 'nobodys', 'weather']);
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  expect(problems).toEqual([]);
});

verifies(
  'clients.ag_ui.parked',
  async () => {
    const statuses: number[] = [];
    const { frontend, problems } = await open({}, { fetch: noting(statuses) });
    await frontend.run([say(answer('hello'))]);
    const { events } = stack().client().beta.sessions;
    // Another client of the session has it wait for an answer, of which the adapter knows nothing.
    await using stream = await follow(stack(), frontend.sessionId);
    const text = fakeScript([{ blocks: [{ tool: 'nobodys', input: {} }] }, { blocks: [{ text: 'so it is' }], delay_ms: 1_500 }]);
    await events.send(frontend.sessionId, { events: [{ type: 'user.message', content: [{ type: 'text', text }] }] });
    await stream.next('session.status_idle');
    const run = frontend.run([say(answer('my turn'))]);
    await until(() => statuses.includes(400), { what: 'the adapter to be refused' });
    const call = only(stream.events, 'agent.custom_tool_use')[0]!.id;
    await events.send(frontend.sessionId, { events: [{ type: 'user.custom_tool_result', custom_tool_use_id: call }] });
    const told = await run;
    expect(kinds(told).at(-1)).toBe('RUN_FINISHED');
    expect(statuses.filter((status) => status === 400).length).toBeGreaterThan(0);
    expect(statuses.at(-1)).toBe(200);
    await untilSaid(frontend, 'my turn');
    expect(texts(await heard(frontend), 'agent.message')).toEqual(['hello', 'so it is', 'my turn']);
    expect(problems).toEqual([]);
  },
  LONG_MS,
);

verifies('clients.ag_ui.interrupt', async () => {
  const { frontend, problems } = await open();
  const long = { blocks: [{ text: 'a text that takes its time to be said '.repeat(4) }], delta_ms: 50, delta_chars: 2 };
  const stopped = await frontend.run([say(long)], { onEvent: ({ type }) => type === 'TEXT_MESSAGE_CONTENT' && frontend.abort() });
  expect(kinds(stopped)).toEqual([...FIRST, ...TEXT]);
  expect(problems).toEqual([expect.stringMatching(/^run_after_disconnect: .*aborted/)]);
  await untilIdle(frontend);
  const events = await heard(frontend);
  expect(only(events, 'user.interrupt')).toHaveLength(1);
  expect(only(events, 'agent.message')).toEqual([]);
  expect((await modelRequests(stack(), frontend.sessionId))[0]!.outcome).toBe('closed');
  expect(pieces(await frontend.run([say(answer('and on'))]))).toEqual(['and on']);
});

verifies('clients.ag_ui.errors', async () => {
  const { frontend, problems } = await open();
  const failing = (times: number): FakeScript[number] => ({ ...answer('well'), error: { status: 529, type: 'overloaded_error', times } });
  const failed = await frontend.run([say(failing(99))]);
  expect(kinds(failed)).toEqual([...FIRST, 'RUN_ERROR']);
  expect(failed.at(-1)).toMatchObject({ code: 'model_overloaded_error', message: expect.stringContaining('529') });
  await untilIdle(frontend);
  // What is tried again by the session itself is none of the frontend's concern; what was told of a cut answer is closed.
  expect(kinds(await frontend.run([say(failing(1))]))).toEqual([...START, ...TEXT, 'RUN_FINISHED']);
  const cut = await frontend.run([
    say({ blocks: [{ text: 'this is said twice '.repeat(8) }], delta_ms: 10, delta_chars: 7, fault: 'cut' }),
  ]);
  expect(kinds(cut)).toEqual([...START, ...TEXT, ...TEXT, 'RUN_FINISHED']);
  // A call that asks, without a policy to answer by: the session is interrupted, and goes on.
  const search = { blocks: [{ tool: 'web_search', input: { query: 'q' } }] };
  const asking = await frontend.run([say(search, answer('never said'))]);
  expect(asking.at(-1)).toMatchObject({ type: 'RUN_ERROR', code: 'tool_confirmation_required' });
  await untilIdle(frontend);
  expect(pieces(await frontend.run([say(answer('still here'))]))).toEqual(['still here']);
  expect(problems).toEqual([]);
  const strict = await open({ toolConfirmation: 'deny' });
  const denied = await strict.frontend.run([say(search, answer('fine'))]);
  expect(kinds(denied)).toEqual([...FIRST, ...CALL, 'TOOL_CALL_RESULT', ...TEXT, 'RUN_FINISHED']);
  expect(denied.find(({ type }) => type === 'TOOL_CALL_RESULT')!.content).toBe('Permission to use web_search has been denied.');
});

/** A fetch that notes how requests with a body were answered. */
function noting(statuses: number[]): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (init?.body) statuses.push(response.status);
    return response;
  };
}
