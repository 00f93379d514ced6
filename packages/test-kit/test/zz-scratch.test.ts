import { startTestRedisCluster, until } from '@manyhands/test-kit';
import { Cluster, Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
process.on('unhandledRejection', (e) => console.log('UNHANDLED', (e as Error).message));
test('cluster', async () => {
  await using c = await startTestRedisCluster({ replicas: true });
  const nodes = c.nodes.slice(0, 3).map((n) => ({ host: '127.0.0.1', port: n.port }));
  const sub = new Cluster(nodes, { shardedSubscribers: true });
  const pub = new Cluster(nodes, {maxRedirections: 1000});
  sub.on('error', (e) => console.log('sub error', e.message));
  const got = new Map<string, number>();
  sub.on('smessage', (ch, m) => got.set(ch, (got.get(ch) ?? 0) + 1));
  sub.on('subscribersReady', () => console.log(t(), 'subscribersReady'));
  sub.on('refresh', () => console.log(t(), 'refresh'));
  sub.on('-subscriber', () => console.log(t(), '-subscriber'));
  const t0 = performance.now(); const t = () => Math.round(performance.now() - t0);
  const channels = ['{a}x', '{b}x', '{c}x', '{a}y'];
  await until(() => sub.status === 'ready', { what: 'ready' });
  for (const ch of channels) { try { console.log(t(), ch, await sub.ssubscribe(ch)); } catch (e) { console.log(ch, (e as Error).message); } }
  async function check(what: string, ms = 15000) {
    const begin = performance.now(); got.clear();
    const missing = () => channels.filter((ch) => !got.get(ch));
    while (missing().length && performance.now() - begin < ms) { await Promise.all(channels.map((ch) => pub.spublish(ch, 'm').catch((e: Error) => console.log(e.message)))); await sleep(50); }
    console.log(t(), what, 'missing', missing(), Math.round(performance.now() - begin), 'ms; group channels', JSON.stringify([...(sub as any).shardedSubscribers.channels.values()]));
  }
  await check('initial');
  for (const n of c.nodes) { const r = new Redis(n.url); console.log(n.port, await r.call('CLIENT', 'KILL', 'TYPE', 'pubsub')); r.disconnect(); }
  await check('after kill pubsub');
  const m = await c.masterOf('{a}x');
  await m.kill();
  await check('after master kill', 20000);
  await m.restart();
  await sleep(3000);
  await check('after restart');
  // migration of the slot of {b}x
  const admin = new Redis((await c.masterOf('{b}x')).url);
  sub.disconnect(); pub.disconnect(); admin.disconnect();
}, 90000);
