import { createRedis } from '@manyhands/base';
import { expect, test } from 'vitest';
import { leftovers, silentLogger, startTestRedisCluster, startTestSentinel, until } from '../src/index.ts';

function connect(url: string) {
  const redis = createRedis(url, 'patient', silentLogger, 'test');
  return Object.assign(redis, { [Symbol.dispose]: () => redis.disconnect() });
}

test('a cluster serves every slot, and a node that was killed finds its place again with everything it had acknowledged', async () => {
  const directories: string[] = [];
  {
    await using cluster = await startTestRedisCluster({ password: 'secret' });
    directories.push(...cluster.nodes.map(({ directory }) => directory));
    using redis = connect(cluster.url);
    const keys = ['{a}', '{b}', '{c}'];
    expect(new Set(await Promise.all(keys.map((key) => cluster.masterOf(key))))).toEqual(new Set(cluster.nodes));
    await Promise.all(keys.map((key) => redis.set(key, key)));
    const master = await cluster.masterOf('{a}');
    await master.kill();
    await master.restart();
    expect(await Promise.all(keys.map((key) => redis.get(key)))).toEqual(keys);
  }
  await until(() => directories.every((directory) => leftovers(directory).length === 0), { what: 'nothing of it is left' });
});

test('a replica of a cluster takes over the slots of its master, which comes back as a replica', async () => {
  await using cluster = await startTestRedisCluster({ replicas: true });
  expect(cluster.nodes).toHaveLength(6);
  const old = await cluster.masterOf('key');
  await old.kill();
  await until(async () => (await cluster.masterOf('key')) !== old, { what: 'the replica took over' });
  await old.restart();
  using redis = connect(old.url);
  await until(async () => /^role:slave/m.test(await redis.info('replication')), { what: 'the old master is a replica' });
});

test('sentinels agree on the replica when the master dies, and the old one becomes the replica of the new', {
  timeout: 60_000,
}, async () => {
  const directories: string[] = [];
  {
    await using place = await startTestSentinel({ sentinels: 3, password: 'secret' });
    directories.push(...[...place.servers, ...place.sentinels].map(({ directory }) => directory));
    using redis = connect(place.url);
    await redis.set('key', 'value');
    const old = await place.killMaster();
    await until(async () => (await place.master()) !== old, { what: 'the replica took over', timeoutMs: 30_000 });
    expect(await redis.get('key')).toBe('value');
    await old.restart();
    using former = connect(old.url);
    await until(async () => /^master_link_status:up/m.test(await former.info('replication')), { what: 'the old master is a replica' });
    await redis.set('key', 'again');
  }
  await until(() => directories.every((directory) => leftovers(directory).length === 0), { what: 'nothing of it is left' });
});
