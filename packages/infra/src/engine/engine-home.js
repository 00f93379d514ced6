/**
 * Where a private engine lives: its data below the directory that is given; sockets, configuration and what containerd and dockerd keep while
 * they run in a short directory below /run, since the path of a Unix socket has at most 107 bytes. One data directory always has the same one.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {object} EngineHome
 * @property {string} data
 * @property {string} dockerRoot images and containers
 * @property {string} containerdRoot
 * @property {string} runtime gone when nothing of the engine runs any more
 * @property {string} execRoot
 * @property {string} containerdState
 * @property {string} containerdSocket
 * @property {string} dockerSocket
 * @property {string} pidFile
 * @property {string} cgroup name of the limit group in which its containers are
 */

export const RUNTIME_PARENT = '/run/manyhands';
const CAP_SYS_ADMIN = 21n;

/**
 * @param {string} dir made if missing
 * @returns {EngineHome}
 */
export function engineHome(dir) {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const data = realpathSync(dir);
  const mark = createHash('sha256').update(data).digest('hex').slice(0, 12);
  const runtime = join(RUNTIME_PARENT, mark);
  return {
    data,
    dockerRoot: join(data, 'docker'),
    containerdRoot: join(data, 'containerd'),
    runtime,
    execRoot: join(runtime, 'docker'),
    containerdState: join(runtime, 'containerd'),
    containerdSocket: join(runtime, 'containerd.sock'),
    dockerSocket: join(runtime, 'docker.sock'),
    pidFile: join(runtime, 'docker.pid'),
    cgroup: `manyhands-${mark}`,
  };
}

/**
 * Why no private engine can run here, or null.
 * @returns {string | null}
 */
export function privateEngineObstacle() {
  if (process.platform !== 'linux') return 'a Docker engine of our own needs Linux';
  if (process.getuid?.() !== 0) return 'a Docker engine of our own needs root';
  if (!hasCapability(CAP_SYS_ADMIN)) return 'a Docker engine of our own needs the right to mount, which root has not in this container';
  return null;
}

/** @param {bigint} capability */
function hasCapability(capability) {
  try {
    const set = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
    return ((BigInt(`0x${set}`) >> capability) & 1n) === 1n;
  } catch {
    return false;
  }
}
