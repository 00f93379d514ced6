/**
 * The channel between a sandbox pool and the `hand` inside a sandbox: frames on a Unix socket, each a 4-byte big-endian length
 * and that many bytes of UTF-8 JSON, at most HAND_MAX_FRAME_BYTES. The pool asks, the hand answers with the same `id`; answers
 * may come out of order. Everything a hand says is hostile input: the pool parses it with `HandReply`.
 *
 * There is no greeting: the first frame of a connection is the pool's first request, a `ping` as it happens. A hand ignores fields of a request
 * that it does not know, a pool fields of an answer.
 *
 * A tool call is started under a key (the id of its `agent.tool_use` event) and then waited for by key, so that no broken
 * connection matters. Starting a known key again starts nothing: it reports the state of the first start (I4).
 */
import { z } from 'zod';
import { ToolContent } from '../events/content.ts';

export const HAND_MAX_FRAME_BYTES = 8 * 1024 * 1024;
/** Paths inside a sandbox, the same for every driver. */
export const SANDBOX_PATHS = {
  workspace: '/workspace',
  outputs: '/mnt/session/outputs',
  uploads: '/mnt/session/uploads',
  /** Holds hand.sock; written by the hand, read by the pool. */
  run: '/run/manyhands',
  handSocket: '/run/manyhands/hand.sock',
  /** Holds egress.sock; read-only inside. */
  egress: '/run/egress',
  egressSocket: '/run/egress/egress.sock',
  /** Snapshots and bodies go through here, between hand and pool. */
  exchange: '/run/exchange',
  /** Where the in-sandbox forwarder listens for HTTP_PROXY. */
  proxyPort: 3128,
} as const;

export const ToolResult = z.object({ is_error: z.boolean(), content: ToolContent });
export type ToolResult = z.infer<typeof ToolResult>;

/** The name of a thread of the session. Each has a shell of its own; whoever names none (0.1.0) shares one more. */
export const ThreadName = z.string().min(1).max(128);

export const HandRequest = z.discriminatedUnion('op', [
  z.object({ id: z.int(), op: z.literal('ping') }),
  z.object({
    id: z.int(),
    op: z.literal('start'),
    key: z.string(),
    tool: z.string(),
    input: z.record(z.string(), z.unknown()),
    /** Calls of several threads run side by side; `bash` calls of one run one after the other. */
    thread: ThreadName.optional(),
  }),
  z.object({ id: z.int(), op: z.literal('wait'), key: z.string(), wait_ms: z.int().min(0).max(60_000) }),
  /** Kills a running call; its outcome becomes an error that says it was interrupted. */
  z.object({ id: z.int(), op: z.literal('cancel'), key: z.string() }),
  /** The outcome of these calls is in the log: the hand may forget it (it still refuses to run the key again). */
  z.object({ id: z.int(), op: z.literal('ack'), keys: z.array(z.string()) }),
  /** Writes a gzip'd tar of /workspace and /mnt/session/outputs to /run/exchange/<name>. */
  z.object({
    id: z.int(),
    op: z.literal('snapshot'),
    name: z.string().regex(/^[a-z0-9.-]{1,64}$/),
    /** Absolute paths to leave out: they are put there again by who mounted them. */
    exclude: z.array(z.string()).optional(),
  }),
  /** Unpacks such a tar. */
  z.object({ id: z.int(), op: z.literal('restore'), name: z.string().regex(/^[a-z0-9.-]{1,64}$/) }),
]);
export type HandRequest = z.infer<typeof HandRequest>;

/** `unknown`: this hand never saw the key, or it was acknowledged and forgotten. */
export const CallState = z.discriminatedUnion('state', [
  z.object({ state: z.literal('running') }),
  z.object({ state: z.literal('done'), outcome: ToolResult }),
  z.object({ state: z.literal('unknown') }),
]);
export type CallState = z.infer<typeof CallState>;

export const HandReply = z.discriminatedUnion('ok', [
  z.object({ id: z.int(), ok: z.literal(true), call: CallState.optional(), bytes: z.number().optional() }),
  z.object({ id: z.int(), ok: z.literal(false), error: z.string() }),
]);
export type HandReply = z.infer<typeof HandReply>;
