import { silentLogger, until } from '@manyhands/test-kit';
import { test } from 'vitest';
import { createRedis } from '../src/index.ts';
import { startPlace } from './redis-servers.ts';
test('x', async () => {
  await using place = await startPlace('cluster');
  for (let i = 0; i < 3; i++) {
  const log: string[] = [];
  const redis = createRedis(place.url, 'finite', silentLogger, 'x');
  const t0 = performance.now(); const t = () => Math.round(performance.now() - t0);
  for (const e of ['connect', 'ready', 'close', 'reconnecting', 'refresh', 'error', 'node error', '+node', '-node']) redis.on(e, (...a: any[]) => log.push([t(), e, a.map((x) => x?.message ?? x?.options?.port ?? x)].join(' ')));
  await redis.get('x');
  await Promise.all(place.servers.map((s) => s.stop()));
  log.push(t() + ' STOPPED');
  await redis.set('{a}:key', 'x').catch((e) => log.push(t() + e.message));
  await Promise.all(place.servers.map((s) => s.restart()));
  log.push(t() + ' RESTARTED');
  const m = createRedis(place.servers[0]!.url, 'patient', silentLogger, 'x');
  void until(async () => /cluster_state:ok/.test(await m.cluster('INFO')), { what: 'ok' }).then(() => log.push(t() + 'STATE OK'));
  await until(() => redis.set('{a}:key', 'x').catch((e) => (log.push(t() + e.message), false)), { what: 'asked'});
  console.log(t(), 'DONE'); console.log(log.join('\n'));
  redis.disconnect(); m.disconnect();
  }
}, 90000);
