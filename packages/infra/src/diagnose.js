/** The findings of `manyhands doctor`: what this machine has, what it lacks, and what to type. Nothing is fetched or changed. */
import { readFileSync, statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { privateEngineObstacle } from './engine/engine-home.js';
import { findEngine } from './engine/find-engine.js';
import { canHaveEngine } from './engine/locate-engine.js';
import { run, tail } from './processes/run.js';
import { findSetpriv } from './processes/tied-process.js';
import { canFetch, installCommand, locatePresent } from './programs/locate.js';

/**
 * @typedef {object} Finding
 * @property {string} name
 * @property {boolean} ok
 * @property {boolean} optional Manyhands runs without it
 * @property {string} found what is there, in a few words
 * @property {string | null} remedy what to type or do; null when there is nothing to do
 */

const MINIMUM_MAJOR = 20;
const MINIMUM_MINOR = 19;
const MINIMUM_DISK_BYTES = 2 * 1024 ** 3;
const MINIMUM_MEMORY_BYTES = 1024 ** 3;
const PROBE_MS = 10_000;

/**
 * @typedef {object} DiagnoseOptions
 * @property {string} [dataDir] whose disk is looked at
 * @property {string} [cacheDir]
 * @property {Readonly<Record<string, string | undefined>>} [environment] the user's, for DOCKER_HOST
 */

/**
 * @param {DiagnoseOptions} [options]
 * @returns {Promise<Finding[]>}
 */
export async function diagnose(options = {}) {
  const [npmFinding, redis, nats, ripgrep, sandbox, engine] = await Promise.all([
    npm(),
    tool('redis', options),
    tool('nats', options),
    tool('ripgrep', options),
    bubblewrap(options),
    docker(options),
  ]);
  // One kind of sandbox is enough.
  const sandboxes = engine.ok ? { ...sandbox, optional: true } : sandbox;
  return [node(), npmFinding, redis, nats, ripgrep, sandboxes, engine, setpriv(), memory(), disk(options.dataDir ?? process.cwd())];
}

/** @returns {Finding} */
function node() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > MINIMUM_MAJOR || (major === MINIMUM_MAJOR && minor >= MINIMUM_MINOR);
  const remedy = ok ? null : `Install Node.js ${MINIMUM_MAJOR}.${MINIMUM_MINOR} or newer: https://nodejs.org/en/download`;
  return { name: 'Node.js', ok, optional: false, found: process.versions.node, remedy };
}

/** @returns {Promise<Finding>} */
async function npm() {
  const result = await run('npm', ['--version'], { timeoutMs: PROBE_MS });
  const ok = result.code === 0;
  return {
    name: 'npm',
    ok,
    optional: false,
    found: ok ? result.stdout.trim() : 'not found',
    remedy: ok ? null : 'npm comes with Node.js: https://nodejs.org/en/download',
  };
}

/**
 * @param {'redis' | 'nats' | 'ripgrep'} name
 * @param {{ cacheDir?: string }} options
 * @returns {Promise<Finding>}
 */
async function tool(name, { cacheDir }) {
  const { located, reasons } = await locatePresent(name, cacheDir === undefined ? {} : { cacheDir });
  if (located) return { name, ok: true, optional: false, found: `${located.version} at ${located.path}`, remedy: null };
  const why = ['not installed', ...reasons].join('; ');
  if (canFetch()) return { name, ok: true, optional: false, found: `${why}; fetched from Debian packages when first needed`, remedy: null };
  return { name, ok: false, optional: false, found: why, remedy: installCommand(name) };
}

/**
 * Having the program is not enough: many systems forbid what it does.
 * @param {{ cacheDir?: string }} options
 * @returns {Promise<Finding>}
 */
async function bubblewrap({ cacheDir }) {
  const name = 'bubblewrap';
  if (process.platform !== 'linux') return { name, ok: false, optional: true, found: 'Linux only', remedy: 'Use Docker for sandboxes.' };
  const { located } = await locatePresent('bubblewrap', cacheDir === undefined ? {} : { cacheDir });
  if (!located) {
    const ok = canFetch();
    const found = ok ? 'not installed; fetched from Debian packages when first needed' : 'not installed';
    return { name, ok, optional: false, found, remedy: ok ? null : installCommand('bubblewrap') };
  }
  const env = { ...process.env, ...located.env };
  const sandbox = await run(located.path, ['--unshare-all', '--die-with-parent', '--ro-bind', '/', '/', 'true'], {
    env,
    timeoutMs: PROBE_MS,
  });
  const found = `${located.version} at ${located.path}`;
  if (sandbox.code === 0) return { name, ok: true, optional: false, found: `${found}; a sandbox starts`, remedy: null };
  return { name, ok: false, optional: false, found: `${found}, but no sandbox starts: ${tail(sandbox, 1)}`, remedy: namespaceRemedy() };
}

/** Which of the usual switches forbids user namespaces. */
function namespaceRemedy() {
  if (sysctl('kernel/unprivileged_userns_clone') === '0') return 'sudo sysctl -w kernel.unprivileged_userns_clone=1';
  if (sysctl('kernel/apparmor_restrict_unprivileged_userns') === '1')
    return 'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0';
  if (sysctl('user/max_user_namespaces') === '0') return 'sudo sysctl -w user.max_user_namespaces=15000';
  return 'Allow user namespaces to this user (inside a container: run it with --security-opt seccomp=unconfined), or use Docker for sandboxes.';
}

/** @param {string} name */
function sysctl(name) {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
  } catch {
    return null;
  }
}

/** @returns {Finding} */
function setpriv() {
  const path = findSetpriv();
  const found = path ?? 'not found; a guard process is used instead';
  return {
    name: 'setpriv',
    ok: path !== null,
    optional: true,
    found,
    remedy: path === null && process.platform === 'linux' ? 'Install util-linux.' : null,
  };
}

/**
 * @param {DiagnoseOptions} options
 * @returns {Promise<Finding>}
 */
async function docker({ environment = process.env }) {
  const name = 'Docker engine';
  const engine = await findEngine({ environment });
  if (engine.state === 'ok') {
    const found = `Docker ${engine.version} at ${engine.host}; sandboxes are its containers by default (runtimes: ${engine.runtimes.join(', ')})`;
    return { name, ok: true, optional: true, found, remedy: null };
  }
  const privately = privateEngineObstacle() === null && canHaveEngine() ? '; --sandbox docker runs an engine of its own' : '';
  return { name, ok: false, optional: true, found: `${engine.problem}${privately}`, remedy: engine.remedy };
}

/** @returns {Finding} */
function memory() {
  const bytes = totalmem();
  const ok = bytes >= MINIMUM_MEMORY_BYTES;
  return {
    name: 'memory',
    ok,
    optional: false,
    found: gibibytes(bytes),
    remedy: ok ? null : `At least ${gibibytes(MINIMUM_MEMORY_BYTES)} is needed.`,
  };
}

/**
 * @param {string} directory
 * @returns {Finding}
 */
function disk(directory) {
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  const ok = free >= MINIMUM_DISK_BYTES;
  const remedy = ok ? null : `Free some space, or put the data elsewhere (--data DIR): ${gibibytes(MINIMUM_DISK_BYTES)} is needed.`;
  return { name: 'disk space', ok, optional: false, found: `${gibibytes(free)} free at ${directory}`, remedy };
}

/** @param {number} bytes */
function gibibytes(bytes) {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
