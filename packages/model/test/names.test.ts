/** Names from when the fake model was the model double: stored prompts, programs and environments that use them. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { renameVariables } from '../src/fake/names.ts';
import { type FakeModel, fakeScript, startFakeModel } from '../src/testing.ts';
import { ask, journalOf, modelFor, recorder } from './harness-side.ts';

const never = new AbortController().signal;
let fake: FakeModel;
beforeAll(async () => {
  fake = await startFakeModel({ port: 0 });
});
afterAll(() => fake.close());

test('a script in the old fence, for a model of the old name, is answered like one in the new', async () => {
  const script = fakeScript([{ blocks: [{ text: 'You said {{echo}}.' }] }], 'hello');
  const before = script.replace('```fake', '```double');
  expect(before).not.toBe(script);
  for (const [said, model] of [
    [script, 'fake'],
    [before, 'double'],
    [before, 'manyhands-double'],
  ] as const) {
    const answer = await modelFor(fake.url).stream(ask(said, { model, sessionId: 'sesn_names' }), recorder(), never);
    expect(answer.content).toMatchObject([{ type: 'text', text: 'You said hello.' }]);
  }
  const journal = async (path: string) => (await (await fetch(`${fake.url}${path}?session=sesn_names`)).json()) as { data: unknown[] };
  expect((await journal('/double/journal')).data).toEqual(await journalOf(fake, 'sesn_names'));
  const headers = { 'x-api-key': 'k', 'anthropic-version': '2023-06-01' };
  expect(await (await fetch(`${fake.url}/v1/models/manyhands-double`, { headers })).json()).toMatchObject({ id: 'manyhands-fake' });
});

test('a variable of the old name counts, with one warning that names the new one, unless the new one is set as well', () => {
  const { env, warnings } = renameVariables({ MANYHANDS_DOUBLE_PORT: '8500', MANYHANDS_DOUBLE_HOST: '', PATH: '/bin' });
  expect(env).toMatchObject({ MANYHANDS_FAKE_MODEL_PORT: '8500', PATH: '/bin' });
  expect(env['MANYHANDS_FAKE_MODEL_HOST']).toBeUndefined();
  expect(warnings).toEqual([expect.stringMatching(/^MANYHANDS_DOUBLE_PORT is called MANYHANDS_FAKE_MODEL_PORT now/)]);
  const both = renameVariables({ MANYHANDS_DOUBLE_PORT: '1', MANYHANDS_FAKE_MODEL_PORT: '2' });
  expect(both.env['MANYHANDS_FAKE_MODEL_PORT']).toBe('2');
  expect(both.warnings).toHaveLength(1);
  expect(renameVariables({ MANYHANDS_FAKE_MODEL_PORT: '2' }).warnings).toEqual([]);
});
