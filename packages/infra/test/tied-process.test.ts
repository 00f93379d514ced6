import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { processStart } from '../src/processes/process-start.js';
import { findSetpriv, spawnTied } from '../src/processes/tied-process.js';

const INDEX = fileURLToPath(new URL('../src/index.js', import.meta.url));

/** Runs the script in a process of its own, which prints one line, and kills that process with -9. Answers the printed line. */
async function killedParentOf(script: string): Promise<string> {
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  parent.stdout.setEncoding('utf8');
  for await (const part of parent.stdout) {
    text += String(part);
    if (text.includes('\n')) break;
  }
  parent.kill('SIGKILL');
  if (parent.exitCode === null && parent.signalCode === null) await once(parent, 'exit');
  return text.trim();
}

for (const tie of ['kernel', 'guard'] as const) {
  test.skipIf(tie === 'kernel' && findSetpriv() === null)(`a child tied by the ${tie} ends when its parent is killed with -9`, async () => {
    const pid = Number(
      await killedParentOf(`
        const { spawnTied } = await import(${JSON.stringify(INDEX)});
        const child = spawnTied('/bin/sleep', ['600'], { tie: '${tie}', stdio: 'ignore' });
        console.log(child.pid);
        setInterval(() => {}, 1000);`),
    );
    expect(pid).toBeGreaterThan(1);
    await until(() => processStart(pid) === null, { what: 'the child ended' });
  });

  test.skipIf(tie === 'kernel' && findSetpriv() === null)(
    `a child tied by the ${tie} keeps its pid, its arguments and its exit code`,
    async () => {
      const child = spawnTied('/bin/sh', ['-c', 'echo "$$ $1"; exit 7', 'sh', 'two words'], { tie, stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout?.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      const [code] = (await once(child, 'close')) as [number];
      expect(text.trim()).toBe(`${child.pid} two words`);
      expect(code).toBe(7);
    },
  );
}

test('Redis and NATS end when the process that started them is killed with -9', { timeout: 60_000 }, async () => {
  await using directory = await temporaryDirectory('tied');
  const line = await killedParentOf(`
    const { startNats, startRedis } = await import(${JSON.stringify(INDEX)});
    const redis = await startRedis({ dir: ${JSON.stringify(`${directory.path}/redis`)}, appendfsync: 'everysec' });
    const nats = await startNats({ dir: ${JSON.stringify(`${directory.path}/nats`)} });
    console.log(redis.pid, nats.pid);
    setInterval(() => {}, 1000);`);
  const pids = line.split(' ').map(Number);
  expect(pids).toHaveLength(2);
  for (const pid of pids) await until(() => processStart(pid) === null, { what: `server ${pid} ended` });
});
