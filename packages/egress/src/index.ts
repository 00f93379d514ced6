/** Egress: the sandboxes' only way out, and `web_fetch`. */
export { type Connector, createConnector, ReachError, type Resolve, systemResolve } from './connector.ts';
export { createEgressSockets, type EgressSockets, type EgressSocketsDeps } from './egress-sockets.ts';
export { createEgressMetrics, type EgressMetrics } from './metrics.ts';
export { createPageFetch, type PageFetch, type PageFetchDeps } from './page-fetch.ts';
export { createReachPolicy, type ReachPolicy, type ReachPolicyOptions, WEB_PORTS } from './reach-policy.ts';
export { createSandboxProxy, PROXY_LIMITS, type ProxyLimits, type SandboxProxy } from './sandbox-proxy.ts';
export { serveEgress } from './serve-egress.ts';
