/** Private servers, processes and waits for tests. */
export { type ProcessEntry, processTable } from '@manyhands/infra';
export { leftovers } from './leftovers.ts';
export { type Service, type ServiceExit, type ServiceOptions, spawnService } from './service.ts';
export { silentLogger } from './silent-logger.ts';
export {
  type Body,
  type EventBody,
  type FixtureSession,
  type FixtureSessions,
  loadFixture,
  readKeys,
  type Stored,
  type StoredKey,
} from './stored-fixture.ts';
export { TEMPORARY_PREFIX, type TemporaryDirectory, temporaryDirectory } from './temporary-directory.ts';
export { startTestRedisCluster, type TestClusterOptions, type TestRedisCluster } from './test-cluster.ts';
export {
  engineUnavailable,
  type PrivateEngine,
  privateEngine,
  privateEngineUnavailable,
  type TestEngine,
  testEngine,
} from './test-engine.ts';
export { startTestSentinel, type TestSentinel, type TestSentinelOptions } from './test-sentinel.ts';
export { startTestNats, startTestRedis, type TestNatsOptions, type TestRedisOptions, type TestServer } from './test-server.ts';
export { type UntilOptions, until } from './until.ts';
