/** NATS as Manyhands needs it: plain request and reply, nothing stored, loopback only, dead when its parent is. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { noLog } from '../processes/progress.js';
import { locate } from '../programs/locate.js';
import { ask } from './ask.js';
import { plainSecret } from './secret-text.js';
import { startServer } from './server.js';

/**
 * @typedef {object} NatsOptions
 * @property {string} dir for its configuration and log
 * @property {number} [port] any free one if not given
 * @property {string} [user] with `password`; none if not given
 * @property {string} [password]
 * @property {string} [cacheDir]
 * @property {(line: string) => void} [log]
 */

/**
 * @param {NatsOptions} options
 * @returns {Promise<import('./server.js').ServerHandle>}
 */
export async function startNats({ dir, port, user, password, cacheDir, log = noLog }) {
  if ((user === undefined) !== (password === undefined)) throw new Error('user and password: give both or neither');
  plainSecret('user', user);
  plainSecret('password', password);
  const program = await locate('nats', { log, ...(cacheDir === undefined ? {} : { cacheDir }) });
  const name = `manyhands-${randomBytes(8).toString('hex')}`;
  const config = join(dir, 'nats.conf');
  return await startServer({
    name: 'nats',
    dir,
    port,
    command: (chosen) => {
      mkdirSync(dir, { recursive: true });
      // A client that is cut off without a word is given up after three intervals.
      const lines = [`listen: "127.0.0.1:${chosen}"`, `server_name: "${name}"`, 'ping_interval: "5s"', 'ping_max: 2'];
      if (user !== undefined) lines.push(`authorization { user: "${user}", password: "${password}" }`);
      writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 });
      return { command: program.path, args: ['-c', config], env: program.env, input: '' };
    },
    answers: (chosen) => answers(chosen, name, user, password),
    url: (chosen) => `nats://${user === undefined ? '' : `${user}:${password}@`}127.0.0.1:${chosen}`,
  });
}

/**
 * The server names itself, so that a stranger on that port is not mistaken for ours.
 * @param {number} port
 * @param {string} name
 * @param {string | undefined} user
 * @param {string | undefined} password
 * @returns {Promise<import('./server.js').Answer>}
 */
async function answers(port, name, user, password) {
  let asked = false;
  const satisfied = await ask(port, (received) => {
    if (asked) return received.includes('PONG\r\n');
    if (!received.startsWith('INFO ') || !received.includes('\r\n')) return false;
    if (!received.includes(`"server_name":"${name}"`)) return false;
    asked = true;
    const options = {
      verbose: false,
      pedantic: false,
      lang: 'node',
      version: '1',
      ...(user === undefined ? {} : { user, pass: password }),
    };
    return `CONNECT ${JSON.stringify(options)}\r\nPING\r\n`;
  });
  return satisfied ? 'ready' : 'silent';
}
