import { expect, test } from 'vitest';
import { startStack } from '../stack.ts';
import { untilIdle, texts } from '../../e2e/conversation.ts';
test('smoke', async () => {
  console.time('start');
  await using stack = await startStack({ tier: 'full' });
  console.timeEnd('start');
  try {
  const client = stack.client();
  const agent = await client.beta.agents.create({ name: 'tester', model: 'double', tools: [{ type: 'agent_toolset_20260401' }] });
  const environment = await client.beta.environments.create({ name: 'test', config: { type: 'cloud' } });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, initial_events: [{type: 'user.message', content: [{type: 'text', text: 'hello'}]}] });
  console.time('turn');
  const events = await untilIdle(client, session.id, 30_000);
  console.timeEnd('turn');
  console.log(events.map(e => e.type).join('\n'), texts(events, 'agent.message'), texts(events, 'agent.tool_result'));
  expect(events.length).toBeGreaterThan(5);
  } catch (e) { console.log(stack.logs()); throw e; }
}, 90_000);
