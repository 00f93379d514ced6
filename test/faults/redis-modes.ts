/** One session from its creation to its end, with its worker killed in between, whatever Redis is made of: what every mode of Redis has to pass. */
import { fakeScript } from '@manyhands/model/testing';
import { until } from '@manyhands/test-kit';
import { expect } from 'vitest';
import { type Event, history, problems, say, startSession, texts, untilEvent, untilIdle } from '../e2e/conversation.ts';
import { API_KEY, type Cluster, type Gateway } from './cluster.ts';
import { watchStream } from './watch.ts';

export interface Service {
  cluster: Cluster;
  gateway: Gateway;
}

const counted = (seconds: number) =>
  fakeScript([
    { blocks: [{ tool: 'bash', input: { command: `echo once >> ran; sleep ${seconds}; echo count=$(grep -c once ran)` } }] },
    { blocks: [{ text: '{{last_tool_result}}' }] },
  ]);

/** A turn with a command in a sandbox; `during` is what happens while it runs. Returns what the log tells at the end. */
export async function turnWith({ gateway }: Service, sessionId: string, seconds: number, during: () => Promise<void>): Promise<Event[]> {
  const idles = (await history(gateway.client, sessionId)).filter(({ type }) => type === 'session.status_idle').length;
  const calls = (await history(gateway.client, sessionId)).filter(({ type }) => type === 'agent.tool_use').length;
  await say(gateway.client, sessionId, counted(seconds));
  await until(async () => (await history(gateway.client, sessionId)).filter(({ type }) => type === 'agent.tool_use').length > calls, {
    what: 'the command',
    timeoutMs: 30_000,
  });
  await during();
  return untilIdle(gateway.client, sessionId, 90_000, idles + 1);
}

/** Every promise of one session that the whole stack makes on a single Redis. */
export async function servesASession(service: Service, whileACommandRuns: () => Promise<void>): Promise<void> {
  const { cluster, gateway } = service;
  const { client } = gateway;
  const sessionId = await startSession(client);
  const watch = await watchStream(gateway.url, API_KEY, sessionId);
  try {
    // A turn without a sandbox, previews and all.
    await say(client, sessionId, fakeScript([{ blocks: [{ text: 'hello' }] }]));
    expect(texts(await untilIdle(client, sessionId, 30_000), 'agent.message')).toEqual(['hello']);
    // An interrupt of a running command.
    await say(client, sessionId, fakeScript([{ blocks: [{ tool: 'bash', input: { command: 'sleep 60' } }] }]));
    await untilEvent(client, sessionId, 'agent.tool_use');
    await client.beta.sessions.events.send(sessionId, { events: [{ type: 'user.interrupt' }] });
    await untilIdle(client, sessionId, 30_000, 2);
    // kill -9 of its worker.
    const kill = async () => {
      process.kill((await cluster.holder(sessionId))!, 'SIGKILL');
      await cluster.startWorker();
    };
    const killed = await turnWith(service, sessionId, 3, kill);
    expect(problems(killed)).toEqual([]);
    expect(texts(killed, 'agent.message').at(-1)).toContain('count=1');
    const events = await turnWith(service, sessionId, 6, whileACommandRuns);
    expect(problems(events)).toEqual([]);
    expect(texts(events, 'agent.message').at(-1)).toContain('count=2');
    expect(events.at(-1)).toMatchObject({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
    // Lists, filters and the end.
    const listed = await client.beta.sessions.list({ statuses: ['idle'] });
    expect(listed.data.map(({ id }) => id)).toContain(sessionId);
    const found = [];
    for await (const event of client.beta.sessions.events.list(sessionId, { types: ['agent.tool_result'], limit: 2 })) found.push(event);
    expect(found).toHaveLength(3);
    await until(() => watch.differences(events).length === 0, { what: 'every event on the stream, once and in order', timeoutMs: 20_000 });
    await client.beta.sessions.delete(sessionId);
  } finally {
    watch.close();
  }
}
