/** The pool as a process: ready when it says so, adopted after kill -9, gone without a trace after SIGTERM. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { type CallReply, workspaceSnapshotKey } from '@manyhands/contract';
import {
  type Service,
  spawnService,
  startTestNats,
  type TemporaryDirectory,
  type TestServer,
  temporaryDirectory,
  until,
} from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { programPaths, tracesOf } from './bubblewrap-host.ts';
import { connectPoolClient, type PoolClient } from './pool-client.ts';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
let nats: TestServer;
let client: PoolClient;
let data: TemporaryDirectory;
const services: Service[] = [];

beforeAll(async () => {
  nats = await startTestNats();
  client = await connectPoolClient(nats.url);
});
afterAll(async () => {
  await client?.messaging.close();
  await nats?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  data = await temporaryDirectory('pool-process');
});
afterEach(async () => {
  for (const service of services.splice(0)) await service[Symbol.asyncDispose]();
  const left = await tracesOf(data.path);
  await data.remove();
  expect(left).toEqual([]);
});

async function startPool(env: Record<string, string> = {}): Promise<Service> {
  const { bwrap, ripgrep, libraryPath } = await programPaths();
  const service = await spawnService({
    name: 'sandbox-pool',
    entry: MAIN,
    env: {
      ...{ NATS_URL: nats.url, MANYHANDS_DATA: data.path, MANYHANDS_BWRAP: bwrap, MANYHANDS_RG: ripgrep, MANYHANDS_EGRESS: 'off' },
      ...{ MANYHANDS_POOL_WARM: '1', MANYHANDS_POOL_MAX: '4', MANYHANDS_LOG_LEVEL: 'warn' },
      ...(libraryPath ? { LD_LIBRARY_PATH: libraryPath } : {}),
      ...env,
    },
  });
  services.push(service);
  return service;
}
const directories = async () => (await readdir(path.join(data.path, 'sandboxes'))).filter((name) => name.includes('sbx_'));

test('a pool is ready when a tool call succeeds at once', async () => {
  const service = await startPool();
  expect(service.ready).toMatchObject({ ready: true, warm: 1, pool_id: expect.stringMatching(/^pool_/) as string });
  const given = await client.leased('sesn_ready');
  expect(given).toMatchObject({ warm: true, pool_id: service.ready['pool_id'] });
  expect(await client.bash(given, 'echo hello; rg --version | grep -o "^ripgrep"')).toBe('hello\nripgrep');
});

test('after kill -9 the next pool has the same id, the same leases, and the outcomes of calls that ran on', async () => {
  const first = await startPool();
  const given = await client.leased('sesn_survivor');
  const idle = await client.leased('sesn_parked');
  const doomed = await client.leased('sesn_doomed');
  await client.ask(idle, 'park', { snapshot_key: workspaceSnapshotKey('wrkspc_a', 'sesn_parked', 1) });
  await client.start(given, 'sevt_1', 'sleep 1; echo x >> counter; echo ran on');
  await first.kill('SIGKILL');
  const information = JSON.parse(await readFile(path.join(data.path, 'sandboxes', doomed.sandbox_id, 'driver', 'information'), 'utf8')) as {
    'child-pid': number;
  };
  process.kill(information['child-pid'], 'SIGKILL');

  const second = await startPool({ MANYHANDS_SANDBOX_GRACE_MS: '500' });
  expect(second.ready['pool_id']).toBe(first.ready['pool_id']);
  expect(await client.collect(given, 'sevt_1')).toContain('ran on');
  expect(await client.bash(given, 'wc -l < counter')).toBe('1');
  expect(await client.leased('sesn_survivor')).toEqual(given);
  expect(await client.lease('sesn_doomed', 1)).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
  expect(await client.ask(doomed, 'wait', { key: 'sevt_1', wait_ms: 0 })).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
  expect(await directories()).not.toContain(doomed.sandbox_id);
  await until(async () => !(await directories()).includes(idle.sandbox_id), {
    what: 'the grace time goes on after the restart',
    timeoutMs: 20_000,
  });
});

test('a lease that 0.1.0 left is adopted; one of a newer version keeps the pool from starting, and is there when that version comes back', async () => {
  const first = await startPool();
  const given = await client.leased('sesn_upgraded');
  await client.bash(given, 'echo kept > file.txt; NAME=kept');
  await first.kill('SIGKILL');
  const file = path.join(data.path, 'sandboxes', given.sandbox_id, 'lease.json');
  const { format, uses_up_to, ...old } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  expect(format).toBe(1);
  await writeFile(file, JSON.stringify(old));

  const second = await startPool();
  expect(await client.leased('sesn_upgraded')).toEqual(given);
  expect(await client.bash(given, 'cat file.txt; echo $NAME')).toBe('kept\nkept');
  await second.kill('SIGKILL');
  const written = await readFile(file, 'utf8');
  expect(JSON.parse(written)).toMatchObject({
    ...old,
    format: 1,
    uses_up_to: expect.any(Number) as number,
    expires_at_ms: expect.any(Number) as number,
  });

  await writeFile(file, JSON.stringify({ format: 2, whose: 'sesn_upgraded' }));
  await expect(startPool()).rejects.toThrow(new RegExp(`the file ${file} has format 2, this program knows 1: start a newer version`));
  expect(await directories()).toContain(given.sandbox_id);
  await writeFile(file, written);
  await startPool();
  expect(await client.bash(given, 'cat file.txt; echo $NAME')).toBe('kept\nkept');
});

test('a sandbox whose lease cannot be read is given to nobody', async () => {
  const first = await startPool();
  const given = await client.leased('sesn_mine');
  await client.bash(given, 'echo mine > file.txt');
  await first.kill('SIGKILL');
  await writeFile(path.join(data.path, 'sandboxes', given.sandbox_id, 'lease.json'), '{"session_id":"sesn_mi');
  await startPool();
  expect(await directories()).not.toContain(given.sandbox_id);
});

test('a use count never goes back: what was told before kill -9 is not told again', async () => {
  const first = await startPool();
  const given = await client.leased('sesn_counted');
  const before = await client.start(given, 'sevt_1', 'true');
  await client.collect(given, 'sevt_1');
  await first.kill('SIGKILL');
  await startPool();
  const after = await client.ask(given, 'wait', { key: 'sevt_1', wait_ms: 0 });
  expect(usesOf(before)).toBe(1);
  expect(usesOf(after)).toBeGreaterThan(2);
  const park = { snapshot_key: workspaceSnapshotKey('wrkspc_a', 'sesn_counted', 1) };
  expect(await client.ask(given, 'park', { ...park, uses: 2 })).toEqual({ ok: true, parked: false });
  expect(await client.ask(given, 'park', { ...park, uses: usesOf(after) })).toEqual({ ok: true, parked: true });
});
const usesOf = (reply: CallReply) => (reply.ok ? (reply.uses ?? -1) : -1);

test('SIGTERM saves the workspaces and leaves no process, mount, group or directory', async () => {
  const service = await startPool({ MANYHANDS_POOL_WARM: '2', MANYHANDS_DRAIN_MS: '500' });
  const given = await client.leased('sesn_term');
  await client.bash(given, 'echo kept > file.txt');
  await client.start(given, 'sevt_1', 'sleep 600');
  const waiting = client.ask(given, 'wait', { key: 'sevt_1', wait_ms: 30_000 });
  // Answered after the one above was received.
  await client.ask(given, 'wait', { key: 'sevt_1', wait_ms: 0 });
  expect(await service.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(await waiting).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
  expect(await directories()).toEqual([]);
  expect(
    await createDirectoryBlobStore(path.join(data.path, 'blobs')).get(workspaceSnapshotKey('wrkspc_a', 'sesn_term', 1)),
  ).not.toBeNull();
});

test('the end of the parent ends the pool and its sandboxes', async () => {
  const service = await startPool();
  await client.leased('sesn_orphan');
  service.orphan();
  await service.exited;
  expect(await directories()).toEqual([]);
});

test('two pools never share a directory', async () => {
  const service = await startPool();
  await expect(startPool()).rejects.toThrow(new RegExp(`process ${service.pid} already runs a sandbox pool`));
});

test('a wrong setting is refused at the start with the variable and the remedy', async () => {
  await expect(startPool({ MANYHANDS_SANDBOX_DRIVER: 'podman' })).rejects.toThrow(
    /MANYHANDS_SANDBOX_DRIVER: must be "bubblewrap" or "docker"/,
  );
  const long = `unix://${data.path}/${'long/'.repeat(20)}docker.sock`;
  await expect(startPool({ MANYHANDS_SANDBOX_DRIVER: 'docker', DOCKER_HOST: long })).rejects.toThrow(
    /DOCKER_HOST: .* Linux takes 107 at most/,
  );
  await expect(startPool({ MANYHANDS_BWRAP: '/nowhere/bwrap' })).rejects.toThrow(/MANYHANDS_BWRAP: \/nowhere\/bwrap was not found/);
  await expect(startPool({ MANYHANDS_HAND: '/nowhere/hand.mjs' })).rejects.toThrow(/MANYHANDS_HAND: there is no file/);
});
