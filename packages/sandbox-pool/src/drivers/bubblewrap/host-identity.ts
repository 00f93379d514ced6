/**
 * As whom sandboxes run on the host (DESIGN 6). A pool with root's powers gives each sandbox a user id of its own; any other pool runs them as
 * itself, behind a user namespace.
 */
import { readFileSync } from 'node:fs';
import { pidsOfUser } from '../process-identity.ts';

/** Ids far from people, services and the usual subordinate ranges, and small enough for every tar format. */
const PREFERRED_FIRST_UID = 2_000_000;
const FALLBACK_FIRST_UID = 30_000;
const UID_COUNT = 30_000;
/** CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, SYS_ADMIN: what making a sandbox without a user namespace takes. */
const NEEDED_CAPABILITIES = [0, 1, 5, 6, 7, 8, 12, 21];

export interface UidRange {
  first: number;
  count: number;
}
export type HostIdentity = { kind: 'own-uid'; range: UidRange } | { kind: 'same-user' };

/** Which way works for this process, from its user id, its capabilities and the ids its user namespace can name. */
export function detectHostIdentity(): HostIdentity {
  if (process.geteuid?.() !== 0) return { kind: 'same-user' };
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  if (NEEDED_CAPABILITIES.some((bit) => (effective & (1n << BigInt(bit))) === 0n)) return { kind: 'same-user' };
  const range = usableRange(readFileSync('/proc/self/uid_map', 'utf8'));
  return range ? { kind: 'own-uid', range } : { kind: 'same-user' };
}

/** The range of user ids to use, given a /proc/PID/uid_map; null if it holds none. */
export function usableRange(uidMap: string): UidRange | null {
  const mapped = uidMap
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  for (const first of [PREFERRED_FIRST_UID, FALLBACK_FIRST_UID])
    if (mapped.some(([inside = 0, , count = 0]) => inside <= first && first + UID_COUNT <= inside + count))
      return { first, count: UID_COUNT };
  return null;
}

const hasProcesses = (uid: number) => pidsOfUser(uid).length > 0;

/**
 * Picks ids that no process on this host runs under and that were not given out by this picker. Random, so that pools which share a host do
 * not meet.
 */
export function createUidPicker(range: UidRange, random: () => number = Math.random, isInUse: (uid: number) => boolean = hasProcesses) {
  const taken = new Set<number>();
  return {
    take(): number {
      for (;;) {
        const uid = range.first + Math.floor(random() * range.count);
        if (taken.has(uid) || isInUse(uid)) continue;
        taken.add(uid);
        return uid;
      }
    },
    /** Marks an id of an adopted sandbox. */
    keep: (uid: number) => void taken.add(uid),
    free: (uid: number) => void taken.delete(uid),
  };
}
