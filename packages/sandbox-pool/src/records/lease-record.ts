/**
 * The lease of a sandbox as it is on disk (`lease.json`, DESIGN 6): the same for every driver, and what a pool rebuilds itself from.
 *
 * `preparing` means that the workspace is being filled and the lease was not given yet: such a sandbox is never used again after a crash,
 * since it may hold half of a session's files (I11). No file means that the sandbox never belonged to anybody. It is not synced to disk: a
 * lease has to outlive the pool's process, and a power cut ends the sandbox with it (the next boot adopts none).
 */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { SandboxDirectory } from '../files/sandbox-directory.ts';
import { storedFile } from './durable-file.ts';

export const LeaseRecord = z.object({
  session_id: z.string(),
  workspace_id: z.string(),
  generation: z.int().min(1),
  /** Whether it came from the warm pool; answered again to who asks again. */
  warm: z.boolean(),
  /** Its workspace was filled from a snapshot. */
  restored: z.boolean().optional(),
  /** `parked` is an idle sandbox; this value and `parked_at_ms` are a stored format and keep their names. */
  state: z.enum(['preparing', 'leased', 'parked']),
  /** Where the workspace is saved when the sandbox is evicted. */
  snapshot_key: z.string(),
  /** Milliseconds since the epoch. */
  expires_at_ms: z.number(),
  parked_at_ms: z.number().nullable(),
  /** No use count above this was ever told; 0 if nothing was ever done in it. Leases of 0.1.0 do not say. */
  uses_up_to: z.int().min(0).optional(),
});
export type LeaseRecord = z.infer<typeof LeaseRecord>;

export const LEASE_FILE = storedFile(LeaseRecord, 1);

export function writeLease(directory: SandboxDirectory, record: LeaseRecord): Promise<void> {
  return LEASE_FILE.replace(directory.leaseFile, record);
}
export function readLease(directory: SandboxDirectory): Promise<LeaseRecord | null> {
  return LEASE_FILE.read(directory.leaseFile);
}
/** Whether it belongs, or belonged, to somebody, also if the file does not say to whom. */
export function hasLease(directory: SandboxDirectory): boolean {
  return existsSync(directory.leaseFile);
}
