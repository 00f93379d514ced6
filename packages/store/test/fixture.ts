/** The stores on a private Redis or cluster, with a clock that tests can move. */
import { createRedis, randomIds } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { silentLogger, startTestRedis, startTestRedisCluster, temporaryDirectory } from '@manyhands/test-kit';
import { createAgentStore, createApiKeyStore, createEnvironmentStore, createFileStore } from '../src/index.ts';

export const WORKSPACE = 'wrkspc_one';
export const OTHER_WORKSPACE = 'wrkspc_two';

export async function startStores({ cluster = false } = {}) {
  const server = cluster ? await startTestRedisCluster() : await startTestRedis();
  const directory = await temporaryDirectory('store');
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const time = { nowMs: Date.parse('2026-01-01T00:00:00Z') };
  const clock = { now: () => time.nowMs };
  const blobs = createDirectoryBlobStore(directory.path);
  return {
    redis,
    time,
    blobs,
    files: createFileStore(redis, blobs, clock),
    agents: createAgentStore(redis, clock, randomIds),
    environments: createEnvironmentStore(redis, clock, randomIds),
    apiKeys: createApiKeyStore(redis, clock, randomIds),
    async [Symbol.asyncDispose]() {
      redis.disconnect();
      await server[Symbol.asyncDispose]();
      await directory.remove();
    },
  };
}
export type Stores = Awaited<ReturnType<typeof startStores>>;

/** Everything Redis holds, to show that a refusal changed nothing. */
export async function contents({ redis }: Stores): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const key of (await redis.keys('*')).sort()) found[key] = String(await redis.dumpBuffer(key));
  return found;
}
