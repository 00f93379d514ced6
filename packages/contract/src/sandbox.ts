/**
 * NATS messages between harness and sandbox pool (DESIGN 3.4, 3.6, 6). All are request/reply; every request can be repeated.
 *
 * Subjects:
 *   sandbox.lease                 queue group "pools": any pool with room. A full pool leaves the group, so "no responders" = all full or gone.
 *   sandbox.hint                  queue group "pools": reserve a spare warm sandbox, best effort.
 *   sandbox.<pool>.lease          the pool that a hint named.
 *   sandbox.<pool>.<sandbox>.<verb>   verb: start | wait | cancel | ack | park | release
 *
 * A lease is bound to (session, generation). Asking again for the same pair returns the same sandbox. A call under another generation is
 * refused with `stale_generation`. A pool keeps its id and its leases on disk, so it answers under the same subjects after a restart.
 */
import { z } from 'zod';
import { Networking } from './environments.ts';
import { CallState } from './hand-protocol.ts';

export const POOL_QUEUE_GROUP = 'pools';
export const SANDBOX_SUBJECT = { lease: 'sandbox.lease', hint: 'sandbox.hint' } as const;
export const SANDBOX_VERBS = ['start', 'wait', 'cancel', 'ack', 'park', 'release'] as const;
export type SandboxVerb = (typeof SANDBOX_VERBS)[number];
export function poolLeaseSubject(poolId: string): string {
  return `sandbox.${poolId}.lease`;
}
export function sandboxSubject(poolId: string, sandboxId: string, verb: SandboxVerb): string {
  return `sandbox.${poolId}.${sandboxId}.${verb}`;
}
/** Bodies above this travel through the blob store by key. */
export const INLINE_BODY_MAX_BYTES = 256 * 1024;

/** The blob key of a session's workspace snapshot: where a pool saves it by itself, and where the harness looks for it. */
export function workspaceSnapshotKey(workspaceId: string, sessionId: string): string {
  return `${workspaceId}/${sessionId}/snapshots/workspace.tar.gz`;
}

export const SandboxSpec = z.object({ environment_id: z.string(), networking: Networking });
export type SandboxSpec = z.infer<typeof SandboxSpec>;

const failure = z.object({
  ok: z.literal(false),
  error: z.object({
    /** at_capacity: ask another or later. failed: this sandbox could not be made; the message says why.
     *  stale_generation / unknown_sandbox / sandbox_lost: the lease is over; take a new one under the next generation. */
    code: z.enum(['at_capacity', 'failed', 'stale_generation', 'unknown_sandbox', 'sandbox_lost', 'invalid_request']),
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

export const HintRequest = z.object({ session_id: z.string(), workspace_id: z.string(), spec: SandboxSpec });
export type HintRequest = z.infer<typeof HintRequest>;
export const HintReply = z.object({ pool_id: z.string(), reserved: z.boolean() });
export type HintReply = z.infer<typeof HintReply>;

const lease = { session_id: z.string(), generation: z.int() };
export const StartRequest = z.object({
  ...lease,
  key: z.string(),
  tool: z.string(),
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
/** The session is idle: after the grace time, or at once under pressure, snapshot the workspace to `snapshot_key` and let go. A call un-parks. */
export const ParkRequest = z.object({ ...lease, snapshot_key: z.string() });
export type ParkRequest = z.infer<typeof ParkRequest>;
/** Let go now, without a snapshot (session deleted or archived). */
export const ReleaseRequest = z.object({ ...lease });
export type ReleaseRequest = z.infer<typeof ReleaseRequest>;

/** Answer to start, wait and cancel; `outcome_ref` replaces a large outcome. */
export const CallReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), call: CallState.optional(), outcome_ref: z.string().optional() }),
  failure,
]);
export type CallReply = z.infer<typeof CallReply>;
export const DoneReply = z.discriminatedUnion('ok', [z.object({ ok: z.literal(true) }), failure]);
export type DoneReply = z.infer<typeof DoneReply>;
