/**
 * I14: what is asked of one session costs the same however many others there are: events of watched sessions, sweeps over running threads,
 * lists with filters. Few and many are measured in turns on the same machine; the ratio of the p50s is what is promised (SPECIFICATION.md).
 */
import { createRedis, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { primaryThreadId, type SessionAgent } from '@manyhands/contract';
import { createFeed, createSessionLog, createSessionWriter } from '@manyhands/session-log';
import { silentLogger, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { afterAll, expect, test } from 'vitest';
import { row, summarise, type Timing } from './timing.ts';

const full = process.env['MANYHANDS_BENCH'] === '1';
/** A busy machine doubles one of two numbers now and then; the bench says what is promised. */
const SLACK = full ? 1 : 2;
const N = full ? 300 : 100;
const AT_ONCE = 100;

const rows: string[] = [];
afterAll(() => {
  process.stdout.write(
    `\n| what | many p50 / p95 ms | few p50 / p95 ms | ratio | bound |\n| --- | --- | --- | --- | --- |\n${rows.join('\n')}\n`,
  );
});

const AGENT: SessionAgent = {
  ...{ type: 'agent', id: 'agent_many', version: 1, name: 'tester', description: null, system: null, tools: [], mcp_servers: [] },
  ...{ model: { id: 'm', effort: { type: 'high' } }, skills: [], multiagent: null, execution_identity: { type: 'service_account' } },
} as SessionAgent;

async function startLog() {
  const server = await startTestRedis();
  const directory = await temporaryDirectory('many');
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const blobs = createDirectoryBlobStore(directory.path);
  const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger, hourNano: 0 };
  const log = createSessionLog(deps);
  let digests = 0;
  return {
    ...deps,
    server,
    log,
    writer: createSessionWriter(deps),
    feed: () => createFeed({ redisUrl: server.url, redis, blobs, log: silentLogger }),
    async sessions(count: number, agentId = AGENT.id): Promise<string[]> {
      const made: string[] = [];
      while (made.length < count) {
        const ids = Array.from({ length: Math.min(AT_ONCE, count - made.length) }, () => randomIds.id('session'));
        await Promise.all(
          ids.map((id) =>
            log.create({
              record: { id, workspace_id: 'wrkspc_many', agent: { ...AGENT, id: agentId }, environment_id: 'env_many' },
              ...{ title: null, metadata: {}, budget: null, initialEvents: [], begunAtMs: Date.now() },
            }),
          ),
        );
        made.push(...ids);
      }
      return made;
    },
    send: (sessionId: string) =>
      log.send({
        sessionId,
        bodies: [{ type: 'user.interrupt', session_thread_id: null }],
        digest: `d${digests++}`,
        isRetry: false,
      }),
    async [Symbol.asyncDispose]() {
      redis.disconnect();
      await server[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** The two measured in turns. */
async function inTurns(many: () => Promise<number>, few: () => Promise<number>): Promise<[many: Timing, few: Timing]> {
  const samples: [number[], number[]] = [[], []];
  for (let i = 0; i < N + 20; i++) {
    const taken = [await many(), await few()] as const;
    if (i >= 20) for (const side of [0, 1] as const) samples[side].push(taken[side]);
  }
  return [summarise(samples[0]), summarise(samples[1])];
}
async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
function held(name: string, [many, few]: [Timing, Timing], bound: number): void {
  rows.push(row(name, many, few, `≤ ${bound}`));
  expect(many.p50 / few.p50).toBeLessThanOrEqual(bound * SLACK);
}

test('an event costs the same with 2,000 watched sessions as with 2', async () => {
  await using f = await startLog();
  const follow = async (count: number) => {
    const feed = f.feed();
    const sessions = await f.sessions(count);
    const arrived = new Map<string, () => void>();
    for (const id of sessions)
      feed.follow(id, primaryThreadId(id), {
        after: 0,
        onEntries: () => arrived.get(id)?.(),
        onError: (error) => {
          throw error;
        },
      });
    // Sent until it comes: the follower is live then.
    for (const id of [sessions[0]!, sessions.at(-1)!]) await once(id);
    function once(id: string): Promise<void> {
      return new Promise((resolve, reject) => {
        arrived.set(id, resolve);
        f.send(id).catch(reject);
      });
    }
    // The same two sessions whatever else is watched.
    const busy = [sessions[0]!, sessions.at(-1)!];
    let next = 0;
    return { feed, event: () => timed(() => once(busy[next++ % busy.length]!)) };
  };
  const [many, few] = [await follow(2_000), await follow(2)];
  try {
    held('event sent → follower', await inTurns(many.event, few.event), 1.3);
  } finally {
    await Promise.all([many.feed.close(), few.feed.close()]);
  }
}, 240_000);

test('a sweep costs the same with 5,000 running threads as with 10', async () => {
  await using many = await startLog();
  await using few = await startLog();
  for (const [f, count] of [
    [many, 5_000],
    [few, 10],
  ] as const) {
    const sessions = await f.sessions(count);
    for (let i = 0; i < sessions.length; i += AT_ONCE)
      await Promise.all(
        sessions.slice(i, i + AT_ONCE).map(async (sessionId) => {
          const bodies = [{ type: 'user.message' as const, content: [{ type: 'text' as const, text: 'go' }] }];
          await f.log.send({ sessionId, bodies, digest: 'go', isRetry: false });
          const place = { sessionId, threadId: primaryThreadId(sessionId), workspaceId: 'wrkspc_many' };
          await f.writer.acquire(place, 'worker', 3_600_000);
        }),
      );
    expect(await f.writer.due(100)).toEqual([]);
  }
  held(
    'sweep',
    await inTurns(
      () => timed(() => many.writer.due(100)),
      () => timed(() => few.writer.due(100)),
    ),
    1.3,
  );
}, 240_000);

test('a page of the list with a filter that matches one of 20,000 sessions costs at most three pages without', async () => {
  await using f = await startLog();
  const half = full ? 10_000 : 2_500;
  await f.sessions(half);
  const [wanted] = await f.sessions(1, 'agent_wanted');
  await f.sessions(half);
  const page = (query: object) => f.log.list('wrkspc_many', { limit: 20, order: 'desc', includeArchived: false, ...query });
  expect((await page({ agentId: 'agent_wanted' })).sessions.map(({ record }) => record.id)).toEqual([wanted]);
  await f.log.send({
    sessionId: wanted!,
    bodies: [{ type: 'user.message', content: [{ type: 'text', text: 'go' }] }],
    ...{ digest: 'go', isRetry: false },
  });
  expect((await page({ statuses: new Set(['running']) })).sessions.map(({ record }) => record.id)).toEqual([wanted]);
  const whole = () => timed(() => page({}));
  held('page of one agent', await inTurns(() => timed(() => page({ agentId: 'agent_wanted' })), whole), 3);
  held('page of one status', await inTurns(() => timed(() => page({ statuses: new Set(['running']) })), whole), 3);
}, 240_000);
