/**
 * Ends a private engine whose owner is gone (see engine-claim.js). Its stdin is a pipe from the owner: "done" on it means that there is nothing
 * left to do, its end without that word that the owner was killed. Arguments: data directory, patience in milliseconds.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { engineHome } from '../engine/engine-home.js';
import { engineProcesses, removeEngineTraces } from '../engine/engine-traces.js';

const DAEMONS_MS = 10_000;
const POLL_MS = 100;
const SETTLED_MS = 500;

const [dir = '', grace = '0'] = process.argv.slice(2);
// A signal for the owner's process group or session is none for this one.
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, () => {});

let said = '';
process.stdin.setEncoding('utf8');
for await (const text of process.stdin) said += text;
if (said !== 'done\n') await endEngine(engineHome(dir));
process.exit(0);

/** @param {import('../engine/engine-home.js').EngineHome} home */
async function endEngine(home) {
  // Whoever made the containers removes them through dockerd, and saves what is in them.
  let quietSince = Number.POSITIVE_INFINITY;
  const isSettled = () => {
    quietSince = hasContainers(home) || hasClients(home) ? Number.POSITIVE_INFINITY : Math.min(quietSince, Date.now());
    return Date.now() - quietSince >= SETTLED_MS;
  };
  await until(isSettled, Number(grace));
  for (const name of ['dockerd', 'containerd']) {
    const ours = () => engineProcesses(home).daemons.filter(({ command }) => new RegExp(`(^|/)${name} `).test(command));
    for (const { pid } of ours()) {
      try {
        process.kill(pid, 'SIGTERM');
      } catch {
        // It ended by itself.
      }
    }
    await until(() => ours().length === 0, DAEMONS_MS);
  }
  await removeEngineTraces(home);
}

/** @param {import('../engine/engine-home.js').EngineHome} home */
function hasContainers(home) {
  const kept = join(home.dockerRoot, 'containers');
  return engineProcesses(home).shims.length > 0 || (existsSync(kept) && readdirSync(kept).length > 0);
}

/**
 * Whether anybody has a connection to dockerd: the pool has, as long as it runs.
 * @param {import('../engine/engine-home.js').EngineHome} home
 */
function hasClients(home) {
  // Columns: Num RefCount Protocol Flags Type St Inode Path; 03 is connected.
  const connected = /^(?:\S+ +){5}03 +\d+ /;
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${home.dockerSocket}`) && connected.test(line));
}

/**
 * @param {() => boolean} condition
 * @param {number} patienceMs
 */
async function until(condition, patienceMs) {
  const deadline = Date.now() + patienceMs;
  while (!condition() && Date.now() < deadline) await sleep(POLL_MS);
}
