/** Picks a port on 127.0.0.1 that is free now. Somebody else may take it before it is used, so callers try again. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Below the range that systems use for outgoing connections: a client that keeps connecting to a dead port inside that range may get
 * connected to itself, and then hold the port when the server comes back.
 */
const FROM = 15_000;
const TO = 32_000;
const ATTEMPTS = 200;

/** @returns {Promise<number>} */
export async function freePort() {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(FROM, TO);
    if (await isFree(port)) return port;
  }
  throw new Error(`No free port between ${FROM} and ${TO} on 127.0.0.1 after ${ATTEMPTS} attempts.`);
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
export function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
