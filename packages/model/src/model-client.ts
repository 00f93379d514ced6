/**
 * The model port: one streamed request, one list of models. The harness knows models through this file only.
 *
 * A client never retries by itself: it says what failed and whether another try may help, the turn decides (BEHAVIOUR 26). The one
 * exception is a fallback chain, which the operator configures (routing.ts).
 * Message texts of a ModelError are safe to show: they never hold the key, and upstream text is cut at 500 characters (I7).
 */
import type Anthropic from '@anthropic-ai/sdk';
import { AppError } from '@manyhands/base';

export type ModelEffort = 'low' | 'medium' | 'high' | 'xhigh' | 'max';
export type ModelSpeed = 'standard' | 'fast';

export interface ModelRequest {
  model: string;
  /** Blocks carry their `cache_control` marks already; they are passed on unchanged, as are those of messages and tools. */
  system: Anthropic.TextBlockParam[];
  messages: Anthropic.MessageParam[];
  tools: Anthropic.Tool[];
  maxTokens: number;
  /** Sent only if it differs from the API's default, `high`: older compatible endpoints refuse fields they do not know. */
  effort?: ModelEffort;
  speed?: ModelSpeed;
  /** Names the session in a request header, for logs and journals of the endpoint; it does not change the answer. */
  sessionId: string;
}

export type ModelBlockKind = 'text' | 'thinking' | 'tool_use' | 'other';

/** Told while the answer streams, in order. `index` is the block's place in `ModelResponse.content`. A throw ends the request and reaches the caller. */
export interface ModelListener {
  onBlockStart(index: number, kind: ModelBlockKind): void;
  onText(index: number, text: string): void;
}

/** Token counts of one request; what an endpoint does not tell is 0. */
export interface ModelUsageCounts {
  input_tokens: number;
  output_tokens: number;
  cache_creation_input_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_5m: number;
  cache_creation_1h: number;
}

/** Who answered, where a router chose among several. */
export interface AnsweredBy {
  /** The model id that the answer counts as: the one asked for, or the one of the chain that stood in. */
  id: string;
  upstream: string;
  /** The name by which that upstream knows it. */
  model: string;
  /** True if the model asked for could not answer and another one did. */
  fallback: boolean;
}

export interface ModelResponse {
  id: string;
  model: string;
  answeredBy?: AnsweredBy;
  content: Anthropic.ContentBlock[];
  stopReason: Anthropic.StopReason | null;
  /** Why the model refused, where the endpoint tells it. */
  stopDetails?: Anthropic.RefusalStopDetails | null;
  usage: ModelUsageCounts;
  /**
   * Tool calls whose input was no JSON object, by index in `content`: the raw text, up to 2000 characters. Their block carries
   * `input: {}`, so that it can be sent back; the call must be answered with an error, not executed.
   */
  invalidInputs: Record<number, string>;
}

export interface ModelListing {
  id: string;
  display_name: string;
  created_at: string;
  /** Present where the endpoint or the configuration tells it. */
  max_input_tokens?: number;
  max_tokens?: number;
}

/** For requests whose answer nobody watches. */
export const SILENT: ModelListener = { onBlockStart: () => {}, onText: () => {} };

export interface ModelClient {
  /** Rejects with a ModelError, or with what the listener threw. After an abort the HTTP request is gone. */
  stream(request: ModelRequest, listener: ModelListener, signal: AbortSignal): Promise<ModelResponse>;
  listModels(): Promise<ModelListing[]>;
}

export type ModelErrorKind = 'overloaded' | 'rate_limited' | 'request_failed' | 'billing' | 'authentication' | 'aborted' | 'unknown';

/** What failed, in the words of this package; `failure.ts` says which of them may be tried again. */
export const MODEL_FAILURE_REASONS = [
  /** The endpoint has too much to do. */
  'overloaded',
  'rate_limited',
  /** No connection, first token or further token in time. */
  'timeout',
  'connection',
  /** The answer ended before its end. */
  'cut_stream',
  /** The endpoint sent what is no answer of its protocol. */
  'malformed',
  'server_error',
  'invalid_request',
  'authentication',
  'permission',
  'billing',
  /** No such model or route. */
  'not_found',
  /** The endpoint's content rules turned the request down; a model that refuses answers with the stop reason `refusal` instead. */
  'refused',
  /** The prompt does not fit; a shorter one may. */
  'context_window',
  'aborted',
  'unknown',
] as const;
export type ModelFailureReason = (typeof MODEL_FAILURE_REASONS)[number];

export interface ModelErrorOptions {
  reason: ModelFailureReason;
  retryable: boolean;
  /** How long the endpoint asks to wait, in milliseconds. */
  retryAfterMs?: number | undefined;
  details?: Record<string, unknown>;
}

/** `code` is `aborted` for an abort, `unavailable` where a retry may help, else `internal`. */
export class ModelError extends AppError {
  /** As sessions report it. */
  readonly kind: ModelErrorKind;
  readonly reason: ModelFailureReason;
  readonly retryAfterMs: number | undefined;
  constructor(kind: ModelErrorKind, message: string, options: ModelErrorOptions) {
    super(kind === 'aborted' ? 'aborted' : options.retryable ? 'unavailable' : 'internal', message, {
      retryable: options.retryable,
      details: options.details ?? {},
    });
    this.name = 'ModelError';
    this.kind = kind;
    this.reason = options.reason;
    this.retryAfterMs = options.retryAfterMs;
  }
}
