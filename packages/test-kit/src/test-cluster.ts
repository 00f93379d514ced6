/**
 * A private Redis Cluster: three masters on 127.0.0.1 that share all slots, with a replica each where a test is about fail-over. A node that
 * is killed and started again finds its place by the file it keeps in its directory.
 */
import { createRedis, type Redis, withinMs } from '@manyhands/base';
import { freePort } from '@manyhands/infra';
import { silentLogger } from './silent-logger.ts';
import { endAll, REPLICATION, startAll, startTestRedis, type TestServer } from './test-server.ts';
import { until } from './until.ts';

const MASTERS = 3;
const SLOTS = 16_384;
/** After which a silent node counts as gone. Less than this and a loaded machine loses nodes by itself. */
const NODE_TIMEOUT_MS = 2_000;
const FORMING_MS = 30_000;
/** Of a node that is asked for what it sees; one that is paused does not answer. */
const ANSWER_MS = 500;

export interface TestClusterOptions {
  /** One for each master, none if not given. */
  replicas?: boolean;
  password?: string;
}

export interface TestRedisCluster extends AsyncDisposable {
  /** Names the masters that it began with. */
  readonly url: string;
  /** The masters in the order of their slots, then the replicas in the same order. */
  readonly nodes: readonly TestServer[];
  /** The node that serves the slot of `key` now, as the other nodes see it. */
  masterOf(key: string): Promise<TestServer>;
}

/** Resolves when every node serves, and knows all others. */
export async function startTestRedisCluster({ replicas = false, password }: TestClusterOptions = {}): Promise<TestRedisCluster> {
  const nodes = await startAll(Array.from({ length: replicas ? 2 * MASTERS : MASTERS }, () => () => startNode(password)));
  const clients = nodes.map(({ url }) => createRedis(url, 'patient', silentLogger, 'test-kit'));
  try {
    await form(nodes, clients);
  } catch (error) {
    await endAll(nodes);
    throw error;
  } finally {
    for (const client of clients) client.disconnect();
  }
  const addresses = nodes.slice(0, MASTERS).map(({ port }) => `127.0.0.1:${port}`);
  return {
    url: `redis+cluster://${password === undefined ? '' : `:${password}@`}${addresses.join(',')}`,
    nodes,
    masterOf: (key) =>
      until(
        async () => {
          const port = await portOfMaster(nodes, key);
          return nodes.find((node) => node.port === port);
        },
        { what: `one node serves ${key}` },
      ),
    [Symbol.asyncDispose]: () => endAll(nodes),
  };
}

async function startNode(password: string | undefined): Promise<TestServer> {
  return startTestRedis({
    ...(password === undefined ? {} : { password }),
    settings: [
      'cluster-enabled yes',
      `cluster-port ${await freePort()}`,
      `cluster-node-timeout ${NODE_TIMEOUT_MS}`,
      // Its replica takes over however long it had no word from it.
      'cluster-replica-validity-factor 0',
      ...REPLICATION,
      // A replica is shown once it got anything from its master.
      'repl-ping-replica-period 1',
      ...(password === undefined ? [] : [`masterauth ${password}`]),
    ],
  });
}

async function form(nodes: readonly TestServer[], clients: readonly Redis[]): Promise<void> {
  await Promise.all(
    clients.map(async (client, i) => {
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1));
      if (i >= MASTERS) return;
      const first = Math.floor((i * SLOTS) / MASTERS);
      const last = Math.floor(((i + 1) * SLOTS) / MASTERS) - 1;
      await client.call('CLUSTER', 'ADDSLOTSRANGE', String(first), String(last));
    }),
  );
  const [first, ...others] = clients;
  const busPorts = await Promise.all(clients.map(busPort));
  for (const [i, { port }] of nodes.entries())
    if (i > 0) await first?.call('CLUSTER', 'MEET', '127.0.0.1', String(port), String(busPorts[i]));
  await until(
    async () => (await Promise.all(clients.map(info))).every((facts) => facts.get('cluster_known_nodes') === String(nodes.length)),
    {
      what: 'all nodes of the cluster know each other',
      timeoutMs: FORMING_MS,
    },
  );
  const replicas = others.slice(MASTERS - 1);
  for (const [i, replica] of replicas.entries()) {
    const master = await clients[i]?.call('CLUSTER', 'MYID');
    await replica.call('CLUSTER', 'REPLICATE', String(master));
  }
  await until(
    async () => {
      const facts = await Promise.all(clients.map(info));
      const links = await Promise.all(replicas.map((replica) => replica.info('replication')));
      const shown = await Promise.all(clients.map(shards));
      return (
        facts.every((of) => of.get('cluster_state') === 'ok') &&
        links.every((text) => /^master_link_status:up\r?$/m.test(text)) &&
        shown.every((of) => of.length === MASTERS && of.every(({ members }) => members === nodes.length / MASTERS))
      );
    },
    { what: 'all slots of the cluster are served', timeoutMs: FORMING_MS },
  );
}

async function info(client: Redis): Promise<Map<string, string>> {
  const text = String(await client.call('CLUSTER', 'INFO'));
  return new Map(text.split(/\r?\n/).map((line) => line.split(':', 2) as [string, string]));
}

async function busPort(client: Redis): Promise<string> {
  const [, port] = (await client.call('CONFIG', 'GET', 'cluster-port')) as string[];
  return String(port);
}

type SlotRange = [first: number, last: number, ...members: [host: string, port: number][]];
async function shards(client: Redis): Promise<{ first: number; last: number; port: number; members: number }[]> {
  const ranges = (await client.call('CLUSTER', 'SLOTS')) as SlotRange[];
  return ranges.map(([first, last, ...members]) => ({ first, last, port: members[0]?.[1] ?? 0, members: members.length }));
}

/** Asked of every node that answers; undefined until they agree. */
async function portOfMaster(nodes: readonly TestServer[], key: string): Promise<number | undefined> {
  const answers = await Promise.all(
    nodes.map(async ({ url }) => {
      const client = createRedis(url, 'finite', silentLogger, 'test-kit');
      try {
        const asked = [info(client), client.call('CLUSTER', 'KEYSLOT', key), shards(client)] as const;
        const [facts, slot, ranges] = await withinMs(Promise.all(asked), ANSWER_MS);
        if (facts.get('cluster_state') !== 'ok') return undefined;
        return ranges.find(({ first, last }) => first <= Number(slot) && Number(slot) <= last)?.port;
      } catch {
        return null;
      } finally {
        client.disconnect();
      }
    }),
  );
  const said = new Set(answers.filter((port) => port !== null));
  return said.size === 1 ? [...said][0] : undefined;
}
