import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { withDirectoryLock } from '../src/files/directory-lock.js';
import { run } from '../src/processes/run.js';

const MODULE = fileURLToPath(new URL('../src/files/directory-lock.js', import.meta.url));

test('of several processes only one at a time holds the lock', async () => {
  await using directory = await temporaryDirectory('lock');
  const log = join(directory.path, 'log');
  const script = `
    import { appendFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    const { withDirectoryLock } = await import(${JSON.stringify(MODULE)});
    for (let i = 0; i < 3; i++) {
      await withDirectoryLock(${JSON.stringify(join(directory.path, 'l'))}, async () => {
        appendFileSync(${JSON.stringify(log)}, 'in ');
        await sleep(10);
        appendFileSync(${JSON.stringify(log)}, 'out ');
      });
    }`;
  const results = await Promise.all(Array.from({ length: 3 }, () => run(process.execPath, ['--input-type=module', '-e', script])));
  for (const result of results) expect(result).toMatchObject({ code: 0, stderr: '' });
  expect(readFileSync(log, 'utf8')).toBe('in out '.repeat(9));
});

test('the lock of a process that was killed is taken over', async () => {
  await using directory = await temporaryDirectory('lock');
  const lock = join(directory.path, 'l');
  const script = `
    const { withDirectoryLock } = await import(${JSON.stringify(MODULE)});
    await withDirectoryLock(${JSON.stringify(lock)}, () => new Promise((resolve) => setTimeout(resolve, 1e6)));`;
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  await until(() => existsSync(join(lock, 'owner.json')), { what: 'the other process holds the lock' });
  const waited: string[] = [];
  const taken = withDirectoryLock(
    lock,
    async () => 'taken',
    (pid) => waited.push(pid),
  );
  await until(() => waited.length > 0, { what: 'this process waits' });
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  expect(await taken).toBe('taken');
  expect(waited).toEqual([String(owner.pid)]);
  expect(existsSync(lock)).toBe(false);
});

test('a lock whose pid belongs to another process by now is taken over', async () => {
  await using directory = await temporaryDirectory('lock');
  const lock = join(directory.path, 'l');
  mkdirSync(lock);
  writeFileSync(join(lock, 'owner.json'), JSON.stringify({ pid: process.pid, start: 'long ago', host: hostname() }));
  expect(await withDirectoryLock(lock, async () => 'taken')).toBe('taken');
});

test('the lock is given back when the work fails', async () => {
  await using directory = await temporaryDirectory('lock');
  const lock = join(directory.path, 'l');
  const work = withDirectoryLock(lock, () => Promise.reject(new Error('no luck')));
  await expect(work).rejects.toThrow('no luck');
  expect(existsSync(lock)).toBe(false);
});
