/**
 * From a target to checked addresses and a connection.
 *
 * A name is resolved once, every address of the answer is checked, and the connection goes to an address of that very answer: a name
 * that changes its mind between check and connection gains nothing (DNS rebinding). One refused address refuses the name.
 */
import { Resolver } from 'node:dns/promises';
import { connect, type Socket } from 'node:net';
import type { ReachPolicy } from './reach-policy.ts';
import { type Target, targetText } from './target.ts';

const LOOKUP_TIMEOUT_MS = 3_000;
const LOOKUP_TRIES = 2;
const CONNECT_TIMEOUT_MS = 10_000;
/** Of a name's addresses, how many are tried. */
const ADDRESSES_TRIED = 3;

/** Addresses of a name, IPv4 first; empty if there is none. Rejects if the name servers do not answer. */
export type Resolve = (name: string) => Promise<string[]>;

/** `blocked`: a rule forbids it. `unreachable`: no such name, no answer, refused connection. */
export class ReachError extends Error {
  readonly kind: 'blocked' | 'unreachable';
  constructor(kind: 'blocked' | 'unreachable', message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface Connector {
  /** The checked addresses of a target. Throws a ReachError. */
  addresses(target: Target): Promise<string[]>;
  /** A connection to one of them. Throws a ReachError. */
  connect(target: Target, signal?: AbortSignal): Promise<Socket>;
}

export function createConnector(options: { policy: ReachPolicy; resolve?: Resolve; connectTimeoutMs?: number }): Connector {
  const { policy, resolve = systemResolve(), connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;

  async function addresses(target: Target): Promise<string[]> {
    if (!policy.ports.has(target.port))
      throw new ReachError('blocked', `port ${target.port} is closed; only ${[...policy.ports].join(' and ')} are open`);
    const found = target.isAddress ? [target.host] : await resolve(target.host).catch(() => null);
    if (found === null) throw new ReachError('unreachable', 'the name servers did not answer');
    if (found.length === 0) throw new ReachError('unreachable', 'the host name is not known');
    for (const address of found) {
      const refusal = policy.refusal(address);
      // The address itself is not told: what an internal name resolves to is no business of a sandbox.
      if (refusal !== null)
        throw new ReachError('blocked', target.isAddress ? refusal : `the name leads to a forbidden address: ${refusal}`);
    }
    return found;
  }

  return {
    addresses,
    async connect(target, signal) {
      for (const address of (await addresses(target)).slice(0, ADDRESSES_TRIED)) {
        signal?.throwIfAborted();
        const socket = await dial(address, target.port, connectTimeoutMs, signal);
        if (socket) return socket;
      }
      throw new ReachError('unreachable', `no connection to ${targetText(target)}`);
    },
  };
}

/** A connection, or null for any failure: what exactly failed is not told on. */
function dial(host: string, port: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const end = (result: Socket | null) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', fail);
      socket.off('error', fail);
      if (result === null) {
        // An error that comes later has nobody left to tell.
        socket.on('error', () => {});
        socket.destroy();
      }
      resolve(result);
    };
    const fail = () => end(null);
    const timer = setTimeout(fail, timeoutMs);
    socket.once('error', fail);
    socket.once('connect', () => end(socket));
    if (signal?.aborted) fail();
    else signal?.addEventListener('abort', fail, { once: true });
  });
}

/** Asks the name servers themselves: the host's own names (its hosts file) are not for sandboxes, and no thread of a pool is held. */
export function systemResolve(): Resolve {
  const resolver = new Resolver({ timeout: LOOKUP_TIMEOUT_MS, tries: LOOKUP_TRIES });
  return async (name) => {
    const [v4, v6] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    if (v4.status === 'fulfilled' || v6.status === 'fulfilled')
      return [v4, v6].flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const code = (v4.reason as NodeJS.ErrnoException).code;
    if (code === 'ENOTFOUND' || code === 'ENODATA' || code === 'EBADNAME') return [];
    throw v4.reason;
  };
}
