/**
 * What can go wrong with a model request, for every adapter alike: the reason, whether another try may help, and the kind that sessions
 * report. Decided on status, type and code; on message text only where an endpoint gives no other sign of a full context window.
 *
 * An original error is never kept as `cause`: it holds response headers and bodies, which have no place in a log (I7).
 */
import type { Clock } from '@manyhands/base';
import { ModelError, type ModelErrorKind, type ModelFailureReason } from './model-client.ts';

const MESSAGE_MAX_CHARS = 500;
/** A wait longer than this is not a hint for a retry any more. */
const RETRY_AFTER_MAX_MS = 3_600_000;

const VERDICTS: Record<ModelFailureReason, { kind: ModelErrorKind; retryable: boolean }> = {
  overloaded: { kind: 'overloaded', retryable: true },
  rate_limited: { kind: 'rate_limited', retryable: true },
  timeout: { kind: 'request_failed', retryable: true },
  connection: { kind: 'request_failed', retryable: true },
  cut_stream: { kind: 'request_failed', retryable: true },
  malformed: { kind: 'request_failed', retryable: true },
  server_error: { kind: 'request_failed', retryable: true },
  invalid_request: { kind: 'request_failed', retryable: false },
  not_found: { kind: 'request_failed', retryable: false },
  refused: { kind: 'request_failed', retryable: false },
  context_window: { kind: 'request_failed', retryable: false },
  authentication: { kind: 'authentication', retryable: false },
  permission: { kind: 'authentication', retryable: false },
  billing: { kind: 'billing', retryable: false },
  aborted: { kind: 'aborted', retryable: false },
  unknown: { kind: 'unknown', retryable: true },
};

/** Error types of the Messages API, and the types and codes of endpoints that speak chat completions. */
const BY_TYPE: Record<string, ModelFailureReason> = {
  overloaded_error: 'overloaded',
  rate_limit_error: 'rate_limited',
  api_error: 'server_error',
  timeout_error: 'timeout',
  billing_error: 'billing',
  authentication_error: 'authentication',
  permission_error: 'permission',
  invalid_request_error: 'invalid_request',
  not_found_error: 'not_found',
  request_too_large: 'invalid_request',
  insufficient_quota: 'billing',
  billing_hard_limit_reached: 'billing',
  rate_limit_exceeded: 'rate_limited',
  invalid_api_key: 'authentication',
  model_not_found: 'not_found',
  context_length_exceeded: 'context_window',
  exceed_context_size_error: 'context_window',
  content_filter: 'refused',
  content_policy_violation: 'refused',
  server_error: 'server_error',
  unavailable_error: 'overloaded',
};
/** What a type says better than the status that comes with it. */
const TYPE_OVER_STATUS = new Set<ModelFailureReason>(['billing', 'context_window', 'refused']);

/** How endpoints word a prompt that is too long, where they give it no type of its own. */
const CONTEXT_WINDOW_TEXTS = [
  /prompt is too long/i,
  /exceed(s|ed)? (the )?(available |maximum )?context (size|length|limit|window)/i,
  /maximum context length/i,
  /maximum model length/i,
  /context (size|length|window) (has been |is )?exceeded/i,
  /longer than the (maximum )?(model|context) (length|size)/i,
];

export interface FailureOptions {
  retryAfterMs?: number | undefined;
  details?: Record<string, unknown>;
  /** What the endpoint says against the rule: it may rule out a retry, never ask for one. */
  final?: boolean;
}

export function failure(reason: ModelFailureReason, message: string, options: FailureOptions = {}): ModelError {
  const { kind, retryable } = VERDICTS[reason];
  const again = retryable && options.final !== true;
  return new ModelError(kind, message, {
    reason,
    retryable: again,
    retryAfterMs: again ? options.retryAfterMs : undefined,
    details: options.details ?? {},
  });
}

/** The connection ended in the middle of an answer. */
export function cutStream(error: unknown): ModelError {
  const code = systemCode(error);
  return failure('cut_stream', `the model answer broke off before its end${code ? ` (${code})` : ''}`);
}

