/** What is kept between starts, and that one directory is never used twice at once. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { loadApiKey, loadSecrets, openDataDirectory } from '../src/up/data/data-directory.ts';
import { lockDataDirectory } from '../src/up/data/data-lock.ts';
import { endLeftovers, readLeftovers, recordProcesses } from '../src/up/processes/leftovers.ts';
import { identify, processScope } from '../src/up/processes/process-identity.ts';

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

async function sleeper() {
  const child = spawn('sleep', ['300'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const identity = identify(child.pid!);
  if (!identity) throw new Error('sleep does not run');
  return { child, identity, exited: once(child, 'exit') };
}

test('the API key is made once, kept, and readable by its owner only', async () => {
  await using directory = await temporaryDirectory('data');
  const data = openDataDirectory(join(directory.path, 'a', 'b'));
  const key = loadApiKey(data, undefined);
  expect(key).toMatch(/^mh-[A-Za-z0-9]{40}$/);
  expect(loadApiKey(data, undefined)).toBe(key);
  expect([mode(data.path), mode(data.apiKeyFile)]).toEqual(['700', '600']);
});

test('a chosen API key wins and leaves the kept one alone', async () => {
  await using directory = await temporaryDirectory('data');
  const data = openDataDirectory(directory.path);
  const kept = loadApiKey(data, undefined);
  expect(loadApiKey(data, 'my-own-chosen-key')).toBe('my-own-chosen-key');
  expect(loadApiKey(data, undefined)).toBe(kept);
  expect(() => loadApiKey(data, 'with space in it')).toThrow('MANYHANDS_API_KEY: use 8 to 512 printable ASCII characters');
});

test('passwords of our own servers are random, kept, and readable by their owner only', async () => {
  await using directory = await temporaryDirectory('data');
  const data = openDataDirectory(directory.path);
  const secrets = loadSecrets(data);
  expect(secrets.redis_password).not.toBe(secrets.nats_password);
  expect(loadSecrets(data)).toEqual(secrets);
  expect(mode(join(data.path, 'secrets.json'))).toBe('600');
});

test('a directory that cannot be made is told with the option', async () => {
  await using directory = await temporaryDirectory('data');
  writeFileSync(join(directory.path, 'file'), '');
  expect(() => openDataDirectory(join(directory.path, 'file', 'data'))).toThrow('--data: ');
});

test('a directory that a living process holds is refused, and the refusal names the process', async () => {
  await using directory = await temporaryDirectory('lock');
  const data = openDataDirectory(directory.path);
  const { child, identity, exited } = await sleeper();
  writeFileSync(join(data.path, 'run', 'lock'), JSON.stringify(identity));
  await expect(lockDataDirectory(data.path)).rejects.toThrow(`in use by process ${child.pid}`);
  child.kill('SIGKILL');
  await exited;
  // Its holder is dead now.
  const lock = await lockDataDirectory(data.path);
  expect(JSON.parse(readFileSync(join(data.path, 'run', 'lock'), 'utf8'))).toMatchObject({ pid: process.pid });
  lock.release();
  expect(existsSync(join(data.path, 'run', 'lock'))).toBe(false);
});

test('a lock whose pid now belongs to another process is taken over', async () => {
  await using directory = await temporaryDirectory('lock');
  const data = openDataDirectory(directory.path);
  const { child, identity, exited } = await sleeper();
  writeFileSync(join(data.path, 'run', 'lock'), JSON.stringify({ ...identity, start: `${identity.start}1` }));
  const lock = await lockDataDirectory(data.path);
  lock.release();
  child.kill('SIGKILL');
  await exited;
});

test('the lock of another container is respected while it is being touched, and taken over when it is not', async () => {
  await using directory = await temporaryDirectory('lock');
  const data = openDataDirectory(directory.path);
  const path = join(data.path, 'run', 'lock');
  writeFileSync(path, JSON.stringify({ pid: 7, start: '1', scope: 'elsewhere' }));
  let tick = 1_000_000;
  const touching = setInterval(() => utimesSync(path, ++tick, tick), 10);
  await expect(lockDataDirectory(data.path, 1_500)).rejects.toThrow('in use by process 7');
  clearInterval(touching);
  const lock = await lockDataDirectory(data.path, 200);
  lock.release();
});

test('of many at once exactly one gets the directory', async () => {
  await using directory = await temporaryDirectory('lock');
  mkdirSync(join(directory.path, 'run'));
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockDataDirectory(directory.path)));
  const locks = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  expect(locks).toHaveLength(1);
  locks[0]?.release();
});

test('leftovers that still are who was recorded are ended, killed if need be, and waited for', async () => {
  await using directory = await temporaryDirectory('leftovers');
  const file = join(directory.path, 'processes.json');
  const obedient = await sleeper();
  const stubborn = spawn('bash', ['-c', 'trap "" TERM; echo ready; while :; do sleep 0.1; done'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const stubbornExit = once(stubborn, 'exit');
  await once(stubborn.stdout, 'data');
  recordProcesses(file, [
    { name: 'harness-1', ...obedient.identity },
    { name: 'sandbox-pool-1', ...identify(stubborn.pid!)! },
  ]);
  expect(readLeftovers(file).map(({ name }) => name)).toEqual(['harness-1', 'sandbox-pool-1']);
  await endLeftovers(file, () => {}, 300);
  expect(readLeftovers(file)).toEqual([]);
  expect((await obedient.exited)[1]).toBe('SIGTERM');
  expect((await stubbornExit)[1]).toBe('SIGKILL');
});

test('a leftover engine is ended after everything that may need it for its own end', async () => {
  await using directory = await temporaryDirectory('leftovers');
  const file = join(directory.path, 'processes.json');
  const order = join(directory.path, 'order');
  // Each notes its own end, so that the order is theirs and not that in which this process hears of it.
  const start = async (name: string, endsAfterSeconds: number) => {
    const script = `trap "sleep ${endsAfterSeconds}; echo ${name} >> '${order}'; exit 0" TERM; echo ready; while :; do sleep 0.05; done`;
    const child = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    return { identity: identify(child.pid!)!, exited };
  };
  const engine = await start('engine', 0);
  const pool = await start('pool', 0.3);
  recordProcesses(file, [
    { name: 'docker-1', ...engine.identity },
    { name: 'sandbox-pool-1', ...pool.identity },
  ]);
  await endLeftovers(file, () => {});
  await Promise.all([engine.exited, pool.exited]);
  expect(readFileSync(order, 'utf8')).toBe('pool\nengine\n');
});

test('a process that only has the pid of a leftover is left alone', async () => {
  await using directory = await temporaryDirectory('leftovers');
  const file = join(directory.path, 'processes.json');
  const { child, identity, exited } = await sleeper();
  recordProcesses(file, [
    { name: 'harness-1', ...identity, start: `${identity.start}1` },
    { name: 'harness-2', ...identity, scope: `another boot than ${processScope()}` },
  ]);
  await endLeftovers(file, () => {}, 300);
  expect(child.exitCode ?? child.signalCode).toBeNull();
  expect(identify(child.pid!)).toEqual(identity);
  child.kill('SIGKILL');
  await exited;
});

test('a damaged or missing record holds no leftovers', async () => {
  await using directory = await temporaryDirectory('leftovers');
  const file = join(directory.path, 'processes.json');
  expect(readLeftovers(file)).toEqual([]);
  for (const text of ['', '{', '{"a":1}', '[null, 1, {"pid":"x"}]']) {
    writeFileSync(file, text);
    expect(readLeftovers(file)).toEqual([]);
  }
});
