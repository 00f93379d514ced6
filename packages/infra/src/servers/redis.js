/** Redis (or Valkey) as Manyhands needs it: append-only file on, no eviction, loopback only, dead when its parent is. */

import { noLog } from '../processes/progress.js';
import { locate } from '../programs/locate.js';
import { ask } from './ask.js';
import { plainSecret } from './secret-text.js';
import { startServer } from './server.js';

/**
 * @typedef {object} RedisOptions
 * @property {string} dir data directory; what is in it is loaded
 * @property {number} [port] any free one if not given
 * @property {string} [password] none if not given
 * @property {'always' | 'everysec'} appendfsync `always` is durable before the answer; `everysec` may lose up to 2 s on a power cut
 * @property {readonly string[]} [settings] more lines of its configuration, such as those of a cluster's node
 * @property {string} [cacheDir]
 * @property {(line: string) => void} [log]
 */

/**
 * @param {RedisOptions} options
 * @returns {Promise<import('./server.js').ServerHandle>}
 */
export async function startRedis({ dir, port, password, appendfsync, settings = [], cacheDir, log = noLog }) {
  if (appendfsync !== 'always' && appendfsync !== 'everysec')
    throw new Error(`appendfsync: "always" or "everysec", not ${JSON.stringify(appendfsync)}`);
  const secret = plainSecret('password', password);
  const program = await locate('redis', { log, ...(cacheDir === undefined ? {} : { cacheDir }) });
  return await startServer({
    name: 'redis',
    dir,
    port,
    // The configuration goes through stdin, so that the password is neither on disk nor in the process list.
    command: (chosen) => {
      const input = configuration(dir, chosen, secret, appendfsync, settings);
      return { command: program.path, args: ['-'], env: program.env, input };
    },
    answers: (chosen, pid) => answers(chosen, pid, secret),
    url: (chosen) => `redis://${secret ? `:${secret}@` : ''}127.0.0.1:${chosen}`,
  });
}

/**
 * @param {string} dir
 * @param {number} port
 * @param {string | undefined} password
 * @param {'always' | 'everysec'} appendfsync
 * @param {readonly string[]} settings
 */
function configuration(dir, port, password, appendfsync, settings) {
  return [
    'bind 127.0.0.1',
    `port ${port}`,
    `dir ${JSON.stringify(dir)}`,
    'daemonize no',
    'appendonly yes',
    `appendfsync ${appendfsync}`,
    'save ""',
    'maxmemory-policy noeviction',
    // Fewer, larger stream nodes: about 14 % less memory for events of 1 KiB.
    'stream-node-max-bytes 65536',
    ...(password ? [`requirepass ${password}`] : []),
    ...settings,
    '',
  ].join('\n');
}

/**
 * Asks for the process id, so that a stranger on that port is not mistaken for ours.
 * @param {number} port
 * @param {number} pid
 * @param {string | undefined} password
 * @returns {Promise<import('./server.js').Answer>}
 */
export async function answers(port, pid, password) {
  let asked = false;
  let loading = false;
  const satisfied = await ask(port, (received) => {
    if (!asked) {
      asked = true;
      return `${password ? `AUTH ${password}\r\n` : ''}INFO persistence\r\nINFO server\r\n`;
    }
    loading = /^loading:1\r$/m.test(received);
    return new RegExp(`^process_id:${pid}\r$`, 'm').test(received);
  });
  return !satisfied ? 'silent' : loading ? 'loading' : 'ready';
}
