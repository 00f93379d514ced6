/**
 * Many sessions at once on one small machine, each with a sandbox of its own: every one ends, in order, and none is stuck. With Docker it is
 * in `npm run bench` only: making containers is what takes long, and test/deploy runs a hundred of them already.
 */

import { fakeScript } from '@manyhands/model/testing';
import { privateEngineUnavailable } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { problems, say, startSession, texts, untilIdle } from '../e2e/conversation.ts';
import { type Instance, startInstance } from '../e2e/instance.ts';

const SESSIONS = process.env['MANYHANDS_BENCH'] === '1' ? 200 : 100;
const why = privateEngineUnavailable();
describe('bubblewrap', () => servesAll('bubblewrap'));
if (process.env['MANYHANDS_BENCH'] === '1')
  describe.skipIf(why !== null)(`docker${why === null ? '' : ` (${why})`}`, () => servesAll('docker'));

function servesAll(sandbox: 'bubblewrap' | 'docker'): void {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance({ sandbox, workers: 4 });
  }, 180_000);
  afterAll(async () => {
    await instance?.[Symbol.asyncDispose]();
  }, 90_000);

  test(`${SESSIONS} sessions at once on four workers all end in order, and the board counts them`, async () => {
    const { client } = instance;
    const ids = await Promise.all(Array.from({ length: SESSIONS }, () => startSession(client)));
    await Promise.all(
      ids.map((id, i) =>
        say(
          client,
          id,
          fakeScript([
            { blocks: [{ tool: 'bash', input: { command: `echo session ${i}` } }] },
            { blocks: [{ text: '{{last_tool_result}}' }] },
          ]),
        ),
      ),
    );
    for (const [i, id] of ids.entries()) {
      const events = await untilIdle(client, id, 240_000);
      expect(problems(events)).toEqual([]);
      expect(texts(events, 'agent.message').at(-1)?.trim()).toBe(`session ${i}`);
    }
    const board = await fetch(`${instance.url}/admin/queues/api/queues`, { headers: { authorization: `Bearer ${instance.apiKey}` } });
    const { queues } = (await board.json()) as { queues: { name: string; counts: Record<string, number> }[] };
    const turns = queues.find(({ name }) => name === 'turns');
    expect(turns?.counts['completed']).toBeGreaterThanOrEqual(SESSIONS);
    expect(turns?.counts['failed']).toBe(0);
  }, 300_000);
}
