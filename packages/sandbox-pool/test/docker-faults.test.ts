/**
 * What happens to a call that runs in a Docker sandbox when something is killed: it is told as lost or with its true result, it never ran
 * twice, and nothing is left.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  engineUnavailable,
  type PrivateEngine,
  privateEngine,
  privateEngineUnavailable,
  type Service,
  spawnService,
  startTestNats,
  type TemporaryDirectory,
  type TestEngine,
  type TestServer,
  temporaryDirectory,
  testEngine,
  until,
} from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { POOL_LABEL } from '../src/drivers/docker/container-options.ts';
import { allPids, commandLine } from '../src/drivers/process-identity.ts';
import { tracesOf } from './bubblewrap-host.ts';
import { containerOf, dockerAt, tracesOfContainer } from './docker-host.ts';
import { connectPoolClient, type Given, type PoolClient } from './pool-client.ts';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
/** SANDBOX 5: a container whose helper was killed is given up by the engine after about 1.6 s. */
const NOTICED_MS = 20_000;
const KEY = 'sevt_1';

// Run by itself, this file may have to make the image first.
vi.setConfig({ hookTimeout: 300_000, testTimeout: 90_000 });

let engine: TestEngine;
let nats: TestServer;
let client: PoolClient;
let data: TemporaryDirectory;
let poolRoot: string;
let services: Service[];
let poolId: string;

beforeAll(async () => {
  nats = await startTestNats();
  client = await connectPoolClient(nats.url);
});
afterAll(async () => {
  await client?.messaging.close();
  await nats?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  data = await temporaryDirectory('docker-faults');
  poolRoot = path.join(data.path, 'sandboxes');
  services = [];
});
afterEach(async () => {
  for (const service of services) await service.kill('SIGTERM');
  const left = [
    ...(await readdir(poolRoot)).filter((name) => name.includes('sbx_')),
    ...(await dockerAt(engine.host).listContainers({ all: true, filters: { label: [`${POOL_LABEL}=${poolId}`] } })).map(({ Id }) => Id),
    ...(await tracesOf(data.path)),
  ];
  await data.remove();
  expect(left).toEqual([]);
});

async function startPool(): Promise<Service> {
  const service = await spawnService({
    name: 'sandbox-pool',
    entry: MAIN,
    readyTimeoutMs: 60_000,
    env: {
      ...{ NATS_URL: nats.url, MANYHANDS_DATA: data.path, MANYHANDS_EGRESS: 'off', MANYHANDS_LOG_LEVEL: 'warn' },
      ...{ MANYHANDS_SANDBOX_DRIVER: 'docker', DOCKER_HOST: engine.host, MANYHANDS_SANDBOX_IMAGE: engine.image },
      ...{ MANYHANDS_POOL_WARM: '1', MANYHANDS_POOL_MAX: '3' },
    },
  });
  services.push(service);
  poolId = service.ready['pool_id'] as string;
  return service;
}

/** A call that counts itself and then goes on for good, known to run. */
async function runningCall(session: string): Promise<{ given: Given; containerId: string; counter: string }> {
  const given = await client.leased(session);
  const counter = path.join(poolRoot, given.sandbox_id, 'workspace', 'counter');
  await client.start(given, KEY, 'echo x >> counter; sleep 600');
  await until(() => existsSync(counter), { what: 'the call runs' });
  return { given, containerId: await containerOf(poolRoot, given.sandbox_id), counter };
}

/** The call is told as lost, its sandbox is replaced, and of the old one nothing is there. */
async function expectLost(session: string, given: Given, containerId: string, kill: () => Promise<void>): Promise<number> {
  const waiting = client.ask(given, 'wait', { key: KEY, wait_ms: NOTICED_MS });
  const start = performance.now();
  await kill();
  expect(await waiting).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
  const noticedMs = performance.now() - start;
  expect(noticedMs).toBeLessThan(NOTICED_MS);
  expect(await client.lease(session, 1)).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
  const next = await client.leased(session, 2);
  expect(next.sandbox_id).not.toBe(given.sandbox_id);
  // The new sandbox knows nothing of the call: nobody ran it again.
  expect(await client.ask(next, 'wait', { key: KEY, wait_ms: 0 })).toMatchObject({ ok: true, call: { state: 'unknown' } });
  expect(await client.bash(next, 'ls -A /workspace | wc -l')).toBe('0');
  await until(async () => (await tracesOfContainer(engine.host, containerId)).length === 0, {
    what: 'container, helper, processes and mounts are gone',
    timeoutMs: NOTICED_MS,
  });
  expect(existsSync(path.join(poolRoot, given.sandbox_id))).toBe(false);
  return noticedMs;
}

