/**
 * Ends a shell with everything it started: its process group, its session (job control gives each job a group of its own) and its
 * descendants (a child may have made a session of its own). What detached itself completely ends with the sandbox.
 */
import { readdirSync, readFileSync } from 'node:fs';

interface ProcessEntry {
  pid: number;
  parent: number;
  session: number;
}

/** Field 2 of /proc/<pid>/stat is a name in parentheses that may hold anything; the fields after the last ')' are plain. */
function readEntry(pid: number): ProcessEntry | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return null;
    return { pid, parent: Number(fields[1]), session: Number(fields[3]) };
  } catch {
    return null;
  }
}

function familyOf(leader: number): number[] {
  const entries = readdirSync('/proc')
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map((name) => readEntry(Number(name)))
    .filter((entry) => entry !== null);
  const family = new Set([leader]);
  let before = -1;
  while (family.size !== before) {
    before = family.size;
    for (const entry of entries) if (entry.session === leader || family.has(entry.parent)) family.add(entry.pid);
  }
  family.delete(process.pid);
  return entries.filter((entry) => family.has(entry.pid)).map((entry) => entry.pid);
}

function kill(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal);
  } catch {
    // Already gone.
  }
}

/** A family that forks faster than it is read is read again, this many times at most; the sandbox's process limit bounds it too. */
const MAX_ROUNDS = 20;

/** Kills the family of the session leader `leader`. Its descendants are stopped first, so that none starts another meanwhile. */
export function killFamily(leader: number): void {
  const seen = new Set<number>();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const fresh = familyOf(leader).filter((pid) => !seen.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) {
      seen.add(pid);
      kill(pid, 'SIGSTOP');
    }
  }
  kill(-leader, 'SIGKILL');
  for (const pid of seen) kill(pid, 'SIGKILL');
}
