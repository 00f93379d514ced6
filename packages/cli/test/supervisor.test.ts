/** Children are kept running, recorded, and ended in order. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { writeReadyFile } from '../src/up/data/ready-file.ts';
import type { Recipe } from '../src/up/processes/launched-process.ts';
import { serviceRecipe } from '../src/up/processes/service.ts';
import { restartDelayMs } from '../src/up/processes/supervised.ts';
import { createSupervisor, type ProcessEntry, type SupervisorOptions } from '../src/up/processes/supervisor.ts';

const WORKER = join(import.meta.dirname, 'fixtures', 'worker.js');

async function fixture(options: Partial<SupervisorOptions> = {}) {
  const directory = await temporaryDirectory('supervisor');
  const said: string[] = [];
  const journal = join(directory.path, 'journal');
  const processesFile = join(directory.path, 'processes.json');
  const supervisor = createSupervisor({ processesFile, log: (line) => said.push(line), onChange: () => {}, ...options });
  function worker(name: string, behaviour = '', tie: 'kernel' | 'pipe' = 'kernel'): Recipe {
    const env = { PATH: process.env['PATH'] ?? '', BEHAVIOUR: behaviour, JOURNAL: journal, NAME: name };
    return serviceRecipe({ name, entry: WORKER, env, logs: directory.path, tie });
  }
  return {
    supervisor,
    worker,
    said,
    path: directory.path,
    processesFile,
    journal: () => (existsSync(journal) ? readFileSync(journal, 'utf8').trim().split('\n') : []),
    pid: (name: string) => supervisor.processes().find((entry) => entry.name === name)?.pid,
    async [Symbol.asyncDispose]() {
      supervisor.kill();
      await until(() => supervisor.processes().length === 0, { what: 'all children are gone' });
      await directory.remove();
    },
  };
}

test('a child that is killed is started again at once, and the ready file tells the new pid', async () => {
  const readyFile = { path: '' };
  const write = (processes: ProcessEntry[]) =>
    writeReadyFile(readyFile.path, { url: 'http://127.0.0.1:1', api_key: 'k', console_url: null, processes });
  await using fix = await fixture({ onChange: (processes) => readyFile.path !== '' && write(processes) });
  await Promise.all([fix.supervisor.start(fix.worker('harness-1'), 1), fix.supervisor.start(fix.worker('harness-2'), 1)]);
  readyFile.path = join(fix.path, 'ready.json');
  write(fix.supervisor.processes());
  const pids = () =>
    Object.fromEntries(
      (JSON.parse(readFileSync(readyFile.path, 'utf8')) as { processes: ProcessEntry[] }).processes.map(({ name, pid }) => [name, pid]),
    );
  const before = pids();
  process.kill(before['harness-1']!, 'SIGKILL');
  const after = await until(() => pids()['harness-1'] !== before['harness-1'] && pids(), { what: 'the ready file has the new pid' });
  expect(after).toEqual({ 'harness-1': fix.pid('harness-1'), 'harness-2': before['harness-2'] });
  const recorded = JSON.parse(readFileSync(fix.processesFile, 'utf8')) as { name: string; pid: number }[];
  expect(recorded.map(({ pid }) => pid)).toEqual([after['harness-1'], after['harness-2']]);
  expect(fix.said).toEqual(['harness-1 ended (signal SIGKILL); starting it again']);
});

test('the ready file never shows a part of the processes', async () => {
  const seen: number[] = [];
  await using fix = await fixture({ onChange: (processes) => seen.push(processes.length) });
  await fix.supervisor.start(fix.worker('harness-1'), 1);
  await fix.supervisor.start(fix.worker('harness-2'), 1);
  const before = fix.pid('harness-2');
  process.kill(before!, 'SIGKILL');
  await until(() => fix.pid('harness-2') !== before && fix.pid('harness-2'), { what: 'harness-2 runs again' });
  expect(seen).toEqual([1, 2, 2]);
});

test('a first start that fails with words ends with exactly these words', async () => {
  await using fix = await fixture();
  await expect(fix.supervisor.start(fix.worker('sandbox-pool-1', 'bad-setting'), 1)).rejects.toThrow(
    'sandbox-pool-1 does not start (exit code 1):\nThe environment is not usable:\n  MANYHANDS_POOL_MAX: too big',
  );
});

test('a child that dies again and again at its first start is given up', async () => {
  await using fix = await fixture();
  await expect(fix.supervisor.start(fix.worker('egress-1', 'dies-silently'), 1)).rejects.toThrow('egress-1 does not start (exit code 3)');
  expect(fix.said.filter((line) => line.startsWith('egress-1 ended (exit code 3)'))).toHaveLength(3);
});

test('a child that was killed while it started is started again, since that says nothing about it', async () => {
  await using fix = await fixture();
  const started = fix.supervisor.start(fix.worker('gateway-1'), 0);
  const first = await until(() => fix.pid('gateway-1'), { what: 'a first pid' });
  process.kill(first, 'SIGKILL');
  await started;
  expect(fix.pid('gateway-1')).toBeGreaterThan(0);
});

test('the pause before a restart is nothing at first and at most 2 s', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 50].map(restartDelayMs)).toEqual([0, 100, 200, 400, 800, 1600, 2000, 2000]);
});

test('children end stage by stage, and none is started again', async () => {
  await using fix = await fixture();
  const stages: [string, number][] = [
    ['redis-1', 6],
    ['gateway-1', 0],
    ['sandbox-pool-1', 2],
    ['harness-1', 1],
  ];
  await Promise.all(stages.map(([name, stage]) => fix.supervisor.start(fix.worker(name), stage)));
  await fix.supervisor.stop();
  expect(fix.supervisor.processes()).toEqual([]);
  expect(fix.journal().slice(-4)).toEqual(['end gateway-1', 'end harness-1', 'end sandbox-pool-1', 'end redis-1']);
  expect(JSON.parse(readFileSync(fix.processesFile, 'utf8'))).toEqual([]);
});

test('a child that does not end in time is killed', async () => {
  await using fix = await fixture({ stopDeadlineMs: 300 });
  await fix.supervisor.start(fix.worker('harness-1', 'stubborn'), 1);
  await fix.supervisor.stop();
  expect(fix.supervisor.processes()).toEqual([]);
  expect(fix.said.at(-1)).toBe('harness-1 did not stop in time and is killed');
});

test('at once means: what the sandbox pool needs for its end ends after it', async () => {
  await using fix = await fixture();
  await fix.supervisor.start({ ...fix.worker('docker-1'), neededAtEnd: true }, 4);
  await fix.supervisor.start(fix.worker('sandbox-pool-1', '', 'pipe'), 2);
  fix.supervisor.kill();
  await fix.supervisor.stop();
  expect(fix.supervisor.processes()).toEqual([]);
  expect(fix.journal().slice(-2)).toEqual(['end sandbox-pool-1', 'end docker-1']);
});

test('at once means: everything is killed but the sandbox pool, which takes its sandboxes along', async () => {
  await using fix = await fixture();
  await fix.supervisor.start(fix.worker('harness-1', 'stubborn'), 1);
  await fix.supervisor.start(fix.worker('sandbox-pool-1', '', 'pipe'), 2);
  const stopped = fix.supervisor.stop();
  await until(() => fix.journal().includes('end harness-1'), { what: 'harness-1 was asked to end' });
  fix.supervisor.kill();
  await stopped;
  expect(fix.supervisor.processes()).toEqual([]);
  expect(fix.journal().slice(-2)).toEqual(['end harness-1', 'end sandbox-pool-1']);
});
