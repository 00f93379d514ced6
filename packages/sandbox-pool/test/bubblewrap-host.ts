/** The bubblewrap driver with what it needs, for tests. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { locate } from '@manyhands/infra';
import { silentLogger, temporaryDirectory } from '@manyhands/test-kit';
import { allPids, commandLine } from '../src/drivers/process-identity.ts';
import { type BubblewrapDriverOptions, createBubblewrapDriver, sandboxDirectory } from '../src/index.ts';
import type { DriverUnderTest } from '../src/testing.ts';

export const DAEMON = fileURLToPath(new URL('../../sandbox-daemon/dist/hand.mjs', import.meta.url));
const MAKER = fileURLToPath(new URL('make-sandbox.mjs', import.meta.url));

export async function programPaths(): Promise<{ bwrap: string; ripgrep: string; libraryPath: string | undefined }> {
  const [bwrap, ripgrep] = await Promise.all([locate('bubblewrap'), locate('ripgrep')]);
  return { bwrap: bwrap.path, ripgrep: ripgrep.path, libraryPath: bwrap.env['LD_LIBRARY_PATH'] };
}

export async function driverOptions(poolRoot: string): Promise<Omit<BubblewrapDriverOptions, 'log'>> {
  const { bwrap, ripgrep, libraryPath } = await programPaths();
  return {
    ...{ poolRoot, bwrap, poolId: `pool_test${process.pid}` },
    programs: { node: process.execPath, daemon: DAEMON, ripgrep },
    hostEnvironment: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', ...(libraryPath ? { LD_LIBRARY_PATH: libraryPath } : {}) },
  };
}

/** Everything on this host that carries the id: processes, mounts, limit groups. */
export async function tracesOf(id: string): Promise<string[]> {
  const processes = allPids().flatMap((pid) =>
    commandLine(pid).join(' ').includes(id) ? [`process ${pid}: ${commandLine(pid).join(' ').slice(0, 200)}`] : [],
  );
  const mounts = allPids().flatMap((pid) => {
    try {
      return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(id) ? [`mount seen by ${pid}`] : [];
    } catch {
      return [];
    }
  });
  const groups: string[] = [];
  for (const directory of ['/sys/fs/cgroup', '/sys/fs/cgroup/memory', '/sys/fs/cgroup/pids', '/sys/fs/cgroup/cpu'])
    for (const entry of await readdir(path.join(directory, 'manyhands'), { recursive: true }).catch(() => []))
      if (entry.includes(id)) groups.push(`group ${entry}`);
  return [...processes, ...mounts, ...groups];
}

/** Makes a sandbox and starts a call in it, both in another process, which is then ended with kill -9. */
export async function makeAndCrash(order: object): Promise<void> {
  const child = spawn(process.execPath, [MAKER, JSON.stringify(order)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('the process that makes the sandbox ended'))),
  ]);
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

export async function bubblewrapHost(): Promise<DriverUnderTest> {
  const directory = await temporaryDirectory('bubblewrap');
  // Longer than a socket path may be.
  const poolRoot = path.join(directory.path, 'a-directory-whose-name-is-long-enough-to-break-socket-paths-'.repeat(2), 'sandboxes');
  const scratch = path.join(directory.path, 'scratch');
  await mkdir(poolRoot, { recursive: true, mode: 0o700 });
  await mkdir(scratch);
  const options = await driverOptions(poolRoot);
  const reopen = () => createBubblewrapDriver({ ...options, log: silentLogger });
  return {
    driver: reopen(),
    poolRoot,
    scratch,
    reopen,
    // Of the host's system only /usr and a few files of /etc are there.
    hidden: ['/etc/shadow', '/root', '/home', '/var/lib', '/sys', '/boot', '/srv', '/etc/hostname', '/.dockerenv'],
    async createAndCrash(id, limits, key, command) {
      await makeAndCrash({ ...options, driver: 'bubblewrap', id, limits, key, command });
    },
    async killFromOutside(id) {
      const information = readFileSync(path.join(sandboxDirectory(poolRoot, id).driver, 'information'), 'utf8');
      process.kill((JSON.parse(information) as { 'child-pid': number })['child-pid'], 'SIGKILL');
    },
    traces: tracesOf,
    dispose: directory.remove,
  };
}
