/**
 * The sandbox's side of the way out: TCP on 127.0.0.1 to the egress socket, byte for byte. HTTP_PROXY points here. The socket may open a moment
 * after the sandbox was leased, or be away while egress restarts: a client is held that long. Then it gets a 502 that says so.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

const NO_WAY_OUT = 'This sandbox has no network way out right now: the egress proxy cannot be reached. Try again in a moment.\n';
const REFUSAL = [
  'HTTP/1.1 502 Bad Gateway',
  'Content-Type: text/plain; charset=utf-8',
  `Content-Length: ${Buffer.byteLength(NO_WAY_OUT)}`,
  'Connection: close',
  '',
  NO_WAY_OUT,
].join('\r\n');
/** How long a client waits for the egress socket, and how often it is tried. */
const EGRESS_PATIENCE_MS = 2_000;
const EGRESS_RETRY_MS = 20;
/** A refused client that does not close is closed after this. */
const REFUSAL_PATIENCE_MS = 5_000;

/** Resolves to null when the port cannot be had: everything but the network still works. */
export function startForwarder(port: number, egressSocket: string): Promise<Server | null> {
  return new Promise((resolve) => {
    // Half-closed connections stay open the other way, as in TCP.
    const server = createServer({ allowHalfOpen: true }, (client) => forward(client, egressSocket));
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => {
      server.removeAllListeners('error');
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

function forward(client: Socket, egressSocket: string): void {
  const deadlineMs = performance.now() + EGRESS_PATIENCE_MS;
  let gone = false;
  client.on('error', () => undefined);
  client.on('close', () => {
    gone = true;
  });
  const attempt = () => {
    if (gone) return;
    const egress = connect({ path: egressSocket, allowHalfOpen: true });
    egress.once('connect', () => join(client, egress));
    egress.once('error', () => {
      if (performance.now() < deadlineMs) setTimeout(attempt, EGRESS_RETRY_MS);
      else if (!gone) refuse(client);
    });
  };
  attempt();
}

function join(client: Socket, egress: Socket): void {
  egress.removeAllListeners('error');
  egress.on('error', () => client.destroy());
  client.on('close', () => egress.destroy());
  egress.on('close', () => {
    if (!client.writableFinished) client.end();
  });
  if (client.destroyed) {
    egress.destroy();
    return;
  }
  client.pipe(egress);
  egress.pipe(client);
}

function refuse(client: Socket): void {
  // What the client sent is read: closing with bytes unread would reset the connection before the answer arrives.
  client.resume();
  client.end(REFUSAL);
  const timer = setTimeout(() => client.destroy(), REFUSAL_PATIENCE_MS);
  client.once('close', () => clearTimeout(timer));
  client.once('end', () => client.destroySoon());
}
