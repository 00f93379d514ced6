/** Finds, fetches, starts, watches and stops Redis, NATS and sandbox engines. Node built-ins only; runs without a build. */

export { diagnose } from './diagnose.js';
export { privateEngineObstacle, RUNTIME_PARENT } from './engine/engine-home.js';
export { DEFAULT_DOCKER_HOST, findEngine } from './engine/find-engine.js';
export { canHaveEngine, locateEngine } from './engine/locate-engine.js';
export { endEngineLeftovers, privateEngineHost, startContainerd, startDockerd } from './engine/private-engine.js';
export { prepareSandboxImage } from './engine/sandbox-image.js';
export { withDirectoryLock } from './files/directory-lock.js';
export { processStart } from './processes/process-start.js';
export { processTable } from './processes/process-table.js';
export { spawnTied } from './processes/tied-process.js';
export { findAll, installCommand, locate, locatePresent } from './programs/locate.js';
export { defaultCacheDirectory } from './programs/tool-cache.js';
export { TOOL_NAMES } from './programs/tools.js';
export { freePort } from './servers/free-port.js';
export { startNats } from './servers/nats.js';
export { startRedis } from './servers/redis.js';
export { startSentinel } from './servers/sentinel.js';
/** @typedef {import('./servers/daemon.js').DaemonHandle} DaemonHandle */
/** @typedef {import('./diagnose.js').Finding} Finding */
/** @typedef {import('./engine/find-engine.js').EngineFinding} EngineFinding */
/** @typedef {import('./engine/find-engine.js').UnusableEngine} UnusableEngine */
/** @typedef {import('./engine/find-engine.js').UsableEngine} UsableEngine */
/** @typedef {import('./engine/locate-engine.js').LocatedEngine} LocatedEngine */
/** @typedef {import('./engine/private-engine.js').ContainerdOptions} ContainerdOptions */
/** @typedef {import('./engine/private-engine.js').DockerdOptions} DockerdOptions */
/** @typedef {import('./programs/locate.js').Located} Located */
/** @typedef {import('./programs/locate.js').LocateOptions} LocateOptions */
/** @typedef {import('./servers/nats.js').NatsOptions} NatsOptions */
/** @typedef {import('./processes/process-table.js').ProcessEntry} ProcessEntry */
/** @typedef {import('./servers/redis.js').RedisOptions} RedisOptions */
/** @typedef {import('./engine/sandbox-image.js').SandboxImageOptions} SandboxImageOptions */
/** @typedef {import('./servers/sentinel.js').SentinelOptions} SentinelOptions */
/** @typedef {import('./servers/server.js').ServerHandle} ServerHandle */
/** @typedef {import('./programs/tools.js').Tool} Tool */
