/**
 * Builds the base image of Docker sandboxes with the sandbox pool's own program: a process that logs its progress, prints the image's name and
 * ends. What that program needs from outside is found here.
 */
import { once } from 'node:events';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { noLog } from '../processes/progress.js';
import { spawnTied } from '../processes/tied-process.js';
import { canFetch, locate } from '../programs/locate.js';
import { defaultCacheDirectory } from '../programs/tool-cache.js';

/**
 * @typedef {object} SandboxImageOptions
 * @property {string} entry path of the program
 * @property {string} host of the engine, as in DOCKER_HOST
 * @property {Readonly<Record<string, string>>} [env] more variables for it, such as those of TLS
 * @property {string} [image] the user's own; ours if not given
 * @property {string} [cacheDir]
 * @property {(line: string) => void} [log] lines of progress
 * @property {AbortSignal} [signal] ends it
 */

const ENDING_MS = 15_000;

/**
 * @param {SandboxImageOptions} options
 * @returns {Promise<string>} the image's name
 * @throws {Error} with what the program said last
 */
export async function prepareSandboxImage({ entry, host, env = {}, image, cacheDir, log = noLog, signal }) {
  const cache = cacheDir ?? defaultCacheDirectory();
  signal?.throwIfAborted();
  const child = spawnTied(process.execPath, [entry], {
    env: {
      ...process.env,
      ...env,
      DOCKER_HOST: host,
      MANYHANDS_CACHE: join(cache, 'images'),
      ...(image === undefined ? {} : { MANYHANDS_SANDBOX_IMAGE: image }),
      ...(image === undefined ? await mmdebstrapEnv(cacheDir, log) : {}),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    // With a process group of its own it can be ended together with what it runs.
    detached: true,
  });
  const { stdout, stderr, pid } = child;
  if (pid === undefined || stdout === null || stderr === null) throw new Error(`${process.execPath} cannot be started.`);
  const end = () => endGroup(pid, () => child.exitCode !== null || child.signalCode !== null);
  signal?.addEventListener('abort', end, { once: true });
  let answer = '';
  stdout.setEncoding('utf8').on('data', (text) => {
    answer += text;
  });
  /** @type {string[]} */
  const logged = [];
  const lines = createInterface({ input: stderr });
  lines.on('line', (line) => {
    logged.push(line);
    log(line);
  });
  const [code] = await once(child, 'close');
  signal?.removeEventListener('abort', end);
  signal?.throwIfAborted();
  if (code !== 0)
    throw new Error(`The base image of the sandboxes cannot be had: ${logged.slice(-6).join('\n') || `${entry} ended with ${code}`}`);
  try {
    return JSON.parse(answer).image;
  } catch (error) {
    throw new Error(`${entry} answered ${JSON.stringify(answer)}, which is no image.`, { cause: error });
  }
}

/**
 * Where it can be had; the image program says what is missing when it needs it.
 * @param {string | undefined} cacheDir
 * @param {(line: string) => void} log
 * @returns {Promise<Record<string, string>>}
 */
async function mmdebstrapEnv(cacheDir, log) {
  if (!canFetch()) return {};
  try {
    const { path } = await locate('mmdebstrap', { log, ...(cacheDir === undefined ? {} : { cacheDir }) });
    // It runs helpers of its own by name.
    return { MANYHANDS_MMDEBSTRAP: path, PATH: [dirname(path), process.env['PATH'] ?? ''].join(delimiter) };
  } catch {
    return {};
  }
}

/**
 * @param {number} pid
 * @param {() => boolean} ended
 */
function endGroup(pid, ended) {
  if (ended()) return;
  signalGroup(pid, 'SIGTERM');
  setTimeout(() => {
    if (!ended()) signalGroup(pid, 'SIGKILL');
  }, ENDING_MS).unref();
}

/**
 * @param {number} pid
 * @param {NodeJS.Signals} signal
 */
function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch {
    // It ended by itself.
  }
}
