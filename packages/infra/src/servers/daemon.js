/** A server as a child process: started, probed until it answers, stopped in order or killed. The recipe decides where it listens. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnTied } from '../processes/tied-process.js';

/**
 * @typedef {object} DaemonHandle
 * @property {string} url with user and password, if there are any
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
 * @typedef {object} DaemonRecipe
 * @property {string} name
 * @property {string} dir data directory; made if missing
 * @property {string} command
 * @property {readonly string[]} args
 * @property {Readonly<Record<string, string>>} env added to the environment
 * @property {string} input written to stdin
 * @property {string} where it listens, for people
 * @property {string} url
 * @property {boolean} tied it dies with this process, by the kernel's hand; otherwise the caller sees to its end
 * @property {(pid: number) => Promise<Answer>} answers whether this very process serves
 */

const START_MS = 60_000;
const STOP_MS = 10_000;

/**
 * @param {DaemonRecipe} recipe
 * @returns {Promise<DaemonHandle>}
 */
export async function startDaemon({ name, dir, command, args, env, input, where, url, tied, answers }) {
  mkdirSync(dir, { recursive: true });
  const logFile = join(dir, `${name}.log`);
  const output = openSync(logFile, 'a', 0o600);
  const logStart = readFileSync(logFile).length;
  // In a process group of its own: a Ctrl-C at the terminal must not end it before those who still write to it.
  const child = (tied ? spawnTied : spawn)(command, args, {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: ['pipe', output, output],
    detached: true,
  });
  closeSync(output);
  child.stdin?.on('error', () => {}); // It ended before it read its configuration: its log says why.
  child.stdin?.end(input);
  let running = true;
  /** @type {DaemonHandle['exited']} */
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
  if (pid === undefined) throw new Error(`${name}: ${command} cannot be started.`);

  let deadline = Date.now() + START_MS;
  let waitMs = 5;
  for (;;) {
    const answer = running ? await answers(pid) : 'silent';
    if (answer === 'ready' && running) break;
    if (answer === 'loading') deadline = Date.now() + START_MS;
    if (!running || Date.now() > deadline) {
      child.kill('SIGKILL');
      const ending = await exited;
      const said = readFileSync(logFile).subarray(logStart).toString().trim().split('\n').slice(-8).join('\n');
      throw new Error(`${name} did not come up on ${where} (exit code ${ending.code}, signal ${ending.signal}). It said:\n${said}`);
    }
    await sleep(waitMs);
    waitMs = Math.min(waitMs * 2, 100);
  }
  child.unref();

  /** @type {Promise<void> | null} */
  let stopping = null;
  const signal = (/** @type {NodeJS.Signals} */ which) => {
    if (running) child.kill(which);
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
    url,
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
