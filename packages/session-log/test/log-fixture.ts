/** A log on a private Redis, without followers, for tests of this package. */
import { createRedis, type Redis, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { type Budget, type ClientEventBody, primaryThreadId, type SessionAgent } from '@manyhands/contract';
import { silentLogger, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { bucketOf, dueKey, parseDueMember } from '../src/keys.ts';
import { createSessionLog } from '../src/sessions/session-log.ts';
import type { SessionRecord } from '../src/types.ts';
import { createSessionWriter } from '../src/work/session-writer.ts';

export const WORKSPACE = 'wrkspc_test';
export const AGENT: SessionAgent = {
  type: 'agent',
  id: 'agent_test',
  version: 1,
  name: 'tester',
  description: null,
  system: null,
  model: { id: 'm', effort: { type: 'high' } },
  tools: [],
  mcp_servers: [],
  skills: [],
  multiagent: null,
  execution_identity: { type: 'service_account' },
};

export function message(text: string): ClientEventBody {
  return { type: 'user.message', content: [{ type: 'text', text }] };
}

/** List price of an hour of work: 8 cents. */
export const HOUR_NANO = 80_000_000;

/** `start` makes another server than a single one: a cluster. */
export async function startLogFixture(start: () => Promise<{ url: string } & AsyncDisposable> = startTestRedis) {
  return logFixtureOn(await start());
}
/** On a server that ends with it. */
export async function logFixtureOn<S extends AsyncDisposable & { readonly url: string }>(server: S) {
  const directory = await temporaryDirectory('session-log');
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const blobs = createDirectoryBlobStore(directory.path);
  const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger, hourNano: HOUR_NANO };
  const log = createSessionLog(deps);
  const writer = createSessionWriter(deps);
  let digest = 0;
  return {
    server,
    redis,
    blobs,
    deps,
    log,
    writer,
    async session(initialEvents: ClientEventBody[] = [], budget: Budget | null = null): Promise<SessionRecord> {
      const record: SessionRecord = { id: randomIds.id('session'), workspace_id: WORKSPACE, agent: AGENT, environment_id: 'env_test' };
      await log.create({ record, title: null, metadata: {}, budget, initialEvents, begunAtMs: Date.now() });
      return record;
    },
    send: (sessionId: string, ...bodies: ClientEventBody[]) => log.send({ sessionId, bodies, digest: `d${digest++}`, isRetry: false }),
    /** Of the primary thread if no other is named. */
    async acquire(sessionId: string, worker = 'w1', ttlMs = 5_000, threadId = primaryThreadId(sessionId)) {
      const got = await writer.acquire({ sessionId, threadId, workspaceId: WORKSPACE }, worker, ttlMs);
      if (!('lease' in got)) throw new Error(`no lease: ${JSON.stringify(got)}`);
      return got.lease;
    },
    /** The threads of a session that are marked due, with the time of their mark on Redis' clock. */
    async marks(sessionId: string): Promise<{ threadId: string; atMs: number }[]> {
      const flat = await redis.zrange(dueKey(bucketOf(sessionId)), '0', '-1', 'WITHSCORES');
      return Array.from({ length: flat.length / 2 }, (_, i) => ({ ...parseDueMember(flat[i * 2]!), atMs: Number(flat[i * 2 + 1]) }))
        .filter((mark) => mark.sessionId === sessionId)
        .map(({ threadId, atMs }) => ({ threadId, atMs }));
    },
    async [Symbol.asyncDispose]() {
      redis.disconnect();
      await server[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}
export type LogFixture = Awaited<ReturnType<typeof startLogFixture>>;

/** What a key holds, as text: a hash in the order of its fields, since the server's own order may change by itself. */
export async function contentOf(redis: Redis, key: string): Promise<string> {
  if ((await redis.type(key)) === 'hash') return JSON.stringify(Object.entries(await redis.hgetall(key)).toSorted());
  return (await redis.dumpBuffer(key)).toString('base64');
}
