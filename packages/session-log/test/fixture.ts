/** A log on a private Redis, for tests of this package. */
import { createRedis, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import type { Budget, ClientEventBody, SessionAgent } from '@manyhands/contract';
import { silentLogger, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { createSessionLog, createSessionWriter, createTail, type SessionRecord } from '../src/index.ts';

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

export async function startFixture() {
  const server = await startTestRedis();
  const directory = await temporaryDirectory('session-log');
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const blobs = createDirectoryBlobStore(directory.path);
  const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger };
  const log = createSessionLog(deps);
  const writer = createSessionWriter(deps);
  const tail = createTail({ redisUrl: server.url, redis, blobs, log: silentLogger });
  let digest = 0;
  return {
    server,
    redis,
    blobs,
    log,
    writer,
    tail,
    async session(initialEvents: ClientEventBody[] = [], budget: Budget | null = null): Promise<SessionRecord> {
      const record: SessionRecord = {
        id: randomIds.id('session'),
        workspace_id: 'wrkspc_test',
        agent: AGENT,
        environment_id: 'env_test',
        created_at_ms: Date.now(),
      };
      await log.create({ record, title: null, metadata: {}, budget, initialEvents });
      return record;
    },
    send: (sessionId: string, ...bodies: ClientEventBody[]) => log.send({ sessionId, bodies, digest: `d${digest++}`, isRetry: false }),
    async acquire(sessionId: string, worker = 'w1', ttlMs = 5000) {
      const got = await writer.acquire(sessionId, worker, ttlMs);
      if (!('lease' in got)) throw new Error(`no lease: ${JSON.stringify(got)}`);
      return got.lease;
    },
    async [Symbol.asyncDispose]() {
      await tail.close();
      redis.disconnect();
      await server[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}
export type Fixture = Awaited<ReturnType<typeof startFixture>>;
