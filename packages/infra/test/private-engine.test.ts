/** A Docker engine of our own: quick to start, survives the death of its parts, and leaves nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { processTable, temporaryDirectory, until } from '@manyhands/test-kit';
import { beforeAll, describe, expect, test } from 'vitest';
import { engineHome, privateEngineObstacle } from '../src/engine/engine-home.js';
import { engineMounts, engineProcesses } from '../src/engine/engine-traces.js';
import { findEngine } from '../src/engine/find-engine.js';
import { canHaveEngine, locateEngine } from '../src/engine/locate-engine.js';
import { endEngineLeftovers, privateEngineHost, startContainerd, startDockerd } from '../src/engine/private-engine.js';
import { processStart } from '../src/processes/process-start.js';
import { canFetch } from '../src/programs/locate.js';
import { dockerApi } from './docker-api.ts';

const INDEX = fileURLToPath(new URL('../src/index.js', import.meta.url));
const OBSTACLE = privateEngineObstacle() ?? (canHaveEngine() ? null : 'no engine can be fetched here');

/** Everything on this machine that carries the mark of the engine, its data aside. */
function traces(dir: string): string[] {
  const home = engineHome(dir);
  const { daemons, shims, contained } = engineProcesses(home);
  const groups = readdirSync('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}/${home.cgroup}`);
  return [
    ...[...daemons, ...shims, ...contained].map(({ pid, command }) => `process ${pid}: ${command}`),
    ...processTable()
      .filter(({ command }) => command.includes(`engine-guard.js ${home.data}`))
      .map(({ pid }) => `guard ${pid}`),
    ...engineMounts(home).map((place) => `mount ${place}`),
    ...[home.runtime, `/sys/fs/cgroup/${home.cgroup}`, ...groups].filter(existsSync),
  ];
}

/** Things outside of the engine's own directories that Docker is known to make. */
function systemWide(): string[] {
  const listed = ['/etc/docker', '/opt', '/run/containerd/s', '/run/docker/plugins', '/run/manyhands', '/var/lib'].flatMap((place) =>
    existsSync(place) ? readdirSync(place).map((name) => join(place, name)) : [],
  );
  const settings = ['/proc/sys/net/ipv4/ip_forward', '/proc/net/ip_tables_names']
    .filter(existsSync)
    .map((file) => readFileSync(file, 'utf8'));
  return [...listed.filter((path) => !path.startsWith('/run/manyhands/')), ...settings, readdirSync('/sys/class/net').join(' ')];
}

async function runningEngine(dir: string) {
  const containerd = await startContainerd({ dir });
  let dockerd = await startDockerd({ dir });
  const api = dockerApi(dockerd.url);
  return {
    api,
    containerd,
    get dockerd() {
      return dockerd;
    },
    async restartDockerd() {
      dockerd = await startDockerd({ dir });
    },
    async [Symbol.asyncDispose]() {
      await dockerd.stop();
      await containerd.stop();
    },
  };
}

describe.skipIf(OBSTACLE !== null)(`a private engine${OBSTACLE === null ? '' : ` (${OBSTACLE})`}`, { timeout: 120_000 }, () => {
  beforeAll(async () => {
    // Fetched once here, not within a test that looks at times.
    await locateEngine();
  }, 300_000);

  test('starts, runs a container with limits, and after its end nothing is left but its data', async () => {
    await using directory = await temporaryDirectory('engine');
    const before = systemWide();
    const dir = join(directory.path, 'engine');
    {
      await using engine = await runningEngine(dir);
      await engine.api.importTiny();
      const id = await engine.api.run();
      expect(await engine.api.exec(id, '/bin/cat', '/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory.max')).toContain(
        String(64 * 1024 * 1024),
      );
      const home = engineHome(dir);
      expect(engine.dockerd.url).toBe(privateEngineHost(dir));
      expect(Buffer.byteLength(home.dockerSocket)).toBeLessThan(60);
      expect(statSync(home.runtime).mode & 0o777).toBe(0o700);
      const pid = await engine.api.pid(id);
      expect(engineProcesses(home).contained.map((entry) => entry.pid)).toContain(pid);
      expect(engineMounts(home)).not.toEqual([]);
      expect(await findEngine({ environment: { DOCKER_HOST: engine.dockerd.url } })).toMatchObject({
        state: 'ok',
        runtimes: expect.arrayContaining(['runc']),
      });
    }
    expect(traces(dir)).toEqual([]);
    expect(existsSync(join(dir, 'docker'))).toBe(true);
    // Another engine of this machine may make its own container just now.
    await until(() => systemWide().every((one) => before.includes(one)), { what: 'nothing new system-wide' });
  });

  test('a container goes on when dockerd is killed with -9, and dockerd comes back at once', async () => {
    await using directory = await temporaryDirectory('engine');
    await using engine = await runningEngine(directory.path);
    await engine.api.importTiny();
    const id = await engine.api.run();
    const pid = await engine.api.pid(id);
    await engine.dockerd.kill();
    expect(processStart(pid!)).not.toBeNull();
    const startedMs = performance.now();
    await engine.restartDockerd();
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    expect(await engine.api.pid(id)).toBe(pid);
    expect(await engine.api.exec(id, '/bin/sh', '-c', 'echo still here')).toContain('still here');
  });

  test('a container goes on when containerd is killed with -9, and can be used again when it is back', async () => {
    await using directory = await temporaryDirectory('engine');
    await using engine = await runningEngine(directory.path);
    await engine.api.importTiny();
    const id = await engine.api.run();
    const pid = await engine.api.pid(id);
    await engine.containerd.kill();
    expect(processStart(pid!)).not.toBeNull();
    const again = await startContainerd({ dir: directory.path });
    const answers = async () => (await engine.api.exec(id, '/bin/sh', '-c', 'echo still here')).includes('still here');
    await until(answers, { what: 'a command runs in it', timeoutMs: 60_000 });
    expect(await engine.api.pid(id)).toBe(pid);
    await engine.dockerd.stop();
    await again.stop();
    expect(traces(directory.path)).toEqual([]);
  });

  /** A process that starts an engine on `dir` and is ready for being killed; answers its pids. */
  async function otherOwner(dir: string, graceMs: number) {
    const script = `
      const { startContainerd, startDockerd } = await import(${JSON.stringify(INDEX)});
      const options = { dir: ${JSON.stringify(dir)}, graceMs: ${graceMs} };
      const containerd = await startContainerd(options);
      const dockerd = await startDockerd(options);
      console.log(containerd.pid, dockerd.pid);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [text] = (await once(child.stdout, 'data')) as [Buffer];
    const exited = once(child, 'exit');
    return {
      pids: text.toString().trim().split(' ').map(Number),
      async kill() {
        child.kill('SIGKILL');
        await exited;
      },
    };
  }

  test('when the process that has it is killed with -9, the engine ends with everything in it', async () => {
    await using directory = await temporaryDirectory('engine');
    const owner = await otherOwner(directory.path, 0);
    const api = dockerApi(privateEngineHost(directory.path));
    await api.importTiny();
    const pid = await api.pid(await api.run());
    await owner.kill();
    await until(() => traces(directory.path).length === 0, { what: 'nothing is left of the engine', timeoutMs: 30_000 });
    expect(processStart(pid!)).toBeNull();
  });

  test('an engine whose owner was killed is taken over with its containers running', async () => {
    await using directory = await temporaryDirectory('engine');
    const owner = await otherOwner(directory.path, 600_000);
    const api = dockerApi(privateEngineHost(directory.path));
    await api.importTiny();
    const id = await api.run();
    const pid = await api.pid(id);
    await expect(startContainerd({ dir: directory.path })).rejects.toThrow(/belongs to process \d+, which runs/);
    await owner.kill();
    {
      await using engine = await runningEngine(directory.path);
      for (const each of owner.pids) expect(processStart(each)).toBeNull();
      expect(await engine.api.pid(id)).toBe(pid);
    }
    expect(traces(directory.path)).toEqual([]);
  });

  test('what was killed together with its guard is removed when asked', async () => {
    await using directory = await temporaryDirectory('engine');
    const owner = await otherOwner(directory.path, 600_000);
    const api = dockerApi(privateEngineHost(directory.path));
    await api.importTiny();
    await api.run();
    const { guard } = JSON.parse(readFileSync(join(engineHome(directory.path).runtime, 'owner.json'), 'utf8')) as {
      guard: { pid: number };
    };
    process.kill(guard.pid, 'SIGKILL');
    await owner.kill();
    expect(traces(directory.path)).not.toEqual([]);
    await endEngineLeftovers(directory.path);
    expect(traces(directory.path)).toEqual([]);
    await endEngineLeftovers(directory.path);
  });

  test('a further runtime is known to the engine', async () => {
    await using directory = await temporaryDirectory('engine');
    const containerd = await startContainerd({ dir: directory.path });
    try {
      const runtimes = { runsc: { path: '/usr/bin/true', runtimeArgs: ['--network=none'] } };
      const dockerd = await startDockerd({ dir: directory.path, runtimes });
      expect(await findEngine({ environment: { DOCKER_HOST: dockerd.url } })).toMatchObject({
        runtimes: expect.arrayContaining(['runc', 'runsc']),
      });
      await dockerd.stop();
    } finally {
      await containerd.stop();
    }
  });

  test('a data directory that overlayfs cannot take, and a dockerd without containerd, are refused', async () => {
    await using directory = await temporaryDirectory('engine');
    await expect(startContainerd({ dir: join(directory.path, 'a:b') })).rejects.toThrow('choose a path without ":" and ","');
    await expect(startDockerd({ dir: directory.path })).rejects.toThrow('containerd does not run');
  });
});

test.skipIf(OBSTACLE !== null || !canFetch())(
  'with an empty cache and nothing on PATH, the engine is fetched once and starts',
  { timeout: 300_000 },
  async () => {
    await using cache = await temporaryDirectory('cache');
    const options = { cacheDir: cache.path, searchPath: '/nonexistent' };
    const fetched = await locateEngine(options);
    expect(fetched).toMatchObject({ source: 'debian', version: expect.stringMatching(/^\d+\.\d+/) });
    for (const path of [fetched.dockerd, fetched.containerd, fetched.init]) expect(path.startsWith(cache.path)).toBe(true);
    expect(await locateEngine(options)).toEqual({ ...fetched, source: 'cache' });
  },
);

test.skipIf(process.platform !== 'linux' || process.getuid?.() !== 0)(
  'without root the refusal says what to do',
  { timeout: 60_000 },
  async () => {
    const script = `
    process.setuid(65534);
    const { startContainerd } = await import(${JSON.stringify(INDEX)});
    await startContainerd({ dir: '/nonexistent' }).catch((error) => console.log(error.message));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [text] = (await once(child.stdout, 'data')) as [Buffer];
    expect(text.toString().trim()).toBe(
      'a Docker engine of our own needs root. Start Docker on this machine or set DOCKER_HOST to an engine that runs, or use --sandbox bubblewrap.',
    );
  },
);
