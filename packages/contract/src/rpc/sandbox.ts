/**
 * NATS messages between harness and sandbox pool (DESIGN 3.4, 3.6, 6). All are request/reply; every request can be repeated.
 *
 * Subjects:
 *   sandbox.lease                 queue group "pools": any pool with room. A full pool leaves the group, so "no responders" = all full or gone.
 *   sandbox.hint                  queue group "pools": prewarm: reserve a spare warm sandbox, best effort.
 *   sandbox.<pool>.lease          the pool that a prewarm named.
 *   sandbox.<pool>.<sandbox>.<verb>   verb: start | wait | cancel | ack | park | release | mount | outputs | collect
 *   sandbox.confirm               queue group "workers": a pool asks whether a lease that nobody used lately is still the session's.
 *
 * A lease is bound to (session, generation). Asking again for the same pair returns the same sandbox. A call under another generation is
 * refused with `stale_generation`. A pool keeps its id and its leases on disk, so it answers under the same subjects after a restart.
 */
import { z } from 'zod';
import { Networking } from '../resources/environments.ts';
import { CallState, ThreadName } from './hand-protocol.ts';

export const POOL_QUEUE_GROUP = 'pools';
export const WORKER_QUEUE_GROUP = 'workers';
/** The subject of a prewarm keeps its first name, `sandbox.hint`: it is a format. */
export const SANDBOX_SUBJECT = { lease: 'sandbox.lease', prewarm: 'sandbox.hint', confirm: 'sandbox.confirm' } as const;
export const SANDBOX_VERBS = ['start', 'wait', 'cancel', 'ack', 'park', 'release', 'mount', 'outputs', 'collect'] as const;
export type SandboxVerb = (typeof SANDBOX_VERBS)[number];
export function poolLeaseSubject(poolId: string): string {
  return `sandbox.${poolId}.lease`;
}
export function sandboxSubject(poolId: string, sandboxId: string, verb: SandboxVerb): string {
  return `sandbox.${poolId}.${sandboxId}.${verb}`;
}
/** Bodies above this travel through the blob store by key. */
export const INLINE_BODY_MAX_BYTES = 256 * 1024;

/**
 * The blob key of a workspace snapshot: where a pool saves it by itself, and where the harness looks for it. Each generation has its own, so
 * that a sandbox that was given up and lives on somewhere cannot overwrite what its successor saved. The highest counts.
 */
export function workspaceSnapshotKey(workspaceId: string, sessionId: string, generation: number): string {
  return `${workspaceSnapshotPrefix(workspaceId, sessionId)}workspace-${generation}.tar.gz`;
}
export function workspaceSnapshotPrefix(workspaceId: string, sessionId: string): string {
  return `${workspaceId}/${sessionId}/snapshots/`;
}
/** The generation of a snapshot's key; 0 for one from before generations were in keys, null for what is no snapshot. */
export function snapshotGeneration(key: string): number | null {
  const [, digits] = /\/snapshots\/workspace(?:-(\d{1,15}))?\.tar\.gz$/.exec(key) ?? [null];
  return digits === null ? null : Number(digits ?? 0);
}

/** Where the outcome of a call is that is too large for a message, or that nobody had collected when its sandbox was shut down. */
export function callOutcomeKey(workspaceId: string, sessionId: string, callKey: string): string {
  return `${workspaceId}/${sessionId}/outcomes/${callKey}`;
}

/**
 * Where a pool notes that a session's sandbox ended, for those who ask when the pool is there no more: no answer of a pool alone does not tell
 * one that is gone from one that restarts.
 */
export function sandboxEndKey(workspaceId: string, sessionId: string): string {
  return `${workspaceId}/${sessionId}/sandbox-end`;
}
/** The highest generation that ended. */
export const SandboxEnd = z.object({ generation: z.int() });
export type SandboxEnd = z.infer<typeof SandboxEnd>;

export const SandboxSpec = z.object({ environment_id: z.string(), networking: Networking });
export type SandboxSpec = z.infer<typeof SandboxSpec>;

const failure = z.object({
  ok: z.literal(false),
  error: z.object({
    /** at_capacity: ask another or later. failed: this sandbox could not be made; the message says why.
     *  stale_generation / unknown_sandbox / sandbox_lost: the lease is over; take a new one under the next generation.
     *  leaving: the sandbox is being saved before it ends, and this call was not started; ask again until it is gone. */
    code: z.enum(['at_capacity', 'failed', 'stale_generation', 'unknown_sandbox', 'sandbox_lost', 'leaving', 'invalid_request']),
    message: z.string(),
  }),
});
export type SandboxFailure = z.infer<typeof failure>;

export const LeaseRequest = z.object({
  workspace_id: z.string(),
  session_id: z.string(),
  generation: z.int().min(1),
  spec: SandboxSpec,
  /** Blob key of the workspace snapshot to unpack before the lease is given, or null. */
  restore_from: z.string().nullable(),
});
export type LeaseRequest = z.infer<typeof LeaseRequest>;
export const LeaseReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), pool_id: z.string(), sandbox_id: z.string(), generation: z.int(), warm: z.boolean() }),
  failure,
]);
export type LeaseReply = z.infer<typeof LeaseReply>;

export const PrewarmRequest = z.object({ session_id: z.string(), workspace_id: z.string(), spec: SandboxSpec });
export type PrewarmRequest = z.infer<typeof PrewarmRequest>;
export const PrewarmReply = z.object({ pool_id: z.string(), reserved: z.boolean() });
export type PrewarmReply = z.infer<typeof PrewarmReply>;

/**
 * How often a leased sandbox was used: each start and each end of a call counts, and each mount. It never goes back, not even when the pool
 * restarts, but may then leap ahead. Answers of 0.1.0 have none.
 */
