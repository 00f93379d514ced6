/** The HTTP API as a Fastify instance; `main` runs it as a process. */
export { KEY_CACHE_MS } from './auth.ts';
export { BODY_LIMIT_BYTES } from './body.ts';
export type { GatewayDeps, GatewayOptions } from './deps.ts';
export { DEFAULT_MODELS, type GatewayEnv, gatewayEnv } from './env.ts';
export { createGatewayMetrics, type GatewayMetrics } from './metrics.ts';
export { RATE_LIMITS, type RateLimits } from './rate-limits.ts';
export { createGateway } from './server.ts';
export { PING_INTERVAL_MS } from './stream.ts';
