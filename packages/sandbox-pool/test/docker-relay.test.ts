/** Sandboxes whose daemon is reached through the engine, as gVisor needs it; and gVisor itself where the engine knows it. */
import { readFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { randomText } from '@manyhands/base';
import {
  engineUnavailable,
  silentLogger,
  type TemporaryDirectory,
  type TestEngine,
  temporaryDirectory,
  testEngine,
  until,
} from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { allPids, commandLine } from '../src/drivers/process-identity.ts';
import { createDockerDriver, type SandboxDriver, type SandboxLimits, sandboxDirectory } from '../src/index.ts';
import { bash, startBash, waitFor } from '../src/testing.ts';
import { makeAndCrash } from './bubblewrap-host.ts';
import { containerOf, dockerAt, dockerOptions, tracesOfContainer } from './docker-host.ts';

const MIB = 1024 * 1024;
const LIMITS: SandboxLimits = { memoryBytes: 384 * MIB, pids: 128, fileBytes: 64 * MIB, tmpBytes: 16 * MIB };
const missing = engineUnavailable();
// Run by itself, this file may have to make the image first.
vi.setConfig({ hookTimeout: 300_000, testTimeout: 60_000 });

let engine: TestEngine;
let runtimes: string[] = [];

describe.skipIf(missing !== null)(missing ?? 'with a Docker engine', () => {
  beforeAll(async () => {
    engine = await testEngine();
    runtimes = Object.keys(((await dockerAt(engine.host).info()) as { Runtimes: object }).Runtimes);
  });
  afterAll(() => engine?.[Symbol.asyncDispose]());
  describeRelay('a sandbox reached through a relay', null);
  describeRelay('a gVisor sandbox, where the engine knows the runtime runsc', 'runsc');
});

function describeRelay(name: string, runtime: string | null): void {
  describe(name, () => {
    let directory: TemporaryDirectory | undefined;
    let poolRoot: string;
    let drivers: SandboxDriver[];
    const options = () => ({ ...dockerOptions(poolRoot, engine), runtime, transport: 'relay' as const });
    const open = () => {
      const driver = createDockerDriver({ ...options(), log: silentLogger });
      drivers.push(driver);
      return driver;
    };
    const place = (id = `sbx_${randomText(20)}`) => sandboxDirectory(poolRoot, id);

    beforeEach(async ({ skip }) => {
      drivers = [];
      if (runtime !== null && !runtimes.includes(runtime)) skip(`the engine does not know the runtime ${runtime}`);
      directory = await temporaryDirectory('relay');
      poolRoot = path.join(directory.path, 'sandboxes');
      await mkdir(poolRoot, { mode: 0o700 });
    });
    afterEach(async () => {
      for (const id of (await drivers[0]?.listStrays()) ?? []) await drivers[0]?.destroy(place(id));
      await Promise.all(drivers.map((driver) => driver.close()));
      await directory?.remove();
    });

    test('runs calls, carries answers of any size and is told when it dies', async () => {
      const driver = open();
      const sandbox = await driver.create(place(), LIMITS);
      const containerId = await containerOf(poolRoot, sandbox.directory.id);
      expect((await bash(sandbox, 'echo hello > file; cat file; id -un')).text).toMatch(/^hello\nagent/);
      expect((await bash(sandbox, 'head -c 90000 /dev/zero | tr "\\0" x')).text.length).toBeGreaterThanOrEqual(90_000);
      expect(await readFile(path.join(sandbox.directory.workspace, 'file'), 'utf8')).toBe('hello\n');
      await startBash(sandbox, 'endless', 'sleep 600');
      const waiting = sandbox.channel.request({ op: 'wait', key: 'endless', wait_ms: 20_000 }, 25_000);
      await Promise.all([
        expect(waiting).rejects.toMatchObject({ code: 'unavailable' }),
        dockerAt(engine.host).getContainer(containerId).kill(),
      ]);
      await driver.destroy(sandbox.directory);
      expect(await tracesOfContainer(engine.host, containerId)).toEqual([]);
    });

    test('outlives kill -9 of the pool in the middle of its frames: the next one collects the call, which ran once', async () => {
      const { id } = place();
      await makeAndCrash({
        ...{ ...options(), driver: 'docker', id, limits: LIMITS, key: 'before' },
        command: 'echo x >> counter; sleep 1; echo survived',
      });
      const driver = open();
      const adopted = await driver.adopt(place(id));
      expect(adopted).not.toBeNull();
      if (!adopted) return;
      await startBash(adopted, 'before', 'echo x >> counter');
      expect((await waitFor(adopted, 'before')).text).toContain('survived');
      expect((await bash(adopted, 'wc -l < counter')).text.trim()).toBe('1');
      await driver.destroy(adopted.directory);
      expect(await driver.adopt(adopted.directory)).toBeNull();
    });

    test.skipIf(runtime !== null)('loses no call when its relay dies: another one is started', async () => {
      const driver = open();
      const sandbox = await driver.create(place(), LIMITS);
      await startBash(sandbox, 'slow', 'echo x >> counter; while [ ! -e go ]; do sleep 0.05; done; echo went on');
      const relays = () => allPids().filter((pid) => commandLine(pid).at(-2) === '--relay' && isIn(pid, sandbox.directory.id));
      await until(() => relays().length === 1, { what: 'the relay runs' });
      for (const pid of relays()) process.kill(pid, 'SIGKILL');
      const collecting = waitFor(sandbox, 'slow');
      await mkdir(path.join(sandbox.directory.workspace, 'go'));
      expect((await collecting).text).toContain('went on');
      expect((await bash(sandbox, 'wc -l < counter')).text.trim()).toBe('1');
      expect(sandbox.channel.isOpen).toBe(true);
      await driver.destroy(sandbox.directory);
    });
  });
}

/** Whether a process is in the sandbox: it sees the sandbox's directory mounted. */
function isIn(pid: number, sandboxId: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(sandboxId);
  } catch {
    return false;
  }
}
