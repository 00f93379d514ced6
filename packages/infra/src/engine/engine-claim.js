/**
 * Who an engine belongs to. The engine's processes are not tied to the one that starts them: after a kill -9 of that, the sandbox pool still
 * needs the engine to end in order. So each owner has a guard, a small process that sees the owner's end, waits until no container runs (or its
 * patience is over), and then ends and removes everything but the data. An owner that takes over the same data ends the guard of the one before.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { processStart } from '../processes/process-start.js';
import { RUNTIME_PARENT } from './engine-home.js';
import { engineProcesses, removeEngineTraces } from './engine-traces.js';

/** @typedef {import('./engine-home.js').EngineHome} EngineHome */
/** @typedef {{ pid: number, start: string | null }} Identity */

const GUARD = fileURLToPath(new URL('../bin/engine-guard.js', import.meta.url));
const END_MS = 10_000;
const POLL_MS = 20;

/**
 * Engines of this process: how to tell their guards that the engine has ended.
 * @type {Map<string, () => Promise<void>>}
 */
const claims = new Map();

/**
 * Makes the runtime directory and the engine ours, and ends daemons that a killed owner left; its containers go on. Safe to repeat.
 * @param {EngineHome} home
 * @param {number} graceMs how long the guard waits for containers to be removed by those who made them
 * @throws {Error} when a living process has it
 */
export async function claimEngine(home, graceMs) {
  if (claims.has(home.runtime)) return;
  for (const directory of [RUNTIME_PARENT, home.runtime]) mkdirSync(directory, { recursive: true, mode: 0o700 });
  await takeOver(home);
  const guard = spawn(process.execPath, [GUARD, home.data, String(graceMs)], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  if (guard.pid === undefined) throw new Error(`${process.execPath} cannot be started.`);
  const { stdin } = guard;
  stdin.on('error', () => {});
  guard.unref();
  /** @type {import('node:net').Socket} */ (/** @type {unknown} */ (stdin)).unref();
  writeOwner(home, { owner: identify(process.pid), guard: identify(guard.pid) });
  const exited = once(guard, 'exit');
  claims.set(home.runtime, async () => {
    guard.ref();
    stdin.end('done\n');
    const timer = setTimeout(() => guard.kill('SIGKILL'), END_MS);
    await exited;
    clearTimeout(timer);
  });
}

/**
 * Ends and removes everything of the engine but its data.
 * @param {EngineHome} home
 */
export async function releaseEngine(home) {
  if (!claims.has(home.runtime)) await takeOver(home);
  await removeEngineTraces(home);
  await claims.get(home.runtime)?.();
  claims.delete(home.runtime);
}

/** @param {EngineHome} home */
async function takeOver(home) {
  const before = readOwner(home);
  if (before !== null && before.owner.pid !== process.pid && isAlive(before.owner))
    throw new Error(`The Docker engine in ${home.data} belongs to process ${before.owner.pid}, which runs. End that one first.`);
  const { daemons } = engineProcesses(home);
  const left = [...(before === null ? [] : [before.guard]), ...daemons].filter(isAlive);
  for (const { pid } of left) kill(pid);
  const deadline = Date.now() + END_MS;
  while (left.some(isAlive)) {
    if (Date.now() > deadline) throw new Error(`Process ${left.find(isAlive)?.pid} of the Docker engine in ${home.data} does not end.`);
    await sleep(POLL_MS);
  }
}

/** @param {EngineHome} home */
function ownerFile(home) {
  return join(home.runtime, 'owner.json');
}

/**
 * @param {EngineHome} home
 * @returns {{ owner: Identity, guard: Identity } | null}
 */
function readOwner(home) {
  try {
    return JSON.parse(readFileSync(ownerFile(home), 'utf8'));
  } catch {
    return null;
  }
}

/**
 * @param {EngineHome} home
 * @param {{ owner: Identity, guard: Identity }} owner
 */
function writeOwner(home, owner) {
  const draft = `${ownerFile(home)}.draft`;
  writeFileSync(draft, JSON.stringify({ ...owner, data: home.data }), { mode: 0o600 });
  renameSync(draft, ownerFile(home));
}

/**
 * @param {number} pid
 * @returns {Identity}
 */
function identify(pid) {
  return { pid, start: processStart(pid) };
}

/** @param {Identity} identity */
function isAlive({ pid, start }) {
  return start !== null && processStart(pid) === start;
}

/** @param {number} pid */
function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
