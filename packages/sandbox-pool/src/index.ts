/** Sandboxes on this host: the driver port, the bubblewrap driver, and the pool that leases what they make. */
export { type BubblewrapDriverOptions, createBubblewrapDriver } from './drivers/bubblewrap/bubblewrap-driver.ts';
export { connectDaemon, type DaemonChannel, type DaemonCommand } from './drivers/daemon-channel.ts';
export { createDockerDriver, type DockerDriverOptions } from './drivers/docker/docker-driver.ts';
export type { RunningSandbox, SandboxDriver, SandboxLimits } from './drivers/driver.ts';
export { type SandboxDirectory, sandboxDirectory } from './files/sandbox-directory.ts';
export { openSandboxPool, type SandboxPool, type SandboxPoolOptions } from './pool/sandbox-pool.ts';
export { openPoolDirectory } from './records/pool-identity.ts';
export { createEgressPolicies, type EgressPolicies, noEgress } from './service/egress-policy.ts';
export { createPoolMetrics, type PoolMetrics } from './service/metrics.ts';
export { type PoolService, servePool } from './service/pool-service.ts';
