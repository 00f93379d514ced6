/** The three kinds of Redis that a URL can name, each with the faults that it has to be survived. */
import { startTestRedis, startTestRedisCluster, startTestSentinel, type TestServer, until } from '@manyhands/test-kit';

export const KINDS = ['one server', 'sentinel', 'cluster'] as const;
export type Kind = (typeof KINDS)[number];

export interface TestPlace extends AsyncDisposable {
  readonly url: string;
  readonly servers: readonly TestServer[];
  /** The server that takes writes of `key` now. */
  master(key: string): Promise<TestServer>;
  /**
   * `harm` done to the master of `key`; `meanwhile` when another one took over, where one can. Resolves when what was harmed runs again.
   */
  failover(key: string, harm: (master: TestServer) => Promise<void> | void, meanwhile?: () => Promise<void>): Promise<void>;
}

/** Clusters and sentinels have a replica of each master. */
export async function startPlace(kind: Kind, password?: string): Promise<TestPlace> {
  const options = password === undefined ? {} : { password };
  if (kind === 'one server') {
    const server = await startTestRedis(options);
    return {
      url: server.url,
      servers: [server],
      master: async () => server,
      async failover(_key, harm) {
        await harm(server);
        server.resume();
        await server.restart();
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  }
  const started = kind === 'sentinel' ? await startTestSentinel(options) : await startTestRedisCluster({ ...options, replicas: true });
  const master = (key: string) => ('masterOf' in started ? started.masterOf(key) : started.master());
  return {
    url: started.url,
    servers: 'nodes' in started ? started.nodes : started.servers,
    master,
    async failover(key, harm, meanwhile) {
      const old = await master(key);
      await harm(old);
      await until(async () => (await master(key)) !== old, { what: 'another server took over', timeoutMs: 25_000 });
      await meanwhile?.();
      old.resume();
      await old.restart();
    },
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  };
}