const Uses = z.int().min(0);

/** A file that is mounted: where in the sandbox, and the blob with its bytes. */
export const MountedFile = z.object({ path: z.string(), blob: z.string() });
export type MountedFile = z.infer<typeof MountedFile>;
/** Where a list of mounted files, or of outputs, is that is too large for a message. */
export function fileListKey(workspaceId: string, sessionId: string, what: 'mounts' | 'outputs'): string {
  return `${workspaceId}/${sessionId}/file-lists/${what}`;
}
/** A file in the outputs; `path` is relative to them. */
export const OutputFile = z.object({ path: z.string(), size: z.int().min(0), sha256: z.string() });
export type OutputFile = z.infer<typeof OutputFile>;
export const COLLECT_MAX = 100;

const lease = { session_id: z.string(), generation: z.int() };
export const StartRequest = z.object({
  ...lease,
  key: z.string(),
  tool: z.string(),
  /** Whose shell a `bash` call runs in: the id of a thread of the session. Absent, as from 0.1.0: the shell of those that name none. */
  thread: ThreadName.optional(),
  /** Exactly one of the two: the tool's input, or the blob key of its JSON. */
  input: z.record(z.string(), z.unknown()).optional(),
  input_ref: z.string().optional(),
});
export type StartRequest = z.infer<typeof StartRequest>;
export const WaitRequest = z.object({ ...lease, key: z.string(), wait_ms: z.int().min(0).max(30_000) });
export type WaitRequest = z.infer<typeof WaitRequest>;
export const CancelRequest = z.object({ ...lease, key: z.string() });
export type CancelRequest = z.infer<typeof CancelRequest>;
export const AckRequest = z.object({ ...lease, keys: z.array(z.string()) });
export type AckRequest = z.infer<typeof AckRequest>;
/**
 * The session is idle: after the grace time, or at once under pressure, snapshot the workspace to `snapshot_key` and let go. A call un-parks.
 * `uses`: the use count up to which the asker knows what went on. After a newer use, or while a call runs, another thread is at work: nothing is
 * done then, and the answer is `parked: false`. Without it (0.1.0) the asker is taken to be alone.
 */
export const ParkRequest = z.object({ ...lease, snapshot_key: z.string(), uses: Uses.optional() });
export type ParkRequest = z.infer<typeof ParkRequest>;
/** Let go now, without a snapshot (session deleted or archived). */
export const ReleaseRequest = z.object({ ...lease });
export type ReleaseRequest = z.infer<typeof ReleaseRequest>;

/** What is mounted from here on, all of it. The same revision again, or the older one of a thread that is behind, does nothing. */
export const MountRequest = z.object({
  ...lease,
  revision: z.int().min(1),
  /** Exactly one of the two: the files, or the blob key of their JSON. */
  files: z.array(MountedFile).optional(),
  files_ref: z.string().optional(),
});
export type MountRequest = z.infer<typeof MountRequest>;
/** `pending`: it goes on; ask again. */
export const MountReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), pending: z.boolean(), uses: Uses.optional() }),
  failure,
]);
export type MountReply = z.infer<typeof MountReply>;
/** What is below /mnt/session/outputs. Not a use: a parked sandbox stays parked. */
export const OutputsRequest = z.object({ ...lease });
export type OutputsRequest = z.infer<typeof OutputsRequest>;
/** Stores outputs durably as the bytes of files of the session. */
export const CollectRequest = z.object({
  ...lease,
  files: z
    .array(z.object({ path: z.string(), file_id: z.string() }))
    .min(1)
    .max(COLLECT_MAX),
});
export type CollectRequest = z.infer<typeof CollectRequest>;

/** `pending`: it goes on; ask again for its result. */
export const OutputsReply = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    pending: z.boolean(),
    files: z.array(OutputFile).optional(),
    /** Instead of `files` where they are too many for a message. */
    files_ref: z.string().optional(),
    /** Why what is not among them is not, as a sentence each. */
    left_out: z.array(z.string()).optional(),
    /** The use count when they were looked at, never an older one than when they were asked for. With the result only. */
    uses: Uses.optional(),
  }),
  failure,
]);
export type OutputsReply = z.infer<typeof OutputsReply>;
export const CollectReply = z.discriminatedUnion('ok', [
  /** What vanished meanwhile is not among the stored; what changed has the facts of what was stored. */
  z.object({ ok: z.literal(true), pending: z.boolean(), stored: z.array(OutputFile.extend({ file_id: z.string() })).optional() }),
  failure,
]);
export type CollectReply = z.infer<typeof CollectReply>;

/** Answer to start, wait and cancel; `outcome_ref` replaces a large outcome. */
export const CallReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), call: CallState.optional(), outcome_ref: z.string().optional(), uses: Uses.optional() }),
  failure,
]);
export type CallReply = z.infer<typeof CallReply>;
/** Answer to ack, park and release. `parked`, after a park only: false if the sandbox was in use and stays as it is; none, from 0.1.0, is true. */
export const DoneReply = z.discriminatedUnion('ok', [z.object({ ok: z.literal(true), parked: z.boolean().optional() }), failure]);
export type DoneReply = z.infer<typeof DoneReply>;

export const ConfirmRequest = z.object({ session_id: z.string(), generation: z.int(), sandbox_id: z.string() });
export type ConfirmRequest = z.infer<typeof ConfirmRequest>;
/** `wanted: false`: the session has another sandbox or is over; this one may end, unsaved. */
export const ConfirmReply = z.object({ wanted: z.boolean() });
export type ConfirmReply = z.infer<typeof ConfirmReply>;
