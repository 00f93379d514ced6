/**
 * The listening socket that outlives every gateway: `up` binds it and hands the descriptor to its gateways, which listen and accept on it.
 * The kernel keeps taking connections while a gateway is restarted, so a dead gateway refuses nobody.
 *
 * Node has no public way to bind without accepting. This is the function its own `cluster` module binds with; everything that is not
 * public is in this file. The descriptor belongs to the handle, so the handle must be kept as long as the socket is wanted.
 */
import { lookup } from 'node:dns/promises';
import net, { type AddressInfo } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { UsageError } from '../../usage-error.ts';

interface BoundHandle {
  readonly fd: number;
  getsockname(address: Partial<AddressInfo>): number;
  close(): void;
}
type CreateServerHandle = (address: string, port: number, addressType: 4 | 6) => BoundHandle | number;

export interface ListenSocket {
  /** To be inherited by children, who call `listen({ fd })`. */
  readonly fd: number;
  readonly port: number;
  /** How a client on this machine reaches it. */
  readonly url: string;
  close(): void;
}

/** `port` 0 takes any free one. Throws a UsageError when the address is not to be had. */
export async function bindListenSocket(host: string, port: number): Promise<ListenSocket> {
  const { address, family } = await resolveHost(host);
  const create = (net as unknown as { _createServerHandle: CreateServerHandle })._createServerHandle;
  const handle = create(address, port, family);
  if (typeof handle === 'number') throw refusal(handle, host, port);
  const bound: Partial<AddressInfo> = {};
  // An address in use is told here, not by the bind.
  const error = handle.getsockname(bound);
  if (error !== 0 || bound.port === undefined) {
    handle.close();
    throw refusal(error, host, port);
  }
  return { fd: handle.fd, port: bound.port, url: `http://${reachable(address, family)}:${bound.port}`, close: () => handle.close() };
}

async function resolveHost(host: string): Promise<{ address: string; family: 4 | 6 }> {
  try {
    const { address, family } = await lookup(host);
    return { address, family: family === 6 ? 6 : 4 };
  } catch {
    throw new UsageError(`--host: ${host} is not an address of this machine. Use one such as 127.0.0.1, 0.0.0.0 or ::1.`);
  }
}

function refusal(error: number, host: string, port: number): UsageError {
  const name = getSystemErrorName(error);
  if (name === 'EADDRINUSE')
    return new UsageError(
      `--port: port ${port} on ${host} is in use by another program. End that program, or choose another port with --port N (0: any free one).`,
    );
  if (name === 'EACCES') return new UsageError(`--port: this user may not use port ${port}. Choose one above 1023.`);
  if (name === 'EADDRNOTAVAIL')
    return new UsageError(`--host: ${host} is not an address of this machine. Use one such as 127.0.0.1, 0.0.0.0 or ::1.`);
  return new UsageError(`--host, --port: ${host} port ${port} cannot be used: ${name}.`);
}

/** "Every address" is no address to connect to. */
function reachable(address: string, family: 4 | 6): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  if (family === 4) return address;
  return address === '::' ? '[::1]' : `[${address}]`;
}
