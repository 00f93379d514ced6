/** What the gateway itself keeps in Redis, on a cluster: the buckets of the rate limits; and Redis readiness, which requests wait for while it is away. */
import { createRedis, systemClock } from '@manyhands/base';
import { silentLogger, startTestRedisCluster, type TestRedisCluster, until } from '@manyhands/test-kit';
import Fastify from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toWireError } from '../src/http/errors.ts';
import { keys } from '../src/http/keys.ts';
import { createRateLimiter } from '../src/http/rate-limits.ts';
import { createRedisReadiness } from '../src/http/redis-readiness.ts';

const LIMITS = { create: 4, read: 6 };

let cluster: TestRedisCluster;
beforeAll(async () => {
  cluster = await startTestRedisCluster();
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

function connect() {
  const redis = createRedis(cluster.url, 'finite', silentLogger, 'gateway');
  return Object.assign(redis, { [Symbol.dispose]: () => redis.disconnect() });
}

test('the buckets are one for all gateways, and exactly as many requests get through at once as they hold', async () => {
  using first = connect();
  using second = connect();
  const gateways = [first, second].map((redis) => {
    const app = Fastify();
    app.addHook('onRequest', createRateLimiter(redis, LIMITS, systemClock));
    app.route({ method: ['GET', 'POST'], url: '/v1/agents', handler: async () => ({}) });
    app.setErrorHandler((error, _request, reply) => reply.status(toWireError(error, 0).wire.status).send());
    return app;
  });
  const statuses = async (method: 'GET' | 'POST', times: number) => {
    const answers = await Promise.all(
      Array.from({ length: times }, (_, i) => gateways[i % gateways.length]?.inject({ method, url: '/v1/agents' })),
    );
    return answers.map((answer) => answer?.statusCode).sort();
  };
  expect(await statuses('POST', 7)).toEqual([200, 200, 200, 200, 429, 429, 429]);
  expect(await statuses('GET', 8)).toEqual([200, 200, 200, 200, 200, 200, 429, 429]);
  await Promise.all(gateways.map((app) => app.close()));
});

test('a request whose bucket is on a master that is gone is answered with 503 within seconds, and served when it is back', async () => {
  using redis = connect();
  const key = keys.limit('create');
  await redis.del(key);
  const master = await cluster.masterOf(key);
  await master.kill();
  const refusal = await redis.get(key).catch((error: unknown) => error);
  expect(toWireError(refusal, 0)).toMatchObject({ wire: { status: 503 }, unexpected: false });
  await master.restart();
  await until(async () => (await redis.get(key)) === null, { what: 'it is served again', timeoutMs: 20_000 });
});

test('Redis is ready when the cluster is connected, and a request that came before goes on', async () => {
  using redis = connect();
  const readiness = createRedisReadiness(redis);
  expect(readiness.isReady).toBe(false);
  await readiness.waitUntilReady();
  expect(readiness.isReady).toBe(true);
  await readiness.waitUntilReady();
});
