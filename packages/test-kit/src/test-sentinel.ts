/**
 * A private master with its replica, and sentinels that make the replica the master when the master is gone. A master that is killed and
 * started again becomes the replica of the new one.
 */
import { createRedis } from '@manyhands/base';
import { startRedis, startSentinel } from '@manyhands/infra';
import { silentLogger } from './silent-logger.ts';
import { announce, endAll, REPLICATION, startAll, startTestServer, type TestServer } from './test-server.ts';
import { until } from './until.ts';

const NAME = 'manyhands';
const DOWN_AFTER_MS = 1_000;
const FAILOVER_TIMEOUT_MS = 5_000;
const FORMING_MS = 30_000;

export interface TestSentinelOptions {
  /** One, if not given. */
  sentinels?: 1 | 2 | 3;
  /** Of the servers and of the sentinels. */
  password?: string;
}

export interface TestSentinel extends AsyncDisposable {
  readonly url: string;
  /** The one that began as master, then its replica. */
  readonly servers: readonly TestServer[];
  readonly sentinels: readonly TestServer[];
  /** The server that the sentinels name as master now. */
  master(): Promise<TestServer>;
  /** kill -9 of the server that is master now, which is returned. */
  killMaster(): Promise<TestServer>;
}

/** Resolves when the replica has all data and every sentinel knows it. */
export async function startTestSentinel({ sentinels: count = 1, password }: TestSentinelOptions = {}): Promise<TestSentinel> {
  const secret = password === undefined ? {} : { password };
  const started: TestServer[] = [];
  const sentinels: TestServer[] = [];
  /** Its configuration is not on disk, so the role that the sentinels gave it is given again at each start. */
  const startServer = async (masterAtFirst?: TestServer) => {
    const server = await startTestServer('redis', async (dir, port) => {
      const [sentinel] = sentinels;
      const master = sentinel ? await masterPort(sentinel) : masterAtFirst?.port;
      const settings = [
        ...REPLICATION,
        ...(password === undefined ? [] : [`masterauth ${password}`]),
        ...(master === undefined || master === port ? [] : [`replicaof 127.0.0.1 ${master}`]),
      ];
      return startRedis({ ...secret, appendfsync: 'always', settings, dir, log: announce, ...(port === undefined ? {} : { port }) });
    });
    started.push(server);
    return server;
  };
  try {
    const first = await startServer();
    const replica = await startServer(first);
    const watch = { name: NAME, masterPort: first.port, quorum: Math.floor(count / 2) + 1 };
    const times = { downAfterMs: DOWN_AFTER_MS, failoverTimeoutMs: FAILOVER_TIMEOUT_MS };
    const recipes = Array.from(
      { length: count },
      () => () =>
        startTestServer('sentinel', (dir, port) =>
          startSentinel({ ...secret, ...watch, ...times, dir, log: announce, ...(port === undefined ? {} : { port }) }),
        ),
    );
    sentinels.push(...(await startAll(recipes)));
    started.push(...sentinels);
    await until(() => isFormed(replica, sentinels), { what: 'the sentinels know the replica', timeoutMs: FORMING_MS });

    const servers = [first, replica];
    const master = () =>
      until(
        async () => {
          const ports = new Set(await Promise.all(sentinels.map(masterPort)));
          return ports.size === 1 ? servers.find(({ port }) => ports.has(port)) : undefined;
        },
        { what: 'the sentinels name one master' },
      );
    const addresses = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',');
    const [userinfo, query] = password === undefined ? ['', ''] : [`:${password}@`, `?sentinel_password=${password}`];
    return {
      url: `redis+sentinel://${userinfo}${addresses}/${NAME}${query}`,
      servers,
      sentinels,
      master,
      async killMaster() {
        const killed = await master();
        await killed.kill();
        return killed;
      },
      [Symbol.asyncDispose]: () => endAll(started),
    };
  } catch (error) {
    await endAll(started);
    throw error;
  }
}

async function isFormed(replica: TestServer, sentinels: readonly TestServer[]): Promise<boolean> {
  const link = await ask(replica, 'INFO', 'replication');
  if (!/^master_link_status:up\r?$/m.test(String(link))) return false;
  const known = await Promise.all(
    sentinels.map(async (sentinel) => {
      const replicas = (await ask(sentinel, 'SENTINEL', 'REPLICAS', NAME)) as string[][];
      const others = (await ask(sentinel, 'SENTINEL', 'SENTINELS', NAME)) as string[][];
      const healthy = replicas.filter((facts) => facts[facts.indexOf('flags') + 1] === 'slave');
      return healthy.length === 1 && others.length === sentinels.length - 1;
    }),
  );
  return known.every(Boolean);
}

async function masterPort(sentinel: TestServer): Promise<number> {
  const [, port] = (await ask(sentinel, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) as string[];
  return Number(port);
}

async function ask({ url }: TestServer, command: string, ...args: string[]): Promise<unknown> {
  const client = createRedis(url, 'finite', silentLogger, 'test-kit');
  try {
    return await client.call(command, ...args);
  } finally {
    client.disconnect();
  }
}
