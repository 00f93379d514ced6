/**
 * Processes left behind by an `up` that was killed. They end by themselves; before the next start opens the same data, it stops every
 * recorded process that still runs (same pid and start time) and waits for its end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { readIfPresent, writeByRename } from '../../durable-file.ts';
import { isRunning, type ProcessIdentity, parseIdentity, signalIdentity } from './process-identity.ts';

/** The pool may be saving workspaces; its own bound is 25 s. */
const GRACE_MS = 30_000;
const KILL_WAIT_MS = 10_000;
const POLL_MS = 50;
const TELL_MS = 1_000;

export interface RecordedProcess extends ProcessIdentity {
  name: string;
}

export function recordProcesses(file: string, processes: readonly RecordedProcess[]): void {
  writeByRename(file, `${JSON.stringify(processes)}\n`);
}

/** Those of the record that still run. A damaged record holds nothing. */
export function readLeftovers(file: string): RecordedProcess[] {
  let entries: unknown;
  try {
    entries = JSON.parse(readIfPresent(file) ?? '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(entries)) return [];
  return entries.flatMap((entry: unknown) => {
    const identity = parseIdentity(entry);
    const name = (entry as { name?: unknown } | null)?.name;
    return identity && identity.pid !== process.pid && typeof name === 'string' && isRunning(identity) ? [{ ...identity, name }] : [];
  });
}

/** Ends what the record names and waits until it is gone. Throws when something cannot be ended. */
export async function endLeftovers(file: string, log: (line: string) => void, graceMs = GRACE_MS): Promise<void> {
  const leftovers = readLeftovers(file);
  const isEngine = ({ name }: RecordedProcess) => /^(docker|containerd)-/.test(name);
  const others = leftovers.filter((leftover) => !isEngine(leftover));
  await endProcesses(others, log, graceMs);
  // Only now: the pool removes its containers through the engine.
  await endProcesses(leftovers.filter(isEngine), log, graceMs);
}

async function endProcesses(leftovers: readonly RecordedProcess[], log: (line: string) => void, graceMs: number): Promise<void> {
  if (leftovers.length === 0) return;
  for (const leftover of leftovers) {
    signalIdentity(leftover, 'SIGTERM');
    signalIdentity(leftover, 'SIGCONT');
  }
  const startedMs = performance.now();
  let told = false;
  for (;;) {
    const running = leftovers.filter(isRunning);
    if (running.length === 0) return;
    const waitedMs = performance.now() - startedMs;
    if (!told && waitedMs > TELL_MS) {
      told = true;
      log(`waiting for processes of an earlier run to end: ${running.map(({ name, pid }) => `${name} (${pid})`).join(', ')} …`);
    }
    if (waitedMs > graceMs) for (const leftover of running) signalIdentity(leftover, 'SIGKILL');
    if (waitedMs > graceMs + KILL_WAIT_MS)
      throw new Error(`Process ${running[0]?.pid} (${running[0]?.name}) of an earlier run does not end. End it, then start again.`);
    await sleep(POLL_MS);
  }
}
