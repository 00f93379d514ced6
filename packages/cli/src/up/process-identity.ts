/**
 * Who a process is. A pid alone is never trusted, since the kernel gives it to somebody else: it counts together with the start time and
 * the scope, the place in which that pid means anything (this boot, this pid namespace).
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

/** Where pids of this process mean anything. */
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

/** Whether that very process runs. Of another scope nothing can be known: false. */
export function isRunning(identity: ProcessIdentity): boolean {
  return identity.scope === processScope() && processStart(identity.pid) === identity.start;
}

/** Sends the signal to that very process, or to nobody. */
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
