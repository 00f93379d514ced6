/** Finds, fetches, starts, watches and stops Redis, NATS and sandbox engines. Node built-ins only; runs without a build. */

export { diagnose } from './diagnose.js';
export { withDirectoryLock } from './directory-lock.js';
export { privateEngineObstacle, RUNTIME_PARENT } from './engine/engine-home.js';
export { DEFAULT_DOCKER_HOST, findEngine } from './engine/find-engine.js';
export { canHaveEngine, locateEngine } from './engine/locate-engine.js';
export { endEngineLeftovers, privateEngineHost, startContainerd, startDockerd } from './engine/private-engine.js';
export { freePort } from './free-port.js';
export { findAll, installCommand, locate, locatePresent } from './locate.js';
export { startNats } from './nats.js';
export { processStart } from './process-start.js';
export { processTable } from './process-table.js';
export { startRedis } from './redis.js';
export { prepareSandboxImage } from './sandbox-image.js';
export { startSentinel } from './sentinel.js';
export { spawnTied } from './tied-process.js';
export { defaultCacheDirectory } from './tool-cache.js';
export { TOOL_NAMES } from './tools.js';
/** @typedef {import('./daemon.js').DaemonHandle} DaemonHandle */
/** @typedef {import('./diagnose.js').Finding} Finding */
/** @typedef {import('./engine/find-engine.js').EngineFinding} EngineFinding */
/** @typedef {import('./engine/find-engine.js').UnusableEngine} UnusableEngine */
/** @typedef {import('./engine/find-engine.js').UsableEngine} UsableEngine */
/** @typedef {import('./engine/locate-engine.js').LocatedEngine} LocatedEngine */
/** @typedef {import('./engine/private-engine.js').ContainerdOptions} ContainerdOptions */
/** @typedef {import('./engine/private-engine.js').DockerdOptions} DockerdOptions */
/** @typedef {import('./locate.js').Located} Located */
/** @typedef {import('./locate.js').LocateOptions} LocateOptions */
/** @typedef {import('./nats.js').NatsOptions} NatsOptions */
/** @typedef {import('./process-table.js').ProcessEntry} ProcessEntry */
/** @typedef {import('./redis.js').RedisOptions} RedisOptions */
/** @typedef {import('./sandbox-image.js').SandboxImageOptions} SandboxImageOptions */
/** @typedef {import('./sentinel.js').SentinelOptions} SentinelOptions */
/** @typedef {import('./server.js').ServerHandle} ServerHandle */
/** @typedef {import('./tools.js').Tool} Tool */
