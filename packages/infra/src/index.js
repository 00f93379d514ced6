/** Finds, fetches, starts, watches and stops Redis, NATS and sandbox engines. Node built-ins only; runs without a build. */

export { diagnose } from './diagnose.js';
export { withDirectoryLock } from './directory-lock.js';
export { freePort } from './free-port.js';
export { defaultCacheDirectory, installCommand, locate, locatePresent } from './locate.js';
export { startNats } from './nats.js';
export { processStart } from './process-start.js';
export { processTable } from './process-table.js';
export { startRedis } from './redis.js';
export { spawnTied } from './tied-process.js';
export { TOOL_NAMES } from './tools.js';
/** @typedef {import('./diagnose.js').Finding} Finding */
/** @typedef {import('./locate.js').Located} Located */
/** @typedef {import('./locate.js').LocateOptions} LocateOptions */
/** @typedef {import('./nats.js').NatsOptions} NatsOptions */
/** @typedef {import('./process-table.js').ProcessEntry} ProcessEntry */
/** @typedef {import('./redis.js').RedisOptions} RedisOptions */
/** @typedef {import('./server.js').ServerHandle} ServerHandle */
/** @typedef {import('./tools.js').Tool} Tool */