const missing = engineUnavailable();
describe.skipIf(missing !== null)(missing ?? 'a call in a Docker sandbox', () => {
  beforeAll(async () => {
    engine = await testEngine();
  });
  afterAll(() => engine?.[Symbol.asyncDispose]());

  test('is lost when the first process of its sandbox is killed', async () => {
    await startPool();
    const { given, containerId } = await runningCall('sesn_init');
    await expectLost('sesn_init', given, containerId, async () => {
      const { State } = await dockerAt(engine.host).getContainer(containerId).inspect();
      process.kill(State.Pid, 'SIGKILL');
    });
  });

  test("is lost when the engine's helper of its sandbox is killed, and the helper's processes are ended too", async () => {
    await startPool();
    const { given, containerId } = await runningCall('sesn_shim');
    const helper = allPids().find((pid) => {
      const words = commandLine(pid);
      return words[0]?.includes('containerd-shim') && words.includes(containerId);
    });
    expect(helper).toBeDefined();
    await expectLost('sesn_shim', given, containerId, async () => void process.kill(helper as number, 'SIGKILL'));
  });

  test('is lost when somebody kills its container', async () => {
    await startPool();
    const { given, containerId } = await runningCall('sesn_kill');
    await expectLost('sesn_kill', given, containerId, async () => {
      await dockerAt(engine.host).getContainer(containerId).kill();
    });
  });

  test('is lost when somebody removes its container', async () => {
    await startPool();
    const { given, containerId } = await runningCall('sesn_remove');
    await expectLost('sesn_remove', given, containerId, async () => {
      await dockerAt(engine.host).getContainer(containerId).remove({ force: true });
    });
  });

  test('goes on while the pool is killed, is collected by the next one, and ran once', async () => {
    const first = await startPool();
    const given = await client.leased('sesn_pool');
    const workspace = path.join(poolRoot, given.sandbox_id, 'workspace');
    await client.start(given, KEY, 'echo x >> counter; while [ ! -e go ]; do sleep 0.05; done; echo went on');
    await until(() => existsSync(path.join(workspace, 'counter')), { what: 'the call runs' });
    await first.kill('SIGKILL');
    const second = await startPool();
    expect(second.ready['pool_id']).toBe(first.ready['pool_id']);
    expect(await client.leased('sesn_pool')).toEqual(given);
    // Asked for again by somebody who never heard that it had started.
    await client.start(given, KEY, 'echo x >> counter');
    const collecting = client.collect(given, KEY);
    await writeFile(path.join(workspace, 'go'), '');
    expect(await collecting).toContain('went on');
    expect(await readFile(path.join(workspace, 'counter'), 'utf8')).toBe('x\n');
  });
});

const noPrivate = privateEngineUnavailable();
describe.skipIf(noPrivate !== null)(noPrivate ?? 'a call in a sandbox of an engine that fails', () => {
  let own: PrivateEngine;
  beforeAll(async () => {
    own = await privateEngine();
    engine = own;
  });
  afterAll(() => own?.[Symbol.asyncDispose]());

  test('goes on while the engine is killed and started again, ran once, and new sandboxes wait for the engine', async () => {
    await startPool();
    const given = await client.leased('sesn_engine');
    const workspace = path.join(poolRoot, given.sandbox_id, 'workspace');
    const command = 'echo x >> counter; while [ ! -e go ]; do sleep 0.05; done; echo went on';
    await client.start(given, KEY, command);
    await until(() => existsSync(path.join(workspace, 'counter')), { what: 'the call runs' });
    await own.killDockerd();
    // The daemon is reached without the engine.
    expect(await client.ask(given, 'wait', { key: KEY, wait_ms: 0 })).toMatchObject({ ok: true, call: { state: 'running' } });
    const waiting = ['sesn_a', 'sesn_b'].map((session) => client.leased(session));
    await own.startDockerd();
    const others = await Promise.all(waiting);
    expect(await Promise.all(others.map((other) => client.bash(other, 'echo new')))).toEqual(['new', 'new']);
    await client.start(given, KEY, command);
    await writeFile(path.join(workspace, 'go'), '');
    expect(await client.collect(given, KEY)).toContain('went on');
    expect(await readFile(path.join(workspace, 'counter'), 'utf8')).toBe('x\n');
  });

  test('is told as lost when its sandbox dies after the engine came back: the events are listened to again', async () => {
    await startPool();
    const { given, containerId } = await runningCall('sesn_again');
    await own.killDockerd();
    await own.startDockerd();
    await expectLost('sesn_again', given, containerId, async () => {
      await dockerAt(engine.host).getContainer(containerId).kill();
    });
  });

  test('goes on while the engine hangs', async () => {
    await startPool();
    const given = await client.leased('sesn_hang');
    own.pauseDockerd();
    try {
      expect(await client.bash(given, 'echo answers')).toBe('answers');
    } finally {
      own.resumeDockerd();
    }
  });
});
