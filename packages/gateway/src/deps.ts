/** Everything the routes are given. */
import type { Clock, IdSource, Logger, Redis } from '@manyhands/base';
import type { SessionLog, Tail } from '@manyhands/session-log';
import type { AgentStore, ApiKeyStore, EnvironmentStore } from '@manyhands/store';
import type { TurnQueue } from '@manyhands/turn-queue';

export interface GatewayDeps {
  /** A client that fails fast; used for the readiness check. */
  redis: Redis;
  agents: AgentStore;
  environments: EnvironmentStore;
  apiKeys: ApiKeyStore;
  sessionLog: SessionLog;
  tail: Tail;
  turnQueue: TurnQueue;
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
  /** Largest request body, bytes. */
  bodyLimitBytes?: number;
}
