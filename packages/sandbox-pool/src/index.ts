/** Sandboxes on this host: the driver port, the bubblewrap driver, and the pool that leases what they make. */
export { type BubblewrapDriverOptions, createBubblewrapDriver } from './bubblewrap/bubblewrap-driver.ts';
export { createDockerDriver, type DockerDriverOptions } from './docker/docker-driver.ts';
export type { RunningSandbox, SandboxDriver, SandboxLimits } from './driver.ts';
export { createEgressPolicies, type EgressPolicies, noEgress } from './egress-policy.ts';
export { connectHand, type HandChannel, type HandCommand } from './hand-channel.ts';
export { createPoolMetrics, type PoolMetrics } from './metrics.ts';
export { openPoolDirectory } from './pool-identity.ts';
export { type PoolService, servePool } from './pool-service.ts';
export { type SandboxDirectory, sandboxDirectory } from './sandbox-directory.ts';
export { openSandboxPool, type SandboxPool, type SandboxPoolOptions } from './sandbox-pool.ts';
