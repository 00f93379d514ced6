/**
 * Two threads of one session at work at once, each on a worker of its own, in one sandbox: kill -9 of each worker in turn costs its thread
 * a pause and the other one nothing (DESIGN 3a; I1, I3, I4, I5).
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createRedis, randomIds } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { primaryThreadId } from '@manyhands/contract';
import { fakeScript } from '@manyhands/model/testing';
import { createSessionLog, createSessionWriter, type LogEntry } from '@manyhands/session-log';
import { type Service, silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { problems, say, startSession, texts, untilIdle } from '../e2e/conversation.ts';
import { type Cluster, type Gateway, type Pool, startCluster } from './cluster.ts';

let cluster: Cluster;
let gateway: Gateway;
let pool: Pool;
beforeAll(async () => {
  cluster = await startCluster();
  [gateway, pool] = await Promise.all([cluster.startGateway(), cluster.startPool()]);
}, 120_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

/** Notes its name, and goes on when a file appears; so the test says how long each command runs. */
const noting = (name: string) => `echo ${name} >> notes; until [ -e go-${name} ]; do sleep 0.05; done; echo ${name} done`;
const script = (name: string) =>
  fakeScript([
    { blocks: [{ tool: 'bash', input: { command: noting(name) } }] },
    { blocks: [{ tool: 'bash', input: { command: 'grep -c . notes' } }] },
    { blocks: [{ text: `${name} says {{last_tool_result}}` }] },
  ]);

/** One worker after the other, so that each takes one thread. */
function startWorker(): Promise<Service> {
  return cluster.startWorker({ MANYHANDS_WORKER_CONCURRENCY: '1' });
}

test('kill -9 of the worker of each thread in turn: only its own thread pauses, in one sandbox, every call once', async () => {
  const redis = createRedis(cluster.redisUrl, 'patient', silentLogger, 'test');
  const blobs = createDirectoryBlobStore(cluster.blobs);
  const deps = { redis, blobs, ids: randomIds, hourNano: 0, log: silentLogger, clock: { now: Date.now } };
  const log = createSessionLog(deps);
  const writer = createSessionWriter(deps);
  try {
    const sessionId = await startSession(gateway.client);
    const primary = primaryThreadId(sessionId);
    await say(gateway.client, sessionId, script('primary'));
    // As a coordinator will: an append of the primary thread makes a child and gives it work.
    const { record } = (await log.get(sessionId))!;
    const place = { sessionId, threadId: primary, workspaceId: record.workspace_id };
    const got = await writer.acquire(place, 'the test', 30_000);
    if (!('lease' in got)) throw new Error('no lease');
    const child = randomIds.id('thread');
    const mint = () => randomIds.eventId(got.lease.sequence);
    const content = [{ type: 'text' as const, text: script('child') }];
    const made = await writer.append(got.lease, 1, {
      entries: [],
      threads: [{ record: { id: child, agent: { ...record.agent, name: 'child' } }, eventId: mint() }],
      messages: [
        {
          to: child,
          sent: { id: mint(), body: { type: 'agent.thread_message_sent', to_session_thread_id: child, to_agent_name: 'child', content } },
          received: { id: mint(), body: { type: 'agent.thread_message_received', from_session_thread_id: primary, content } },
        },
      ],
    });
    expect(made.outcome).toBe('applied');
    await writer.release(got.lease, 'done');

    await Promise.all([startWorker(), startWorker()]);
    const entriesOf = (threadId: string): Promise<LogEntry[]> => log.read(sessionId, 0, 10_000, threadId);
    const callsOf = async (threadId: string) =>
      (await entriesOf(threadId)).filter(({ event, copyOf }) => copyOf === null && event.type === 'agent.tool_use').length;
    await until(async () => (await callsOf(primary)) === 1 && (await callsOf(child)) === 1, {
      what: 'both at their commands',
      timeoutMs: 60_000,
    });
    const [first, second] = [await cluster.holder(sessionId, primary), await cluster.holder(sessionId, child)];
    expect(first).not.toBeNull();
    expect(second).not.toBeNull();
    expect(first).not.toBe(second);
    const epochOf = (threadId: string) => cluster.epoch(sessionId, threadId);
    const before = { primary: await epochOf(primary), child: await epochOf(child) };

    process.kill(first!, 'SIGKILL');
    await startWorker();
    await until(async () => (await epochOf(primary)) === before.primary + 1, {
      what: 'another worker at the primary thread',
      timeoutMs: 30_000,
    });
    expect(await epochOf(child)).toBe(before.child);
    expect(await cluster.holder(sessionId, child)).toBe(second);

    process.kill(second!, 'SIGKILL');
    await startWorker();
    await until(async () => (await epochOf(child)) === before.child + 1, { what: 'another worker at the child', timeoutMs: 30_000 });
    expect(await epochOf(primary)).toBe(before.primary + 1);

    // Whoever holds them now, the commands run on: they end when they are told to.
    const { sandbox_id } = (await cluster.binding(sessionId))!;
    for (const name of ['go-primary', 'go-child']) await writeFile(path.join(pool.sandboxes, sandbox_id!, 'workspace', name), '');
    const events = await untilIdle(gateway.client, sessionId, 60_000);
    expect(problems(events)).toEqual([]);
    expect(events.filter(({ type }) => type === 'session.status_idle')).toHaveLength(1);
    expect(events.at(-1)).toMatchObject({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
    expect(texts(events, 'agent.message')).toEqual(['primary says 2']);

    const logs = { primary: await entriesOf(primary), child: await entriesOf(child) };
    const own = Object.values(logs)
      .flat()
      .filter(({ copyOf }) => copyOf === null);
    const sequences = own.map(({ sequence }) => sequence).sort((a, b) => a - b);
    expect(sequences).toEqual(Array.from({ length: sequences.length }, (_, i) => i + 1));
    expect((await log.get(sessionId))!.state).toMatchObject({ sequence: sequences.length, sandbox: { generation: 1 } });
    const said = logs.child.flatMap(({ event }) => (event.type === 'agent.message' ? event.content.map(({ text }) => text) : []));
    expect(said).toEqual(['child says 2']);
    for (const entries of Object.values(logs)) {
      const mine = entries.filter(({ copyOf }) => copyOf === null).map(({ event }) => event);
      expect(mine.filter(({ type }) => type === 'agent.tool_use')).toHaveLength(2);
      expect(mine.filter(({ type }) => type === 'agent.tool_result')).toHaveLength(2);
    }
    // Told idle last, after both threads were.
    const idles = events.filter(({ type }) => type === 'session.thread_status_idle');
    expect(idles).toHaveLength(2);
    expect(events.indexOf(idles.at(-1)!)).toBe(events.length - 3);
  } finally {
    redis.disconnect();
  }
}, 180_000);