export function aborted(): ModelError {
  return failure('aborted', 'the model request was aborted');
}

/** The reason for an error answer. `types` are its type and code, `status` is null for an error in the middle of a stream. */
export function reasonOf(status: number | null, types: readonly (string | null)[], message: string): ModelFailureReason {
  const named = types.map((type) => BY_TYPE[type ?? '']).filter((reason) => reason !== undefined);
  const sure = named.find((reason) => TYPE_OVER_STATUS.has(reason));
  if (sure) return sure;
  // Some endpoints call a prompt that is too long an error of their own (500).
  const mayBeTooLong = status === null || status === 400 || status === 413 || status === 422 || status === 500;
  if (mayBeTooLong && CONTEXT_WINDOW_TEXTS.some((text) => text.test(message))) return 'context_window';
  if (status === null) return named[0] ?? 'server_error';
  return byStatus(status, named.includes('overloaded'));
}

function byStatus(status: number, overloaded: boolean): ModelFailureReason {
  if (status === 401) return 'authentication';
  if (status === 402) return 'billing';
  if (status === 403) return 'permission';
  if (status === 404) return 'not_found';
  if (status === 429) return 'rate_limited';
  if (status === 529 || status === 503 || overloaded) return 'overloaded';
  if (status === 408 || status === 504) return 'timeout';
  // 409: the endpoint gave up on a lock of its own.
  if (status === 409 || status >= 500) return 'server_error';
  return 'invalid_request';
}

export interface ErrorAnswer {
  /** null for an error in the middle of a stream. */
  status: number | null;
  type: string | null;
  code?: string | null;
  message: string;
  requestId: string | null;
  header(name: string): string | null;
}

export interface FailureContext {
  apiKey: string;
  clock: Clock;
}

/** An error that the endpoint told, as a ModelError. */
export function toldFailure(answer: ErrorAnswer, context: FailureContext): ModelError {
  const { status, type, code = null, message } = answer;
  const name = type ?? code;
  const where = status === null ? (name ?? 'error event') : `${status}${name ? ` ${name}` : ''}`;
  return failure(
    reasonOf(status, [type, code], message),
    clip(`the model endpoint answered ${where}: ${message}`, context.apiKey, MESSAGE_MAX_CHARS + 60),
    {
      final: answer.header('x-should-retry') === 'false',
      retryAfterMs: retryAfterMs((header) => answer.header(header), context.clock),
      details: { status, type: name === null ? null : clip(name, context.apiKey), request_id: answer.requestId },
    },
  );
}

/** Whatever comes out of a request without an answer: refused, reset, unknown host, timed out. */
export function connectionFailure(error: unknown): ModelError {
  const code = systemCode(error);
  const late = code !== null && /TIMEDOUT|TIMEOUT/.test(code);
  return failure(late ? 'timeout' : 'connection', `the connection to the model endpoint failed${code ? ` (${code})` : ''}`);
}

/** `retry-after-ms`, or `retry-after` in seconds or as a date. */
function retryAfterMs(header: (name: string) => string | null, clock: Clock): number | undefined {
  const inMs = Number(header('retry-after-ms') ?? Number.NaN);
  const text = header('retry-after') ?? '';
  const seconds = Number(text === '' ? Number.NaN : text);
  const wait = Number.isFinite(inMs) ? inMs : Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - clock.now();
  return Number.isFinite(wait) && wait >= 0 && wait <= RETRY_AFTER_MAX_MS ? Math.ceil(wait) : undefined;
}

/** Upstream text, fit to be shown. */
export function clip(text: string, apiKey: string, maxChars = MESSAGE_MAX_CHARS): string {
  // Before the cut, so that no half of a key is left at the end.
  const safe = apiKey.length > 0 ? text.replaceAll(apiKey, '[redacted]') : text;
  return safe.length > maxChars ? `${safe.slice(0, maxChars)}…` : safe;
}

/** The system's error code, wherever in the chain of causes it is. */
export function systemCode(error: unknown): string | null {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const code = (at as NodeJS.ErrnoException).code;
    if (typeof code === 'string') return code;
  }
  return null;
}
