/**
 * Redis Sentinel: watches one master on this machine and makes its replica the master when it is gone. It keeps what it knows in its
 * configuration file, so that one which is started again on the same directory and port goes on with it.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { noLog } from '../processes/progress.js';
import { locate } from '../programs/locate.js';
import { answers } from './redis.js';
import { plainSecret } from './secret-text.js';
import { startServer } from './server.js';

/**
 * @typedef {object} SentinelOptions
 * @property {string} dir its directory
 * @property {number} [port] undefined: any free one, and a new configuration; given: the configuration that is in the directory
 * @property {string} name of the master
 * @property {number} masterPort where the master is on 127.0.0.1
 * @property {string} [password] of the master and of this sentinel; none if not given
 * @property {number} quorum how many sentinels have to agree that the master is gone
 * @property {number} downAfterMs how long a silent master is waited for
 * @property {number} failoverTimeoutMs after which a fail-over that did not succeed is tried again
 * @property {string} [cacheDir]
 * @property {(line: string) => void} [log]
 */

/**
 * @param {SentinelOptions} options
 * @returns {Promise<import('./server.js').ServerHandle>}
 */
export async function startSentinel({ dir, port, password, cacheDir, log = noLog, ...watch }) {
  const secret = plainSecret('password', password);
  const program = await locate('redis', { log, ...(cacheDir === undefined ? {} : { cacheDir }) });
  const file = join(dir, 'sentinel.conf');
  return await startServer({
    name: 'sentinel',
    dir,
    port,
    command: (chosen) => {
      if (port === undefined) {
        mkdirSync(dir, { recursive: true });
        writeFileSync(file, configuration(dir, chosen, secret, watch), { mode: 0o600 });
      }
      return { command: program.path, args: [file, '--sentinel'], env: program.env, input: '' };
    },
    answers: (chosen, pid) => answers(chosen, pid, secret),
    url: (chosen) => `redis://${secret ? `:${secret}@` : ''}127.0.0.1:${chosen}`,
  });
}

/**
 * @param {string} dir
 * @param {number} port
 * @param {string | undefined} password
 * @param {Pick<SentinelOptions, 'name' | 'masterPort' | 'quorum' | 'downAfterMs' | 'failoverTimeoutMs'>} watch
 */
function configuration(dir, port, password, { name, masterPort, quorum, downAfterMs, failoverTimeoutMs }) {
  return [
    'bind 127.0.0.1',
    `port ${port}`,
    `dir ${JSON.stringify(dir)}`,
    'daemonize no',
    `sentinel monitor ${name} 127.0.0.1 ${masterPort} ${quorum}`,
    `sentinel down-after-milliseconds ${name} ${downAfterMs}`,
    `sentinel failover-timeout ${name} ${failoverTimeoutMs}`,
    ...(password ? [`requirepass ${password}`, `sentinel auth-pass ${name} ${password}`] : []),
    '',
  ].join('\n');
}
