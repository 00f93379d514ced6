/**
 * Between sandbox pool, harness and egress (DESIGN 6, 7).
 *
 * A pool writes `policy.json` (EgressPolicy) into the sandbox's host directory by rename, then asks the egress of its host to open the
 * socket `<sandbox dir>/egress/egress.sock`. Egress re-reads all policies when it starts, so its crash loses nothing.
 * Without a policy file (a warm sandbox) there is no socket.
 *
 * Subjects: egress.<host>.open, egress.<host>.close, egress.fetch and egress.search (queue group "egress"), egress.body.<id>.
 */
import { z } from 'zod';
import { Networking } from '../resources/environments.ts';
import { SEARCH_QUERY_MAX_CHARS } from '../resources/tools/tools.ts';
import { DOMAINS_MAX, UserLocationIn } from '../resources/tools/web-tool-options.ts';

export const EGRESS_QUEUE_GROUP = 'egress';
export const EGRESS_FETCH_SUBJECT = 'egress.fetch';
export const EGRESS_SEARCH_SUBJECT = 'egress.search';
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

/** Lists of an agent's web tool, checked when they were written. */
const domains = z.array(z.string()).max(DOMAINS_MAX).optional();

/** `web_fetch` on behalf of a session. Sizes in bytes, times in milliseconds. The lists hold for every redirect too. */
export const FETCH_MAX_BYTES = 512 * 1024;
export const FetchRequest = z.object({
  session_id: z.string(),
  url: z.string(),
  /** Of text; a document has its own limit. */
  max_bytes: z.int().min(1).max(FETCH_MAX_BYTES),
  allowed_domains: domains,
  blocked_domains: domains,
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
    /** A PDF, which does not fit into a message: it is asked for in parts, soon. The body is then empty. */
    document: z.object({ subject: z.string().regex(/^egress\.body\.[A-Za-z0-9_-]{16,64}$/), bytes: z.int().min(1) }).optional(),
  }),
  z.object({
    ok: z.literal(false),
    /** url_not_allowed: refused by rule; unreachable: no answer; unsupported_content: neither text nor PDF. */
    code: z.enum(['url_not_allowed', 'unreachable', 'unsupported_content', 'too_large', 'too_many_redirects']),
    message: z.string(),
  }),
]);
export type FetchReply = z.infer<typeof FetchReply>;

/** A part of a fetched document, on the subject that the reply named. Small enough for any NATS server. */
export const FETCH_PART_BYTES = 256 * 1024;
export function egressBodySubject(id: string): string {
  return `egress.body.${id}`;
}
export const FetchPartRequest = z.object({ offset: z.int().min(0) });
export type FetchPartRequest = z.infer<typeof FetchPartRequest>;
export const FetchPartReply = z.object({ data: z.base64() });
export type FetchPartReply = z.infer<typeof FetchPartReply>;

/** `web_search` on behalf of a session. Served only where a search provider is configured. */
export const SEARCH_RESULTS_MAX = 10;
export const SearchRequest = z.object({
  session_id: z.string(),
  query: z.string().min(1).max(SEARCH_QUERY_MAX_CHARS),
  max_results: z.int().min(1).max(SEARCH_RESULTS_MAX),
  allowed_domains: domains,
  blocked_domains: domains,
  user_location: UserLocationIn.optional(),
});
export type SearchRequest = z.infer<typeof SearchRequest>;
export const SearchResult = z.object({
  url: z.string(),
  title: z.string(),
  snippet: z.string(),
  /** When the page was published, in the provider's words; null if it does not say. */
  page_age: z.string().nullable(),
});
export type SearchResult = z.infer<typeof SearchResult>;
export const SearchReply = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), results: z.array(SearchResult) }),
  z.object({
    ok: z.literal(false),
    /** invalid_query: the provider does not take it; refused: it does not serve this installation; unreachable: no usable answer. */
    code: z.enum(['invalid_query', 'rate_limited', 'refused', 'unreachable']),
    message: z.string(),
  }),
]);
export type SearchReply = z.infer<typeof SearchReply>;
