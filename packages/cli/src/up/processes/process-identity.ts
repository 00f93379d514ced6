/**
 * Process identity: pid, start time and scope. The kernel reuses pids, so a pid alone is never trusted; the scope is the boot and the pid
 * namespace in which the pid is valid.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { processStart } from '@manyhands/infra';

export interface ProcessIdentity {
  pid: number;
  start: string;
  scope: string;
}

let scope: string | undefined;

/** The boot and pid namespace of this process. */
export function processScope(): string {
  scope ??= readScope();
  return scope;
}

function readScope(): string {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

/** Null when no such process runs; a zombie does not run. */
export function identify(pid: number): ProcessIdentity | null {
  const start = processStart(pid);
  return start === null ? null : { pid, start, scope: processScope() };
}

/** Whether that very process runs. A process of another scope cannot be looked up: false. */
export function isRunning(identity: ProcessIdentity): boolean {
  return identity.scope === processScope() && processStart(identity.pid) === identity.start;
}

/** Sends the signal only if the pid still belongs to that process. */
export function signalIdentity(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isRunning(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export function parseIdentity(value: unknown): ProcessIdentity | null {
  if (typeof value !== 'object' || value === null) return null;
  const { pid, start, scope: where } = value as Record<string, unknown>;
  const valid = typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 1 && typeof start === 'string' && typeof where === 'string';
  return valid ? { pid, start, scope: where } : null;
}
