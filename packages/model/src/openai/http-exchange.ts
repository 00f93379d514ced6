/**
 * One HTTP request with a streamed answer, through Node's own client: it tells when the connection stands and sets no limits of its own on
 * waiting (a local model may read a long prompt for minutes), so that the deadlines are the caller's alone.
 *
 * A kept connection that the server has closed meanwhile is no failure: the request goes out again on another one.
 */
import { Agent as HttpAgent, type IncomingMessage, request as plainRequest } from 'node:http';
import { Agent as HttpsAgent, request as tlsRequest } from 'node:https';

const DRAIN_TIMEOUT_MS = 1_000;

export interface Exchange {
  method: 'GET' | 'POST';
  url: string;
  headers: Record<string, string>;
  body?: string;
  signal: AbortSignal;
  onConnected?: () => void;
}

export interface HttpExchanges {
  /** Resolves with the head of the answer; rejects with an error of the connection. After an abort the request is gone. */
  send(exchange: Exchange): Promise<IncomingMessage>;
}

export function createHttpExchanges(): HttpExchanges {
  const plain = new HttpAgent({ keepAlive: true, noDelay: true });
  const tls = new HttpsAgent({ keepAlive: true, noDelay: true });

  function send(exchange: Exchange): Promise<IncomingMessage> {
    const { method, url, headers, body, signal, onConnected } = exchange;
    const secure = url.startsWith('https:');
    return new Promise((resolve, reject) => {
      const options = { method, headers: body === undefined ? headers : { ...headers, 'content-length': Buffer.byteLength(body) } };
      const req = secure ? tlsRequest(url, { ...options, agent: tls }) : plainRequest(url, { ...options, agent: plain });
      let answer: IncomingMessage | undefined;
      // Not by the client's own `signal` option: it destroys a connection that was just given back, with an error that nobody catches.
      const stop = () => {
        if (!answer) req.destroy();
        else if (!answer.readableEnded) answer.destroy();
      };
      signal.addEventListener('abort', stop, { once: true });
      req.once('close', () => signal.removeEventListener('abort', stop));
      if (signal.aborted) stop();
      req.on('socket', (socket) => {
        if (!socket.connecting) return onConnected?.();
        socket.once(secure ? 'secureConnect' : 'connect', () => onConnected?.());
      });
      req.on('response', (head) => {
        answer = head;
        // A reader that has left must not turn a late reset into an uncaught error.
        head.on('error', () => undefined);
        resolve(head);
      });
      req.on('error', (error: NodeJS.ErrnoException) => {
        const stale = req.reusedSocket && !answer && !signal.aborted && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        if (stale) send(exchange).then(resolve, reject);
        else reject(error);
      });
      req.end(body);
    });
  }
  return { send };
}

/** Reads to the end of a body that nobody needs, so that the connection can be used again; not for long. */
export function drain(body: IncomingMessage): void {
  const limit = setTimeout(() => body.destroy(), DRAIN_TIMEOUT_MS);
  limit.unref();
  body.once('close', () => clearTimeout(limit));
  body.resume();
}

/** The first `maxBytes` of a body as text. */
export async function readText(body: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= maxBytes) break;
  }
  return Buffer.concat(chunks).subarray(0, maxBytes).toString('utf8');
}
