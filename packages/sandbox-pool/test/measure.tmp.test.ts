import { spawn } from 'node:child_process';
import { test } from 'vitest';
import { startTestNats } from '@manyhands/test-kit';
import { connectMessaging } from '@manyhands/base';
import { z } from 'zod';
import { silentLogger } from '@manyhands/test-kit';
import { startPoolHost } from './pool-host.ts';
const q = (a: number[]) => { a.sort((x, y) => x - y); return `min ${a[0]!.toFixed(2)} p50 ${a[a.length >> 1]!.toFixed(2)} p95 ${a[Math.floor(a.length * 0.95)]!.toFixed(2)} n=${a.length}`; };
const time = async (f: () => Promise<unknown>) => { const t = performance.now(); await f(); return performance.now() - t; };
test('measure', async () => {
  await using nats = await startTestNats();
  await using host = await startPoolHost(nats, { warm: 20, max: 24 });
  const other = await connectMessaging(nats.url, silentLogger, 'x');
  const echo = other.serve('echo', async (b) => b);
  const bare: number[] = [], lease: number[] = [], release: number[] = [], cold: number[] = [];
  const wait = async () => { while (host.pool.warmCount < 20) await new Promise((r) => setTimeout(r, 100)); };
  await wait();
  for (let i = 0; i < 20; i++) await time(() => host.client.messaging.request('echo', { a: 'x'.repeat(200) }, z.any(), 1000));
  for (let round = 0; round < 2; round++) {
    await wait(); await new Promise((r) => setTimeout(r, 500));
    const given = [];
    for (let i = 0; i < 4; i++) {
      for (let k = 0; k < 5; k++) bare.push(await time(() => host.client.messaging.request('echo', { a: 'x'.repeat(200) }, z.any(), 1000)));
      lease.push(await time(async () => given.push(await host.client.leased(`sesn_${round}_${i}`))));
    }
    for (const g of given) release.push(await time(() => host.client.ask(g, 'release', {})));
  }
  await wait();
  const g = await host.client.leased('sesn_b');
  await wait(); await new Promise((r) => setTimeout(r, 1000));
  const inside: number[] = [], spawnHost: number[] = [];
  let n = 0;
  const call = async () => { const key = `k${n++}`; let r = await host.client.ask(g, 'start', { key, tool: 'bash', input: { command: '/bin/true' } }); while (r.ok && r.call?.state === 'running') r = await host.client.ask(g, 'wait', { key, wait_ms: 10000 }); };
  for (let i = 0; i < 60; i++) {
    inside.push(await time(call));
    spawnHost.push(await time(() => new Promise((r) => spawn('bash', ['-c', '/bin/true'], { stdio: 'ignore' }).on('exit', r))));
  }
  process.stderr.write(`\nbare nats: ${q(bare)}\nwarm lease: ${q(lease)}\nrelease: ${q(release)}\nbash true over nats: ${q(inside)}\nhost spawn bash -c true: ${q(spawnHost)}\n`);
  await echo.stop(); await other.close();
  await using h2 = await startPoolHost(nats, { warm: 0, max: 24 });
  for (let i = 0; i < 10; i++) { cold.push(await time(() => h2.client.leased(`sesn_c${i}`))); }
  process.stderr.write(`cold lease (sequential): ${q(cold)}\n`);
  const burst: number[] = []; const t = performance.now();
  await Promise.all(Array.from({ length: 12 }, async (_, i) => { await h2.client.leased(`sesn_d${i}`); burst.push(performance.now() - t); }));
  process.stderr.write(`burst of 12 cold, concurrency 2: last ${Math.max(...burst).toFixed(0)} ms → ${(12000 / Math.max(...burst)).toFixed(1)}/s\n`);
}, 120000);
