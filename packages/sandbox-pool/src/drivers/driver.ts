/**
 * The driver port: how sandboxes come and go on this host. A driver knows processes and mounts, nothing of sessions, leases or NATS.
 * `describeSandboxDriver` (./testing) is the suite that every driver must pass.
 *
 * What a driver promises:
 * - A sandbox outlives the pool process, kill -9 included, and can be adopted by the next one.
 * - Nothing leads from a sandbox to the network, the host, another sandbox or the pool's directories (I11); its only ways out are the sockets
 *   in its own directory.
 * - `destroy` leaves no process, mount, limit group or file, and may be repeated.
 */

import type { SandboxDirectory } from '../files/sandbox-directory.ts';
import type { DaemonChannel } from './daemon-channel.ts';

export interface SandboxLimits {
  memoryBytes: number;
  /** Processes and threads. */
  pids: number;
  /** Size of one file. */
  fileBytes: number;
  /** Size of /tmp, which is memory. */
  tmpBytes: number;
}

export interface RunningSandbox {
  directory: SandboxDirectory;
  /** Connected, and has answered a ping. */
  channel: DaemonChannel;
}

export interface SandboxDriver {
  readonly name: string;
  /** Proves that sandboxes can be made here. Throws `configuration` with the remedy if not. */
  check(): Promise<void>;
  /** Makes and starts a sandbox in a directory that does not exist yet. On failure nothing is left. */
  create(directory: SandboxDirectory, limits: SandboxLimits): Promise<RunningSandbox>;
  /** Takes over a sandbox that an earlier pool process made; null if it is not alive, whatever the reason. */
  adopt(directory: SandboxDirectory): Promise<RunningSandbox | null>;
  /** Whether the processes of the sandbox are there, by recorded identity, never by pid alone. */
  isAlive(directory: SandboxDirectory): Promise<boolean>;
  /** Ends all processes and removes everything, the directory included. Safe to repeat, and on a directory that was never finished. */
  destroy(directory: SandboxDirectory): Promise<void>;
  /** Ids of sandboxes of which something is left outside of a directory (processes, limit groups). */
  listStrays(): Promise<string[]>;
  /** Removes what the driver itself made beside sandboxes. They must be gone. */
  close(): Promise<void>;
}
