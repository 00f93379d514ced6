/** The docker driver with what it needs, for tests. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { silentLogger, temporaryDirectory } from '@manyhands/test-kit';
import Docker from 'dockerode';
import { POOL_LABEL } from '../src/drivers/docker/container-options.ts';
import { readRecord } from '../src/drivers/docker/container-record.ts';
import { parseDockerHost } from '../src/drivers/docker/engine-address.ts';
import { allPids, commandLine } from '../src/drivers/process-identity.ts';
import { createDockerDriver, type DockerDriverOptions, type SandboxDriver, sandboxDirectory } from '../src/index.ts';
import type { DriverUnderTest } from '../src/testing.ts';
import { DAEMON, makeAndCrash, tracesOf } from './bubblewrap-host.ts';

export interface EngineUnderTest {
  host: string;
  image: string;
}

export const dockerAt = (host: string) => new Docker(parseDockerHost(host).options);

export function dockerOptions(poolRoot: string, engine: EngineUnderTest): Omit<DockerDriverOptions, 'log'> {
  return {
    ...{ poolRoot, poolId: `pool_test${process.pid}`, dockerHost: engine.host, image: engine.image, runtime: null },
    ...{ daemon: DAEMON, mmdebstrap: null, cache: path.join(poolRoot, '.cache'), hostEnvironment: {} },
  };
}

/** The id of the container of a sandbox whose directory is there. */
export async function containerOf(poolRoot: string, id: string): Promise<string> {
  const record = await readRecord(sandboxDirectory(poolRoot, id));
  if (!record?.container_id) throw new Error(`sandbox ${id} has no container`);
  return record.container_id;
}

/** What is left of a container: itself, its helper, its processes, its mounts. */
export async function tracesOfContainer(host: string, containerId: string): Promise<string[]> {
  const containers = await dockerAt(host).listContainers({ all: true });
  const processes = allPids().flatMap((pid) => {
    if (commandLine(pid).includes(containerId)) return [`helper ${pid} of ${containerId}`];
    return reads(`/proc/${pid}/cgroup`).includes(containerId) ? [`process ${pid} of ${containerId}`] : [];
  });
  return [
    ...containers.flatMap(({ Id, State }) => (Id === containerId ? [`container ${Id}: ${State}`] : [])),
    ...processes,
    ...(reads('/proc/self/mountinfo').includes(containerId) ? [`mount of ${containerId}`] : []),
  ];
}

function reads(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

export async function dockerHost(engine: EngineUnderTest, change: Partial<DockerDriverOptions> = {}): Promise<DriverUnderTest> {
  const directory = await temporaryDirectory('docker');
  // Longer than a socket path may be.
  const poolRoot = path.join(directory.path, 'a-directory-whose-name-is-long-enough-to-break-socket-paths-'.repeat(2), 'sandboxes');
  const scratch = path.join(directory.path, 'scratch');
  await mkdir(poolRoot, { recursive: true, mode: 0o700 });
  await mkdir(scratch);
  const options = { ...dockerOptions(poolRoot, engine), ...change };
  const docker = dockerAt(engine.host);
  const containers = new Map<string, string>();
  const note = async (id: string) => containers.set(id, await containerOf(poolRoot, id));

  /** The driver, noting which container a sandbox has, since nothing else tells it once the sandbox is gone. */
  function reopen(): SandboxDriver {
    const driver = createDockerDriver({ ...options, log: silentLogger });
    return {
      ...driver,
      async create(place, limits) {
        const sandbox = await driver.create(place, limits);
        await note(place.id);
        return sandbox;
      },
    };
  }
  return {
    driver: reopen(),
    poolRoot,
    scratch,
    reopen,
    // An image has an /etc, a /home and so on of its own: what counts is that they are not the host's.
    hidden: [
      engine.host.replace('unix://', ''),
      '/etc/machine-id',
      process.cwd(),
      process.execPath === '/usr/local/bin/node' ? '/work' : process.execPath,
    ],
    async createAndCrash(id, limits, key, command) {
      await makeAndCrash({ ...options, driver: 'docker', id, limits, key, command });
      await note(id);
    },
    async killFromOutside(id) {
      const { State } = await docker.getContainer(await containerOf(poolRoot, id)).inspect();
      process.kill(State.Pid, 'SIGKILL');
    },
    async traces(id) {
      const containerId = containers.get(id);
      const labelled = await docker.listContainers({ all: true, filters: { label: [`${POOL_LABEL}=${options.poolId}`] } });
      return [
        ...(await tracesOf(id)),
        ...labelled.flatMap(({ Names, Id }) => (Names.some((name) => name.includes(id)) ? [`container ${Id}`] : [])),
        ...(containerId === undefined ? [] : await tracesOfContainer(engine.host, containerId)),
      ];
    },
    dispose: directory.remove,
  };
}
