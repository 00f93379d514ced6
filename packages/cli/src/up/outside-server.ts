/** A Redis or NATS that the user brings: whether anything answers there is found out before everything else waits for it. */
import { connect } from 'node:net';
import { UsageError } from '../usage-error.ts';

const ANSWER_MS = 5_000;
const PORT = { REDIS_URL: 6379, NATS_URL: 4222 } as const;

/** Throws unless a connection can be made to one of the addresses (several are separated by commas). Never tells user or password. */
export async function checkOutsideServer(variable: keyof typeof PORT, value: string): Promise<void> {
  const problems: string[] = [];
  for (const part of value.split(',')) {
    const { host, port } = addressOf(variable, part.trim());
    const problem = await tryConnect(host, port);
    if (problem === null) return;
    problems.push(`nothing answers at ${host}:${port} (${problem})`);
  }
  throw new UsageError(
    `${variable}: ${problems.join('; ')}. Start that server, correct the address, or leave ${variable} out: then one is started here.`,
  );
}

function addressOf(variable: keyof typeof PORT, text: string): { host: string; port: number } {
  const example = variable === 'REDIS_URL' ? 'redis://127.0.0.1:6379' : 'nats://127.0.0.1:4222';
  const url = URL.canParse(text) ? new URL(text) : null;
  // Without slashes "localhost:4222" is a URL, too: its protocol is then "localhost:".
  if (!url?.hostname) throw new UsageError(`${variable}: give a URL such as ${example}.`);
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: url.port === '' ? PORT[variable] : Number(url.port) };
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
