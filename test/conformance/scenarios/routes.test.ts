/** Models behind other kinds of endpoints, by MANYHANDS_MODEL_ROUTES. */
import { expect } from 'vitest';
import { answer, expectSound, follow, history, modelRequests, only, openSession, script, send, texts } from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

const stack = useStack({ tier: 'full' });

verifies('models.routes', async () => {
  const routes = {
    upstreams: {
      real: { kind: 'anthropic', base_url: stack().fakeModelUrl, api_key_env: 'ROUTES_KEY' },
      local: { kind: 'openai', base_url: `${stack().fakeModelUrl}/v1`, api_key_env: 'ROUTES_KEY' },
    },
    default_upstream: 'real',
    models: { small: { upstream: 'local', model: 'qwen3:8b', context_window: 32_768 } },
  };
  await stack().kill('harness');
  await stack().add('harness', { MANYHANDS_MODEL_ROUTES: JSON.stringify(routes), ROUTES_KEY: 'fake' });
  const talk = async (model: string) => {
    const id = await openSession(stack(), { model, system: 'Be brief.', tools: ['bash'] });
    await using stream = await follow(stack(), id);
    const calls = [{ text: 'Let me see.' }, { tool: 'bash', input: { command: 'echo $((6 * 7))' } }];
    await send(stack(), id, script([{ blocks: calls }, answer('It is {{last_tool_result}}')]));
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
    const events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message')).toEqual(['Let me see.', expect.stringContaining('It is 42')]);
    expect(
      only(events, 'span.model_request_end').every(
        ({ model_usage: used }) =>
          used.input_tokens + used.cache_creation_input_tokens + used.cache_read_input_tokens > 0 && used.output_tokens > 0,
      ),
    ).toBe(true);
    return modelRequests(stack(), id);
  };
  const chat = await talk('small');
  expect(chat.map(({ path, body }) => [path, body.model])).toEqual(Array.from({ length: 2 }, () => ['/v1/chat/completions', 'qwen3:8b']));
  const messages = await talk('another');
  expect(messages.map(({ path, body }) => [path, body.model])).toEqual(Array.from({ length: 2 }, () => ['/v1/messages', 'another']));
});
