/** Dependencies and options of the gateway. */
import type { Clock, IdSource, Logger, Redis } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import type { PriceTable } from '@manyhands/model/prices';
import type { Feed, SessionLog } from '@manyhands/session-log';
import type { AgentStore, ApiKeyStore, EnvironmentStore, FileStore } from '@manyhands/store';
import type { TurnQueue } from '@manyhands/turn-queue';
import type { RateLimits } from './http/rate-limits.ts';
import type { GatewayMetrics } from './metrics.ts';

export interface GatewayDeps {
  /** A client that fails fast; used for readiness and rate limits. */
  redis: Redis;
  agents: AgentStore;
  environments: EnvironmentStore;
  files: FileStore;
  blobs: BlobStore;
  apiKeys: ApiKeyStore;
  sessionLog: SessionLog;
  feed: Feed;
  turnQueue: TurnQueue;
  prices: PriceTable;
  metrics: GatewayMetrics;
  clock: Clock;
  ids: IdSource;
  log: Logger;
}
export interface GatewayOptions {
  /** Model ids that GET /v1/models lists. */
  models: readonly string[];
  /** Lets the queue board change queues. */
  adminWritable: boolean;
  /** Between two heartbeats on a stream, milliseconds. */
  pingIntervalMs?: number;
  /** Largest file that can be uploaded, bytes. */
  fileLimitBytes?: number;
  /** Largest request body, bytes. */
  bodyLimitBytes?: number;
  /** For the body of a request to arrive, uploads aside, milliseconds. */
  bodyArrivalMs?: number;
  /** Requests that all gateways together answer in a minute; as many as come if left out. */
  rateLimits?: RateLimits | undefined;
}
