/** The HTTP API as a Fastify instance; `main` runs it as a process. */

export type { GatewayDeps, GatewayOptions } from './deps.ts';
export { DEFAULT_MODELS, type GatewayEnv, gatewayEnv } from './env.ts';
export { KEY_CACHE_MS } from './http/auth.ts';
export { BODY_LIMIT_BYTES } from './http/body/body-parser.ts';
export { RATE_LIMITS, type RateLimits } from './http/rate-limits.ts';
export { createGateway } from './http/server.ts';
export { createGatewayMetrics, type GatewayMetrics } from './metrics.ts';
export { PING_INTERVAL_MS } from './streams/stream.ts';
