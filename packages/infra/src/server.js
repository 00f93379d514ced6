/**
 * Starts a server as a tied child on 127.0.0.1 and waits until it answers. Its output goes to a log file in its data directory, whose
 * end is part of the error when it does not come up.
 */
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, isFree } from './free-port.js';
import { spawnTied } from './tied-process.js';

/**
 * @typedef {object} ServerHandle
 * @property {string} url with user and password, if there are any
 * @property {number} port
 * @property {number} pid
 * @property {string} logFile
 * @property {Promise<{ code: number | null, signal: NodeJS.Signals | null }>} exited
 * @property {() => Promise<void>} stop orderly; killed if it takes more than 10 s. Safe to repeat.
 * @property {() => Promise<void>} kill at once (-9), until it is gone
 * @property {() => void} pause SIGSTOP: connections stay open and nothing answers
 * @property {() => void} resume
 */

/** @typedef {'ready' | 'loading' | 'silent'} Answer `loading`: it is alive and reads its data, which may take as long as it takes */

/**
 * @typedef {object} ServerRecipe
 * @property {string} name
 * @property {string} dir data directory; made if missing
 * @property {number | undefined} port undefined: any free one
 * @property {(port: number) => { command: string, args: string[], env: Record<string, string>, input: string }} command `input` is written to stdin
 * @property {(port: number, pid: number) => Promise<Answer>} answers whether this very process serves
 * @property {(port: number) => string} url
 */

const START_MS = 60_000;
const STOP_MS = 10_000;
const PORT_ATTEMPTS = 8;
const BUSY_PORT_MS = 5_000;
const ADDRESS_IN_USE = /address already in use|could not create server tcp listening socket/i;

/**
 * @param {ServerRecipe} recipe
 * @returns {Promise<ServerHandle>}
 */
export async function startServer(recipe) {
  mkdirSync(recipe.dir, { recursive: true });
  if (recipe.port !== undefined) {
    await waitForPort(recipe.name, recipe.port);
    return await attempt(recipe, recipe.port);
  }
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(recipe, await freePort());
    } catch (error) {
      const portRace = error instanceof Error && ADDRESS_IN_USE.test(error.message);
      if (!portRace || tries === PORT_ATTEMPTS) throw error;
    }
  }
}

/**
 * A server that was just killed may hold its port for a moment.
 * @param {string} name
 * @param {number} port
 */
async function waitForPort(name, port) {
  const deadline = Date.now() + BUSY_PORT_MS;
  while (!(await isFree(port))) {
    if (Date.now() > deadline)
      throw new Error(`${name}: port ${port} on 127.0.0.1 is in use by another program. Choose another port, or end that program.`);
    await sleep(50);
  }
}

/**
 * @param {ServerRecipe} recipe
 * @param {number} port
 * @returns {Promise<ServerHandle>}
 */
async function attempt(recipe, port) {
  const logFile = join(recipe.dir, `${recipe.name}.log`);
  const output = openSync(logFile, 'a', 0o600);
  const { command, args, env, input } = recipe.command(port);
  const logStart = readFileSync(logFile).length;
  // In a process group of its own: a Ctrl-C at the terminal must not end it before those who still write to it.
  const child = spawnTied(command, args, {
    cwd: recipe.dir,
    env: { ...process.env, ...env },
    stdio: ['pipe', output, output],
    detached: true,
  });
  closeSync(output);
  child.stdin?.on('error', () => {}); // It ended before it read its configuration: its log says why.
  child.stdin?.end(input);
  let running = true;
  /** @type {ServerHandle['exited']} */
  const exited = new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      running = false;
      resolve({ code, signal });
    });
    child.once('error', () => {
      running = false;
      resolve({ code: null, signal: null });
    });
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${recipe.name}: ${command} cannot be started.`);

  let deadline = Date.now() + START_MS;
  let waitMs = 5;
  for (;;) {
    const answer = running ? await recipe.answers(port, pid) : 'silent';
    if (answer === 'ready' && running) break;
    if (answer === 'loading') deadline = Date.now() + START_MS;
    if (!running || Date.now() > deadline) {
      child.kill('SIGKILL');
      const ending = await exited;
      const said = readFileSync(logFile).subarray(logStart).toString().trim().split('\n').slice(-8).join('\n');
      throw new Error(
        `${recipe.name} did not come up on 127.0.0.1:${port} (exit code ${ending.code}, signal ${ending.signal}). It said:\n${said}`,
      );
    }
    await sleep(waitMs);
    waitMs = Math.min(waitMs * 2, 100);
  }
  child.unref();

  /** @type {Promise<void> | null} */
  let stopping = null;
  const signal = (/** @type {NodeJS.Signals} */ name) => {
    if (running) child.kill(name);
  };
  async function stopInOrder() {
    signal('SIGTERM');
    signal('SIGCONT');
    const timer = setTimeout(() => signal('SIGKILL'), STOP_MS);
    await exitedHolding();
    clearTimeout(timer);
  }
  /** The child does not keep this process alive, but waiting for its end must. */
  async function exitedHolding() {
    if (running) child.ref();
    await exited;
  }
  return {
    url: recipe.url(port),
    port,
    pid,
    logFile,
    exited,
    stop: () => {
      stopping ??= stopInOrder();
      return stopping;
    },
    kill: async () => {
      signal('SIGKILL');
      await exitedHolding();
    },
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
  };
}
