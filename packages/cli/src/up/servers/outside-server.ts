/** Checks a Redis or NATS that the user brings: whether it accepts connections, before any process waits for it. */
import { connect } from 'node:net';
import { UsageError } from '../../usage-error.ts';

const ANSWER_MS = 5_000;
const PORT = { REDIS_URL: 6379, NATS_URL: 4222 } as const;
const SENTINEL_PORT = 26_379;
/** Kind, addresses, and the first part of the path: the name of the master. */
const SEVERAL = /^redis\+(cluster|sentinel):\/\/(?:[^/?]*@)?([^/?@]+)(?:\/([^/?]*))?/;
const FORMS = {
  REDIS_URL: 'redis://127.0.0.1:6379, redis+cluster://127.0.0.1:7000,127.0.0.1:7001 or redis+sentinel://127.0.0.1:26379/mymaster',
  NATS_URL: 'nats://127.0.0.1:4222',
} as const;

/** Throws unless a connection can be made to one of the addresses (several are separated by commas). Never tells user or password. */
export async function checkOutsideServer(variable: keyof typeof PORT, value: string): Promise<void> {
  const problems: string[] = [];
  for (const { host, port } of addressesOf(variable, value)) {
    const problem = await tryConnect(host, port);
    if (problem === null) return;
    problems.push(`nothing answers at ${host}:${port} (${problem})`);
  }
  throw new UsageError(
    `${variable}: ${problems.join('; ')}. Start that server, correct the address, or leave ${variable} out: then one is started here.`,
  );
}

interface Address {
  host: string;
  port: number;
}

/** Nodes of a cluster and sentinels are a list behind one scheme; services check the rest of such a URL. */
function addressesOf(variable: keyof typeof PORT, value: string): Address[] {
  const [, kind, hosts = '', masterName = ''] = variable === 'REDIS_URL' ? (SEVERAL.exec(value) ?? []) : [];
  if (kind === undefined) return value.split(',').map((part) => addressOf(variable, part.trim(), PORT[variable]));
  if (kind === 'sentinel' && masterName === '')
    throw new UsageError(
      `${variable}: the name of the master is missing; write it behind the addresses: redis+sentinel://host:port/<master name>.`,
    );
  return hosts.split(',').map((host) => addressOf(variable, `redis://${host}`, kind === 'sentinel' ? SENTINEL_PORT : PORT[variable]));
}

function addressOf(variable: keyof typeof PORT, text: string, defaultPort: number): Address {
  const url = URL.canParse(text) ? new URL(text) : null;
  // Without slashes "localhost:4222" is a URL, too: its protocol is then "localhost:".
  if (!url?.hostname) throw new UsageError(`${variable}: give a URL such as ${FORMS[variable]}.`);
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: url.port === '' ? defaultPort : Number(url.port) };
}

/** Null when it worked, else why it did not. */
function tryConnect(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (problem: string | null) => {
      socket.destroy();
      resolve(problem);
    };
    socket.setTimeout(ANSWER_MS, () => finish(`no connection within ${ANSWER_MS / 1000} s`));
    socket.once('connect', () => finish(null));
    socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  });
}
