/** A log on a private Redis, for tests of this package. */
import { createRedis, randomIds, systemClock } from '@manyhands/base';
import { type BlobStore, createDirectoryBlobStore } from '@manyhands/blobs';
import { type Budget, type ClientEventBody, primaryThreadId, type SessionAgent } from '@manyhands/contract';
import { silentLogger, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { createFeed, createSessionLog, createSessionWriter, type SessionRecord } from '../src/index.ts';

export const WORKSPACE = 'wrkspc_test';
/** List price of an hour of work: 8 cents. */
export const HOUR_NANO = 80_000_000;

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

/** What is put is kept, under its own bytes; enough for bodies. */
export function createMemoryBlobStore(): BlobStore {
  const bodies = new Map<string, Buffer>();
  const store = createDirectoryBlobStore('/nonexistent');
  return {
    ...store,
    async put(key, body) {
      if (!Buffer.isBuffer(body)) throw new TypeError('streams are not kept here');
      bodies.set(key, body);
      return { bytes: body.byteLength };
    },
    get: async (key) => bodies.get(key) ?? null,
  };
}

export async function startFixture() {
  return fixtureOn(await startTestRedis());
}
/** On a server of another kind, which ends with it. */
export async function fixtureOn<S extends AsyncDisposable & { readonly url: string }>(server: S) {
  const directory = await temporaryDirectory('session-log');
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const blobs = createDirectoryBlobStore(directory.path);
  const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger, hourNano: HOUR_NANO };
  const log = createSessionLog(deps);
  const writer = createSessionWriter(deps);
  const feed = createFeed({ redisUrl: server.url, redis, blobs, log: silentLogger });
  let digest = 0;
  return {
    server,
    redis,
    blobs,
    deps,
    log,
    writer,
    feed,
    async session(initialEvents: ClientEventBody[] = [], budget: Budget | null = null): Promise<SessionRecord> {
      const record: SessionRecord = {
        id: randomIds.id('session'),
        workspace_id: WORKSPACE,
        agent: AGENT,
        environment_id: 'env_test',
      };
      await log.create({ record, title: null, metadata: {}, budget, initialEvents, begunAtMs: systemClock.now() });
      return record;
    },
    send: (sessionId: string, ...bodies: ClientEventBody[]) => log.send({ sessionId, bodies, digest: `d${digest++}`, isRetry: false }),
    /** Of the primary thread if no other is named. */
    async acquire(sessionId: string, worker = 'w1', ttlMs = 5000, threadId = primaryThreadId(sessionId)) {
      const got = await writer.acquire({ sessionId, threadId, workspaceId: WORKSPACE }, worker, ttlMs);
      if (!('lease' in got)) throw new Error(`no lease: ${JSON.stringify(got)}`);
      return got.lease;
    },
    async [Symbol.asyncDispose]() {
      await feed.close();
      redis.disconnect();
      await server[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}
export type Fixture = Awaited<ReturnType<typeof startFixture>>;
