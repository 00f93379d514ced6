/**
 * Starts processes that die with the one that started them, even if that is killed with -9. On Linux the kernel does it
 * (`setpriv --pdeathsig`); elsewhere one guard process per parent watches a pipe.
 */
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { findAll } from '../programs/locate.js';

/** The parent may have died before `setpriv` set the death signal, which then never comes: so the parent's pid, "$0", is compared. */
const CHECK_PARENT = '[ "$PPID" = "$0" ] || exit 143; exec "$@"';

/** @type {string | null | undefined} undefined: not looked for yet */
let setpriv;

/** @returns {string | null} a setpriv that can tie, or null */
export function findSetpriv() {
  if (setpriv === undefined) {
    setpriv = findAll('setpriv').find((path) => spawnSync(path, ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' }).status === 0) ?? null;
  }
  return setpriv;
}

/**
 * Like `child_process.spawn`; the pid is that of the command itself. A command that does not exist ends with code 127.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions & { tie?: 'kernel' | 'guard' }} [options] `tie` overrides the choice
 * @returns {import('node:child_process').ChildProcess}
 */
export function spawnTied(command, args, options = {}) {
  const { tie, ...spawnOptions } = options;
  const tool = findSetpriv();
  // The kernel ties to the thread that forks, so a worker thread's children would die with the thread.
  if (tool !== null && (tie ?? (isMainThread ? 'kernel' : 'guard')) === 'kernel') {
    return spawn(tool, ['--pdeathsig', 'KILL', '--', '/bin/sh', '-c', CHECK_PARENT, String(process.pid), command, ...args], spawnOptions);
  }
  const pipe = guardPipe();
  const child = spawn(command, args, spawnOptions);
  if (child.pid !== undefined) {
    pipe.write(`+${child.pid}\n`);
    child.once('exit', () => pipe.write(`-${child.pid}\n`));
  }
  return child;
}

/** @type {import('node:stream').Writable | null} */
let guard = null;

function guardPipe() {
  if (guard) return guard;
  // Detached, so that a Ctrl-C at the terminal reaches the children only, and the guard after them.
  const child = spawn(process.execPath, [fileURLToPath(new URL('../bin/guard.js', import.meta.url))], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  child.unref();
  const { stdin } = child;
  if (stdin === null) throw new Error('The guard process has no pipe.');
  /** @type {import('node:net').Socket} */ (/** @type {unknown} */ (stdin)).unref();
  stdin.on('error', () => {});
  child.once('exit', () => {
    guard = null;
  });
  guard = stdin;
  return guard;
}
