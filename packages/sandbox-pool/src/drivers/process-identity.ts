/**
 * Who a process is: its pid together with the tick it started at and the boot it belongs to. A pid alone is never trusted, since the kernel
 * gives it to somebody else (DESIGN 8).
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { z } from 'zod';

export const ProcessIdentity = z.object({ pid: z.int().min(2), start_ticks: z.string(), boot_id: z.string() });
export type ProcessIdentity = z.infer<typeof ProcessIdentity>;

let bootId: string | undefined;
export function currentBootId(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return bootId;
}

/** Pid, state and start tick out of a /proc/PID/stat line; the name in it may hold spaces and parentheses. */
export function parseStat(line: string): { pid: number; state: string; startTicks: string } | null {
  const close = line.lastIndexOf(')');
  const rest = line.slice(close + 2).split(' ');
  const pid = Number.parseInt(line, 10);
  const state = rest[0];
  const startTicks = rest[19];
  return close > 0 && Number.isInteger(pid) && state && startTicks ? { pid, state, startTicks: startTicks.trim() } : null;
}

export function identifyProcess(pid: number): ProcessIdentity | null {
  try {
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    // A zombie holds its pid but does nothing any more.
    if (!stat || stat.state === 'Z' || stat.state === 'X') return null;
    return { pid, start_ticks: stat.startTicks, boot_id: currentBootId() };
  } catch {
    return null;
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  return now !== null && now.start_ticks === identity.start_ticks && now.boot_id === identity.boot_id;
}

/** Sends the signal if the process is still the one meant. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals, group = false): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(group ? -identity.pid : identity.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Pids of all processes, newest last. */
export function allPids(): number[] {
  return readdirSync('/proc').flatMap((name) => (/^[0-9]+$/.test(name) ? [Number(name)] : []));
}

/** Pids of the processes that run under a user id. */
export function pidsOfUser(uid: number): number[] {
  return allPids().filter((pid) => {
    try {
      return statSync(`/proc/${pid}`).uid === uid && identifyProcess(pid) !== null;
    } catch {
      return false;
    }
  });
}

export function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
