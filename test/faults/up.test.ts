/** The life of `up` itself: its end by signal, its end by kill -9, and the next start on the same data. */
import path from 'node:path';
import { fakeScript } from '@manyhands/model/testing';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { problems, say, startSession, texts, untilEvent, untilIdle } from '../e2e/conversation.ts';
import { isAlive, startInstance } from '../e2e/instance.ts';

test('after kill -9 of up its children end, and the next start on the same data goes on with the running session', async () => {
  await using directory = await temporaryDirectory('up');
  const data = path.join(directory.path, 'data');
  const first = await startInstance({ data });
  const sessionId = await startSession(first.client);
  await say(
    first.client,
    sessionId,
    fakeScript([
      { blocks: [{ tool: 'bash', input: { command: 'sleep 2; echo survived' } }] },
      { blocks: [{ text: 'the end' }], delay_ms: 500 },
    ]),
  );
  await untilEvent(first.client, sessionId, 'agent.tool_use');
  const children = first.ready().processes;
  await first.killUp();
  await until(() => children.every(({ pid }) => !isAlive(pid)), { timeoutMs: 30_000, what: 'the children to end' });

  const second = await startInstance({ data });
  try {
    expect(second.apiKey).toBe(first.apiKey);
    const events = await untilIdle(second.client, sessionId, 60_000);
    expect(problems(events)).toEqual([]);
    expect(texts(events, 'agent.message').at(-1)).toBe('the end');
  } finally {
    expect(await second.stop()).toBe(0);
  }
  expect(second.ready().processes.filter(({ pid }) => isAlive(pid))).toEqual([]);
}, 240_000);

test('a second up on the same data directory is refused and the first goes on', async () => {
  await using instance = await startInstance();
  await expect(startInstance({ data: instance.data })).rejects.toThrow(/in use/i);
  expect((await fetch(`${instance.url}/healthz`)).status).toBe(200);
}, 240_000);
