/**
 * What a private engine has on this machine besides its data: processes, mounts, shim sockets, limit groups, its runtime directory. The names
 * are those of its home, so that no other engine's are ever touched.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processTable } from '../processes/process-table.js';
import { run } from '../processes/run.js';
import { RUNTIME_PARENT } from './engine-home.js';

/** @typedef {import('./engine-home.js').EngineHome} EngineHome */
/** @typedef {import('../processes/process-table.js').ProcessEntry} ProcessEntry */

/** containerd has this in its code, and dockerd its plugin directory: the two places outside of ours that they use. */
const SHIM_SOCKETS = '/run/containerd/s';
const SHARED = [
  ['/run/containerd', 's'],
  ['/run/docker', 'plugins'],
];
const NAMESPACE = 'moby';
const CGROUPS = '/sys/fs/cgroup';
const PROCESSES_MS = 20_000;
const GROUPS_MS = 5_000;
const POLL_MS = 20;

/**
 * @param {EngineHome} home
 * @returns {{ daemons: ProcessEntry[], shims: ProcessEntry[], contained: ProcessEntry[] }}
 */
export function engineProcesses(home) {
  const table = processTable();
  const daemons = table.filter(({ command }) => /(^|\/)(containerd|dockerd) /.test(command) && command.includes(` ${home.runtime}/`));
  const shims = table.filter(({ command }) => /(^|\/)containerd-shim\S* /.test(command) && command.includes(home.containerdSocket));
  const known = new Set([...daemons, ...shims].map(({ pid }) => pid));
  const family = new Set(shims.map(({ pid }) => pid));
  /** @type {ProcessEntry[]} */
  const contained = [];
  // A parent may stand after its child in the table, so it is read until nothing is added.
  for (let grew = true; grew; ) {
    grew = false;
    for (const entry of table) {
      if (known.has(entry.pid) || !(family.has(entry.parent) || isInGroup(entry.pid, home))) continue;
      known.add(entry.pid);
      family.add(entry.pid);
      contained.push(entry);
      grew = true;
    }
  }
  return { daemons, shims, contained };
}

/**
 * @param {number} pid
 * @param {EngineHome} home
 */
function isInGroup(pid, { cgroup }) {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'latin1').includes(`/${cgroup}/`);
  } catch {
    return false;
  }
}

/**
 * Places mounted below the engine's directories, the last mounted first.
 * @param {EngineHome} home
 */
export function engineMounts(home) {
  const ours = [home.dockerRoot, home.containerdRoot, home.runtime];
  const places = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))));
  return places.filter((place) => ours.some((prefix) => place === prefix || place.startsWith(`${prefix}/`))).reverse();
}

/**
 * Ends and removes everything of the engine but its data. Does nothing when nothing is there.
 * @param {EngineHome} home
 * @throws {Error} that names what could not be removed
 */
export async function removeEngineTraces(home) {
  const ids = [
    ...list(join(home.containerdState, 'io.containerd.runtime.v2.task', NAMESPACE)),
    ...list(join(home.dockerRoot, 'containers')),
  ];
  await endProcesses(home);
  for (const place of engineMounts(home)) {
    const result = await run('umount', [place]);
    // What a process of another mount namespace still holds goes when that ends.
    if (result.code !== 0 && engineMounts(home).includes(place)) await run('umount', ['--lazy', place]);
  }
  const left = engineMounts(home);
  if (left.length > 0) throw new Error(`The Docker engine in ${home.data} has left a mount: ${left[0]}. Type: umount ${left[0]}`);
  for (const id of ids) rmSync(join(SHIM_SOCKETS, shimSocketName(home, id)), { force: true });
  await removeGroups(home);
  rmSync(home.runtime, { recursive: true, force: true });
  removeIfEmpty(RUNTIME_PARENT);
  removeSharedDirectories();
}

/** @param {EngineHome} home */
async function endProcesses(home) {
  const deadline = Date.now() + PROCESSES_MS;
  for (;;) {
    const { daemons, shims, contained } = engineProcesses(home);
    const left = [...daemons, ...shims, ...contained];
    if (left.length === 0) return;
    if (Date.now() > deadline) {
      const [first] = left;
      throw new Error(`Process ${first?.pid} of the Docker engine in ${home.data} does not end: ${first?.command}`);
    }
    for (const { pid } of left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await sleep(POLL_MS);
  }
}

/**
 * As containerd makes it up.
 * @param {EngineHome} home
 * @param {string} id of the container
 */
function shimSocketName(home, id) {
  return createHash('sha256')
    .update(join(home.containerdSocket, NAMESPACE, id))
    .digest('hex');
}

/** @param {EngineHome} home */
async function removeGroups({ cgroup }) {
  const deadline = Date.now() + GROUPS_MS;
  const roots = ['.', ...list(CGROUPS)].map((controller) => join(CGROUPS, controller, cgroup)).filter(existsSync);
  for (const root of roots) {
    // A group whose last process has just ended is busy for a moment.
    while (existsSync(root) && Date.now() < deadline) {
      const below = readdirSync(root, { withFileTypes: true, recursive: true }).filter((entry) => entry.isDirectory());
      const paths = [root, ...below.map((entry) => join(entry.parentPath, entry.name))].sort((a, b) => b.length - a.length);
      for (const path of paths) removeIfEmpty(path);
      if (existsSync(root)) await sleep(POLL_MS);
    }
  }
}

/** Directories that every engine uses: the last one that ends takes them along, unless somebody has put something there. */
function removeSharedDirectories() {
  if (processTable().some(({ command }) => /^(containerd|dockerd)/.test(basename(command.split(' ')[0] ?? '')))) return;
  for (const [directory = '', only = ''] of SHARED) {
    if (list(directory).some((name) => name !== only)) continue;
    removeIfEmpty(join(directory, only));
    removeIfEmpty(directory);
  }
}

/** @param {string} directory */
function list(directory) {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** @param {string} directory */
function removeIfEmpty(directory) {
  try {
    rmdirSync(directory);
  } catch {
    // It is not empty, or not there.
  }
}
