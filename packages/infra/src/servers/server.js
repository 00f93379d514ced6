/** Starts a server on a port of 127.0.0.1, the one that is asked for or any free one, and waits until it answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startDaemon } from './daemon.js';
import { freePort, isFree } from './free-port.js';

/** @typedef {import('./daemon.js').DaemonHandle & { port: number }} ServerHandle */
/** @typedef {import('./daemon.js').Answer} Answer */

/**
 * @typedef {object} ServerRecipe
 * @property {string} name
 * @property {string} dir data directory; made if missing
 * @property {number | undefined} port undefined: any free one
 * @property {(port: number) => { command: string, args: string[], env: Record<string, string>, input: string }} command `input` is written to stdin
 * @property {(port: number, pid: number) => Promise<Answer>} answers whether this very process serves
 * @property {(port: number) => string} url
 */

const PORT_ATTEMPTS = 8;
const BUSY_PORT_MS = 5_000;
const ADDRESS_IN_USE = /address already in use|could not create server tcp listening socket/i;

/**
 * @param {ServerRecipe} recipe
 * @returns {Promise<ServerHandle>}
 */
export async function startServer(recipe) {
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
async function attempt({ name, dir, command, answers, url }, port) {
  const handle = await startDaemon({
    ...{ name, dir, where: `127.0.0.1:${port}`, url: url(port), tied: true },
    ...command(port),
    answers: (pid) => answers(port, pid),
  });
  return { ...handle, port };
}
