/**
 * Tracks which connections serve a request, so that a shutdown closes the others at once. The server's own list of idle connections lacks
 * those that never sent anything, which browsers and clients open in advance: they would delay the shutdown.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

const SWEEP_INTERVAL_MS = 50;
/** Requests that are still not answered then are cut off; well within the time a process has to end. */
const REQUESTS_GRACE_MS = 15_000;
/** A connection that was just accepted may have its first request on the way. */
const UNUSED_GRACE_MS = 500;

export interface Connections {
  /** From now on, closes every connection as soon as it has nothing to do, until the server has ended. */
  drain(): void;
}

export function watchConnections(server: Server): Connections {
  /** Requests being served; null before the first one. */
  const busy = new Map<Socket, number | null>();
  server.on('connection', (socket: Socket) => {
    busy.set(socket, null);
    socket.once('close', () => busy.delete(socket));
  });
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    busy.set(socket, (busy.get(socket) ?? 0) + 1);
    response.once('close', () => {
      const before = busy.get(socket);
      if (before) busy.set(socket, before - 1);
    });
  });
  return {
    drain() {
      const startMs = performance.now();
      const sweep = setInterval(() => {
        const unusedToo = performance.now() - startMs > UNUSED_GRACE_MS;
        for (const [socket, requests] of busy) if (requests === 0 || (requests === null && unusedToo)) socket.destroySoon();
      }, SWEEP_INTERVAL_MS);
      const deadline = setTimeout(() => server.closeAllConnections(), REQUESTS_GRACE_MS);
      const stop = () => {
        clearInterval(sweep);
        clearTimeout(deadline);
      };
      server.once('close', stop);
      if (!server.listening) stop();
    },
  };
}
