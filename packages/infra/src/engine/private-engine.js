/**
 * A Docker engine of our own, for sandboxes only: no bridge, no firewall rules, nothing outside of its data directory and its runtime directory
 * (engine-home.js), and both of the host's settings and of other engines unaware. containerd and dockerd are processes of their own, so that
 * either can be killed and started again at once; containers outlive both. Stopping containerd ends the engine: containers that still run, mounts,
 * limit groups and the runtime directory go; the data stays.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { noLog } from '../processes/progress.js';
import { startDaemon } from '../servers/daemon.js';
import { claimEngine, releaseEngine } from './engine-claim.js';
import { engineHome, privateEngineObstacle } from './engine-home.js';
import { askEngine } from './engine-request.js';
import { locateEngine } from './locate-engine.js';

/** @typedef {import('../servers/daemon.js').DaemonHandle} DaemonHandle */

/**
 * @typedef {object} ContainerdOptions
 * @property {string} dir data directory of the engine; made if missing
 * @property {number} [graceMs] if this process is killed: how long containers may still be removed through the engine before it ends; 0 if not given
 * @property {string} [cacheDir]
 * @property {(line: string) => void} [log]
 */

/**
 * @typedef {object} DockerdOptions
 * @property {string} dir the same as containerd's
 * @property {Readonly<Record<string, { path: string, runtimeArgs?: readonly string[] }>>} [runtimes] further ones besides runc, such as runsc
 * @property {string} [cacheDir]
 * @property {(line: string) => void} [log]
 */

/** Since then the file for the engine's id is in the data directory by itself. */
const OWN_ID_SINCE = 25;
const PROBE_MS = 1_000;

/**
 * @param {ContainerdOptions} options
 * @returns {Promise<DaemonHandle>} its `stop` ends the whole engine, dockerd too
 */
export async function startContainerd({ dir, graceMs = 0, cacheDir, log = noLog }) {
  const home = openHome(dir);
  const programs = await locateEngine({ log, ...(cacheDir === undefined ? {} : { cacheDir }) });
  await claimEngine(home, graceMs);
  const config = join(home.runtime, 'containerd.toml');
  const text = (/** @type {string} */ value) => JSON.stringify(value);
  const lines = [
    'version = 2',
    `root = ${text(home.containerdRoot)}`,
    `state = ${text(home.containerdState)}`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    '[grpc]',
    `address = ${text(home.containerdSocket)}`,
    '[ttrpc]',
    `address = ${text(`${home.containerdSocket}.ttrpc`)}`,
    // Otherwise in /opt.
    '[plugins."io.containerd.internal.v1.opt"]',
    `path = ${text(join(home.containerdRoot, 'opt'))}`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 });
  const handle = await startDaemon({
    ...{ name: 'containerd', dir: home.data, command: programs.containerd, args: ['--config', config], env: programs.env, input: '' },
    ...{ where: home.containerdSocket, url: `unix://${home.containerdSocket}`, tied: false },
    answers: async () => ((await accepts(home.containerdSocket)) ? 'ready' : 'silent'),
  });
  /** @type {Promise<void> | null} */
  let ending = null;
  async function end() {
    await handle.stop();
    await releaseEngine(home);
  }
  return {
    ...handle,
    // After a stop it has ended when its traces have gone, too.
    exited: handle.exited.then(async (exit) => {
      await ending?.catch(() => {});
      return exit;
    }),
    stop: () => {
      ending ??= end();
      return ending;
    },
  };
}

/**
 * @param {DockerdOptions} options containerd must run
 * @returns {Promise<DaemonHandle>}
 */
export async function startDockerd({ dir, runtimes = {}, cacheDir, log = noLog }) {
  const home = openHome(dir);
  const programs = await locateEngine({ log, ...(cacheDir === undefined ? {} : { cacheDir }) });
  if (!existsSync(home.containerdSocket)) throw new Error(`docker: containerd does not run in ${home.data}; start that first.`);
  const config = join(home.runtime, 'dockerd.json');
  const settings = {
    // Otherwise in /etc/docker.
    ...(Number.parseInt(programs.version, 10) < OWN_ID_SINCE ? { 'deprecated-key-path': join(home.data, 'engine-key.json') } : {}),
    runtimes,
  };
  writeFileSync(config, JSON.stringify(settings), { mode: 0o600 });
  // Of a dockerd that was killed; its pid may be somebody else's by now.
  rmSync(home.pidFile, { force: true });
  const network = [
    '--bridge=none',
    '--iptables=false',
    '--ip6tables=false',
    '--ip-forward=false',
    '--ip-masq=false',
    '--userland-proxy=false',
  ];
  const places = [
    ...['--data-root', home.dockerRoot, '--exec-root', home.execRoot, '--pidfile', home.pidFile],
    ...['--host', `unix://${home.dockerSocket}`, '--group', '0', '--containerd', home.containerdSocket],
  ];
  const groups = ['--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', `/${home.cgroup}`];
  return await startDaemon({
    ...{ name: 'docker', dir: home.data, command: programs.dockerd, env: programs.env, input: '' },
    args: ['--config-file', config, ...places, ...network, ...groups, '--live-restore', '--init-path', programs.init, '--raw-logs'],
    ...{ where: home.dockerSocket, url: `unix://${home.dockerSocket}`, tied: false },
    answers: async (pid) => {
      const answer = await askEngine({ socketPath: home.dockerSocket }, '/_ping', PROBE_MS).catch(() => null);
      return answer?.status === 200 && readPid(home.pidFile) === pid ? 'ready' : 'silent';
    },
  });
}

/**
 * Ends and removes what an engine has left that was killed together with its guard; its data stays. Does nothing when nothing is there.
 * @param {string} dir
 * @throws {Error} when a living process has it
 */
export async function endEngineLeftovers(dir) {
  if (!existsSync(dir) || privateEngineObstacle() !== null) return;
  const home = engineHome(dir);
  if (existsSync(home.runtime)) await releaseEngine(home);
}

/**
 * Where dockerd of that data directory listens.
 * @param {string} dir
 */
export function privateEngineHost(dir) {
  return `unix://${engineHome(dir).dockerSocket}`;
}

/** @param {string} dir */
function openHome(dir) {
  const obstacle = privateEngineObstacle();
  if (obstacle !== null)
    throw new Error(`${obstacle}. Start Docker on this machine or set DOCKER_HOST to an engine that runs, or use --sandbox bubblewrap.`);
  const home = engineHome(dir);
  // overlayfs separates its options with these.
  if (/[:,]/.test(home.data)) throw new Error(`A Docker engine cannot have its data in ${home.data}: choose a path without ":" and ",".`);
  mkdirSync(home.dockerRoot, { recursive: true, mode: 0o710 });
  return home;
}

/** @param {string} path */
function readPid(path) {
  try {
    return Number(readFileSync(path, 'utf8').trim());
  } catch {
    return null;
  }
}

/**
 * @param {string} path of a Unix socket
 * @returns {Promise<boolean>}
 */
function accepts(path) {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.setTimeout(PROBE_MS, () => socket.destroy());
    socket.once('connect', () => {
      resolve(true);
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
}
