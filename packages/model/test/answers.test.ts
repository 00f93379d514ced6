/** What holds for every answer, whichever adapter reads it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ModelClient } from '../src/index.ts';
import { type FakeModel, startFakeModel } from '../src/testing.ts';
import { askScript, modelFor, never, openAiFor, recorder } from './harness-side.ts';

let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0, pingIntervalMs: 50 });
});
afterAll(() => fake.close());

const adapters: [string, () => ModelClient][] = [
  ['the Anthropic adapter', () => modelFor(fake.url)],
  ['the OpenAI-compatible adapter', () => openAiFor(fake.url)],
];

describe.each(adapters)('%s', (_name, adapter) => {
  test('bytes cut at odd places, inside characters and frames, change nothing', async () => {
    for (const chunk_bytes of [1, 3, 7]) {
      const answer = await adapter().stream(
        askScript([{ chunk_bytes, blocks: [{ text: 'é世🌍'.repeat(10) }, { tool: 'bash', input: { command: 'echo "é世🌍\\n"' } }] }]),
        recorder(),
        never,
      );
      expect(answer.content[0]).toMatchObject({ text: 'é世🌍'.repeat(10) });
      expect(answer.content[1]).toMatchObject({ input: { command: 'echo "é世🌍\\n"' } });
    }
  });

  test('a tool input that is not a JSON object is marked and never crashes the request', async () => {
    const answer = await adapter().stream(
      askScript([
        {
          blocks: [
            { tool: 'bash', raw_input: '{"command": "ls' },
            { tool: 'bash', raw_input: '[1]' },
            { tool: 'bash', raw_input: `"${'x'.repeat(5000)}"` },
            { tool: 'bash', input: { command: 'ok' } },
          ],
        },
      ]),
      recorder(),
      never,
    );
    expect(answer.content.map((block) => (block.type === 'tool_use' ? block.input : null))).toEqual([{}, {}, {}, { command: 'ok' }]);
    expect(answer.invalidInputs).toEqual({ 0: '{"command": "ls', 1: '[1]', 2: `"${'x'.repeat(1999)}` });
  });
});
