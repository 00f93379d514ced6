/** Egress: the sandboxes' only way out, `web_fetch` and `web_search`. */

export { createEgressMetrics, type EgressMetrics } from './metrics.ts';
export { type Connector, createConnector, ReachError, type Resolve, systemResolve } from './proxy/connector.ts';
export { createEgressSockets, type EgressSockets, type EgressSocketsDeps } from './proxy/egress-sockets.ts';
export { createReachPolicy, type ReachPolicy, type ReachPolicyOptions, WEB_PORTS } from './proxy/reach-policy.ts';
export { createSandboxProxy, PROXY_LIMITS, type ProxyLimits, type SandboxProxy } from './proxy/sandbox-proxy.ts';
export { type SearchEnv, searchEnv, searchProvider } from './search/provider-settings.ts';
export { SearchFailure, type SearchProvider, type SearchQuery } from './search/search-provider.ts';
export { createWebSearch, type WebSearch, type WebSearchDeps } from './search/web-search.ts';
export { serveEgress } from './serve-egress.ts';
export { createHeldBodies, type HeldBodies, type HeldBodiesDeps } from './web/held-bodies.ts';
export { createPageFetch, type PageFetch, type PageFetchDeps } from './web/page-fetch.ts';
