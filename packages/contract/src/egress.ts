/**
 * Between sandbox pool, harness and egress (DESIGN 6, 7).
 *
 * A pool writes `policy.json` (EgressPolicy) into the sandbox's host directory by rename, then asks the egress of its host to open the
 * socket `<sandbox dir>/egress/egress.sock`. Egress re-reads all policies when it starts, so its crash loses nothing.
 * Without a policy file (a warm sandbox) there is no socket.
 *
 * Subjects: egress.<host>.open, egress.<host>.close, egress.fetch (queue group "egress").
 */
import { z } from 'zod';
import { Networking } from './environments.ts';

export const EGRESS_QUEUE_GROUP = 'egress';
export const EGRESS_FETCH_SUBJECT = 'egress.fetch';
export function egressSubject(hostId: string, verb: 'open' | 'close'): string {
  return `egress.${hostId}.${verb}`;
}

export const EgressPolicy = z.object({ sandbox_id: z.string(), session_id: z.string(), networking: Networking });
export type EgressPolicy = z.infer<typeof EgressPolicy>;
export const EgressOpenRequest = z.object({ sandbox_id: z.string() });
export type EgressOpenRequest = z.infer<typeof EgressOpenRequest>;
export const EgressReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), message: z.string() }),
]);
export type EgressReply = z.infer<typeof EgressReply>;

/** `web_fetch` on behalf of a session. Sizes in bytes, times in milliseconds. */
export const FetchRequest = z.object({
  session_id: z.string(),
  url: z.string(),
  max_bytes: z
    .int()
    .min(1)
    .max(512 * 1024),
});
export type FetchRequest = z.infer<typeof FetchRequest>;
export const FetchReply = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    status: z.int(),
    final_url: z.string(),
    content_type: z.string(),
    body: z.string(),
    truncated: z.boolean(),
  }),
  z.object({
    ok: z.literal(false),
    /** url_not_allowed: refused by rule; unreachable: no answer; unsupported_content: not text. */
    code: z.enum(['url_not_allowed', 'unreachable', 'unsupported_content', 'too_many_redirects']),
    message: z.string(),
  }),
]);
export type FetchReply = z.infer<typeof FetchReply>;
