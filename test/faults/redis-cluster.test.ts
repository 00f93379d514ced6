/** Everything on a Redis Cluster of three masters: no command of any process touches two slots (DESIGN 5). */
import { startTestRedisCluster, type TestRedisCluster, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startSession } from '../e2e/conversation.ts';
import { type Cluster, type Gateway, startCluster } from './cluster.ts';
import { servesASession, turnWith } from './redis-modes.ts';

let redis: TestRedisCluster;
let cluster: Cluster;
let gateway: Gateway;
beforeAll(async () => {
  redis = await startTestRedisCluster();
  cluster = await startCluster({ redisUrl: redis.url });
  [gateway] = await Promise.all([cluster.startGateway(), cluster.startPool(), cluster.startWorker(), cluster.startWorker()]);
}, 120_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await redis?.[Symbol.asyncDispose]();
}, 60_000);

test('a session runs, streams, is interrupted and survives kill -9 of its worker and of a master that comes back', async () => {
  await servesASession({ cluster, gateway }, async () => {
    const [node] = redis.nodes;
    await node!.kill();
    await node!.restart();
  });
}, 240_000);

test('sessions in many slots run side by side', async () => {
  const sessions = await Promise.all(Array.from({ length: 8 }, () => startSession(gateway.client)));
  const ended = await Promise.all(sessions.map((id) => turnWith({ cluster, gateway }, id, 0, async () => {})));
  for (const events of ended) expect(events.at(-1)).toMatchObject({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
  const listed = await gateway.client.beta.sessions.list({ limit: 100 });
  await until(() => sessions.every((id) => listed.data.some((session) => session.id === id)), { what: 'all in the list' });
}, 120_000);
