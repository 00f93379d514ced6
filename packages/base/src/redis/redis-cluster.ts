/**
 * The client of a Redis Cluster, with the same patience as that of a single server:
 *
 * - A command whose node is gone, moved or not serving is sent again every RETRY_MS: for ever by a `patient` client; by a `finite` one until
 *   FINITE_COMMAND_TIMEOUT_MS have passed since it was given, whatever it waited for.
 * - The map of slots is read anew every MAP_EVERY_MS, so that a node that vanished without a word is left as soon as another took over.
 */
import { Cluster, type ClusterOptions } from 'ioredis';
import { AppError } from '../errors.ts';
import {
  type ClusterPlace,
  CONNECT_MS,
  type ConnectionOptions,
  FINITE_ATTEMPTS,
  FINITE_COMMAND_TIMEOUT_MS,
  type RedisPatience,
  refuseQueued,
  retryDelayMs,
} from './redis-options.ts';

const RETRY_MS = 100;
/** Between two nodes that refer to each other for a moment: not at once, not for long. */
const MOVED_MS = 20;
const MAP_EVERY_MS = 5_000;

export function createCluster(
  { nodes, credentials }: ClusterPlace,
  options: ConnectionOptions & { socketTimeout: number },
  patience: RedisPatience,
): Cluster {
  const common = {
    redisOptions: { ...options, ...credentials, connectTimeout: CONNECT_MS },
    slotsRefreshInterval: MAP_EVERY_MS,
    ...{ retryDelayOnFailover: RETRY_MS, retryDelayOnClusterDown: RETRY_MS, retryDelayOnTryAgain: RETRY_MS, retryDelayOnMoved: MOVED_MS },
  } satisfies ClusterOptions;
  if (patience === 'patient') {
    return new Cluster(nodes, { ...common, clusterRetryStrategy: retryDelayMs, maxRedirections: Number.POSITIVE_INFINITY });
  }
  const cluster: Cluster = new FiniteCluster(nodes, {
    ...common,
    clusterRetryStrategy: (times) => {
      if (times % FINITE_ATTEMPTS === 0) refuseQueued(cluster, 'no node of the cluster answers');
      return retryDelayMs(times);
    },
    maxRedirections: Math.ceil(FINITE_COMMAND_TIMEOUT_MS / RETRY_MS),
  });
  return cluster;
}

/** The library bounds a command only once it was sent to a node, and tells the end of its retries by text only. */
class FiniteCluster extends Cluster {
  override sendCommand(...args: Parameters<Cluster['sendCommand']>): unknown {
    args[0].setTimeout(FINITE_COMMAND_TIMEOUT_MS);
    return super.sendCommand(...args);
  }
  override handleError(...[error, ttl, handlers]: Parameters<Cluster['handleError']>): void {
    const { maxRedirections } = handlers as { maxRedirections(error: Error): void };
    super.handleError(error, ttl, {
      ...handlers,
      maxRedirections: (cause: Error) =>
        maxRedirections(new AppError('unavailable', 'the cluster does not serve this slot at the moment', { cause })),
    });
  }
}
