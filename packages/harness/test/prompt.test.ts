/** The prompt: well formed whatever became of the agent's tools, and marked where the cache may begin. */
import type { SessionAgent } from '@manyhands/contract';
import { expect, test } from 'vitest';
import { type Context, emptyContext } from '../src/context/context.ts';
import { buildPrompt } from '../src/prompt/prompt.ts';

const AGENT = {
  type: 'agent',
  id: 'agent_1',
  version: 1,
  name: 'tester',
  description: null,
  system: null,
  model: { id: 'm', effort: { type: 'high' } },
  tools: [],
  mcp_servers: [],
  skills: [],
  multiagent: null,
} as unknown as SessionAgent;
const picture = { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } } as const;
const context = (messages: Context['messages']): Context => ({ ...emptyContext(), messages });

test('an agent whose tools were taken away is told of earlier calls in words', () => {
  const { messages, tools } = buildPrompt(
    AGENT,
    context([
      { role: 'user', content: [{ type: 'text', text: 'look' }] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'c', name: 'read', input: { file_path: 'a' } }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c', is_error: false, content: [picture] }] },
    ]),
    100,
    's',
  );
  expect(tools).toEqual([]);
  expect(messages.flatMap(({ content }) => (content as { type: string }[]).map(({ type }) => type))).toEqual([
    'text',
    'text',
    'text',
    'image',
  ]);
  expect(JSON.stringify(messages)).toContain('call of read');
});

test('the cache may begin after the last two user turns, also where they end in a picture', () => {
  const said = (text: string) => ({ type: 'text', text }) as const;
  const { messages } = buildPrompt(
    AGENT,
    context([
      { role: 'user', content: [said('a')] },
      { role: 'assistant', content: [said('b')] },
      { role: 'user', content: [said('c'), picture] },
      { role: 'assistant', content: [said('d')] },
      { role: 'user', content: [said('e')] },
    ]),
    100,
    's',
  );
  const marked = messages.map(({ content }) => (content as object[]).map((block) => 'cache_control' in block));
  expect(marked).toEqual([[false], [false], [false, true], [false], [true]]);
});
