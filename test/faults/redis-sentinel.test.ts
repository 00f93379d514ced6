/** Everything on a master that sentinels watch, which dies in the middle of a turn (DESIGN 5). */
import { startTestSentinel, type TestSentinel } from '@manyhands/test-kit';
import { afterAll, beforeAll, test } from 'vitest';
import { type Cluster, type Gateway, startCluster } from './cluster.ts';
import { servesASession } from './redis-modes.ts';

let redis: TestSentinel;
let cluster: Cluster;
let gateway: Gateway;
beforeAll(async () => {
  redis = await startTestSentinel();
  cluster = await startCluster({ redisUrl: redis.url });
  [gateway] = await Promise.all([cluster.startGateway(), cluster.startPool(), cluster.startWorker(), cluster.startWorker()]);
}, 120_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await redis?.[Symbol.asyncDispose]();
}, 60_000);

test('a session runs, streams, is interrupted and survives kill -9 of its worker and a fail-over in mid-turn', async () => {
  await servesASession({ cluster, gateway }, async () => {
    await redis.killMaster();
  });
}, 240_000);
