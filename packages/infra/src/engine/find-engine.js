/** Which Docker engine would be used, and whether it can be: every way in which it cannot has a name, and words that say what to do. */
import { existsSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { askEngine } from './engine-request.js';

/**
 * @typedef {object} UsableEngine
 * @property {'ok'} state
 * @property {string} host
 * @property {string} version of Docker, such as "20.10.24"
 * @property {string} apiVersion such as "1.41"
 * @property {string[]} runtimes such as "runc" and "runsc"
 */

/**
 * @typedef {object} UnusableEngine
 * @property {'none' | 'no-permission' | 'slow' | 'too-old' | 'path-too-long' | 'not-linux' | 'unsupported-address' | 'not-docker'} state
 * @property {string} host
 * @property {boolean} chosen DOCKER_HOST named it
 * @property {string} problem in a few words
 * @property {string} remedy what to do
 */

/** @typedef {UsableEngine | UnusableEngine} EngineFinding */

export const DEFAULT_DOCKER_HOST = 'unix:///var/run/docker.sock';
const DEADLINE_MS = 5_000;
/** Docker 20.10. */
const MINIMUM_API = /** @type {const} */ ([1, 41]);
const MINIMUM_DOCKER = '20.10';
/** `sun_path` of Linux, without its final zero. */
const SOCKET_PATH_BYTES = 107;
const PLAIN_PORT = 2375;
const TLS_PORT = 2376;
const NOBODY_THERE = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN', 'ENOTSOCK', 'ENOTDIR']);

/**
 * @param {{ environment?: Readonly<Record<string, string | undefined>>, deadlineMs?: number }} [options] `environment` is the user's
 * @returns {Promise<EngineFinding>}
 */
export async function findEngine({ environment = process.env, deadlineMs = DEADLINE_MS } = {}) {
  const chosen = environment['DOCKER_HOST'] !== undefined && environment['DOCKER_HOST'] !== '';
  const host = chosen ? /** @type {string} */ (environment['DOCKER_HOST']) : DEFAULT_DOCKER_HOST;
  const unusable = (/** @type {UnusableEngine['state']} */ state, /** @type {string} */ problem, /** @type {string} */ remedy) =>
    /** @type {UnusableEngine} */ ({ state, host, chosen, problem, remedy });

  const address = addressOf(host, environment);
  if (typeof address === 'string')
    return unusable('unsupported-address', address, 'Set DOCKER_HOST to unix:///path/of/docker.sock or tcp://host:port.');
  const path = 'socketPath' in address ? address.socketPath : null;
  if (path !== null && Buffer.byteLength(path) > SOCKET_PATH_BYTES) {
    return unusable(
      'path-too-long',
      `the path of its socket has ${Buffer.byteLength(path)} bytes, and the system takes ${SOCKET_PATH_BYTES} at most: ${path}`,
      'Let the engine listen at a shorter path, or make a short link to the directory and name that in DOCKER_HOST.',
    );
  }
  try {
    const [version, info] = await ask(address, deadlineMs);
    return judge(version, info);
  } catch (error) {
    return explain(/** @type {NodeJS.ErrnoException} */ (error));
  }

  /**
   * @param {{ Version?: string, ApiVersion?: string, Os?: string }} version
   * @param {{ OSType?: string, Runtimes?: Record<string, unknown> }} info
   * @returns {EngineFinding}
   */
  function judge(version, info) {
    const { Version: docker = '', ApiVersion: apiVersion = '' } = version;
    if (!/^\d+\.\d+$/.test(apiVersion))
      return unusable('not-docker', `what answers at ${host} is no Docker engine`, 'Set DOCKER_HOST to one that is.');
    if (isOlder(apiVersion)) {
      return unusable(
        'too-old',
        `the engine at ${host} is Docker ${docker} (API ${apiVersion}), and ${MINIMUM_DOCKER} (API ${MINIMUM_API.join('.')}) is needed`,
        'Update Docker.',
      );
    }
    const system = info.OSType ?? version.Os ?? 'linux';
    if (system !== 'linux')
      return unusable('not-linux', `the engine at ${host} runs ${system} containers`, 'Switch it to Linux containers.');
    return { state: 'ok', host, version: docker, apiVersion, runtimes: Object.keys(info.Runtimes ?? {}).sort() };
  }

  /** @param {NodeJS.ErrnoException} error */
  function explain(error) {
    const { code = '' } = error;
    if (code === 'EACCES' || code === 'EPERM') {
      return unusable(
        'no-permission',
        `this user may not use the engine at ${host}`,
        `Type: sudo usermod -aG docker ${userName()}   and log in again. (Members of that group can do on this machine what root can.)`,
      );
    }
    if (code === 'ETIMEDOUT') {
      return unusable(
        'slow',
        `the engine at ${host} does not answer within ${deadlineMs / 1000} s`,
        'See whether it is overloaded or hangs (docker info), and restart it: sudo systemctl restart docker',
      );
    }
    if (NOBODY_THERE.has(code)) {
      const remedy =
        'Start it (sudo systemctl start docker), install it (https://docs.docker.com/engine/install/), or set DOCKER_HOST to another one.';
      return unusable('none', `no Docker engine answers at ${host} (${code})`, remedy);
    }
    return unusable('not-docker', `what answers at ${host} is no Docker engine (${error.message})`, 'Set DOCKER_HOST to one that is.');
  }
}

/**
 * @param {import('./engine-request.js').EngineAddress} address
 * @param {number} deadlineMs for everything
 */
async function ask(address, deadlineMs) {
  const answers = await Promise.all(['/version', '/info'].map((path) => askEngine(address, path, deadlineMs)));
  return answers.map(({ status, body }) => {
    if (status !== 200) throw new Error(`status ${status}`);
    const value = JSON.parse(body);
    if (typeof value !== 'object' || value === null) throw new Error('not an object');
    return value;
  });
}

/**
 * @param {string} host
 * @param {Readonly<Record<string, string | undefined>>} environment
 * @returns {import('./engine-request.js').EngineAddress | string} or why there is none
 */
function addressOf(host, environment) {
  const socketPath = /^unix:\/\/(.*)$/.exec(host)?.[1];
  if (socketPath !== undefined) return isAbsolute(socketPath) ? { socketPath } : `DOCKER_HOST: ${host} does not hold a whole path`;
  const scheme = /^([a-z]+):\/\//i.exec(host)?.[1];
  if (scheme === undefined || !URL.canParse(host)) return `DOCKER_HOST: ${JSON.stringify(host)} is no address of an engine`;
  if (scheme === 'ssh')
    return 'DOCKER_HOST: an engine behind ssh is not supported, since its containers are on another machine than the sandbox pool';
  const url = new URL(host);
  if (scheme !== 'tcp' || url.hostname === '') return `DOCKER_HOST: ${scheme}:// is not supported`;
  const secure = !['', '0'].includes(environment['DOCKER_TLS_VERIFY'] ?? '') || url.port === String(TLS_PORT);
  const port = url.port === '' ? (secure ? TLS_PORT : PLAIN_PORT) : Number(url.port);
  const place = { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port };
  if (!secure) return place;
  const directory = environment['DOCKER_CERT_PATH'] ?? '';
  if (directory === '') return { ...place, tls: {} };
  const missing = ['ca.pem', 'cert.pem', 'key.pem'].map((name) => join(directory, name)).find((file) => !existsSync(file));
  if (missing !== undefined) return `DOCKER_CERT_PATH: there is no file ${missing}`;
  const read = (/** @type {string} */ name) => readFileSync(join(directory, name));
  return { ...place, tls: { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') } };
}

/** @param {string} apiVersion */
function isOlder(apiVersion) {
  const [major = 0, minor = 0] = apiVersion.split('.').map(Number);
  return major < MINIMUM_API[0] || (major === MINIMUM_API[0] && minor < MINIMUM_API[1]);
}

function userName() {
  try {
    return userInfo().username;
  } catch {
    return '$USER';
  }
}
