/** Data that a newer version has taken over: older processes stop themselves, and none starts (I16). */
import { createRedis } from '@manyhands/base';
import { fakeScript } from '@manyhands/model/testing';
import { silentLogger, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { say, startSession, untilIdle } from '../e2e/conversation.ts';
import { type Cluster, startCluster } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster();
}, 60_000);
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

test('a gateway and a worker stop themselves when a newer process raises the format, and refuse to start, saying what to do', async () => {
  const [gateway, worker] = await Promise.all([cluster.startGateway(), cluster.startWorker()]);
  const redis = createRedis(cluster.redisUrl, 'patient', silentLogger, 'test');
  try {
    const sessionId = await startSession(gateway.client);
    await say(gateway.client, sessionId, fakeScript([{ blocks: [{ text: 'hello' }] }]));
    await untilIdle(gateway.client, sessionId, 20_000);
    expect(await redis.get('mh:format')).toBe('2');
    await redis.set('mh:format', '3');
    const exits = await Promise.all([gateway.service.exited, worker.exited]);
    expect(exits.map(({ code }) => code)).toEqual([1, 1]);
    const reason = /this installation's data has format 3, this program knows 2: start a newer version, or restore a backup/;
    for (const service of [gateway.service, worker]) expect(service.output()).toMatch(reason);
    await expect(cluster.startGateway()).rejects.toThrow(reason);
    await expect(cluster.startWorker()).rejects.toThrow(reason);
    await redis.set('mh:format', '2');
    await until(() => cluster.startGateway().then(() => true), { what: 'a gateway on data of its own format', timeoutMs: 20_000 });
  } finally {
    redis.disconnect();
  }
}, 90_000);
