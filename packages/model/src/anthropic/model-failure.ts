/**
 * What went wrong, as a ModelError. Decided on status and error type, never on message text.
 *
 * The original error is not kept as `cause`: it holds response headers and bodies, which have no place in a log (I7).
 */
import { APIConnectionError, APIError } from '@anthropic-ai/sdk';
import type { Clock } from '@manyhands/base';
import { ModelError, type ModelErrorKind } from '../model-client.ts';

const MESSAGE_MAX_CHARS = 500;
/** A wait longer than this is not a hint for a retry any more. */
const RETRY_AFTER_MAX_MS = 3_600_000;

interface Verdict {
  kind: ModelErrorKind;
  retryable: boolean;
}

const BY_TYPE: Record<string, Verdict> = {
  overloaded_error: { kind: 'overloaded', retryable: true },
  rate_limit_error: { kind: 'rate_limited', retryable: true },
  api_error: { kind: 'request_failed', retryable: true },
  timeout_error: { kind: 'request_failed', retryable: true },
  billing_error: { kind: 'billing', retryable: false },
  authentication_error: { kind: 'authentication', retryable: false },
  permission_error: { kind: 'authentication', retryable: false },
  invalid_request_error: { kind: 'request_failed', retryable: false },
  not_found_error: { kind: 'request_failed', retryable: false },
  request_too_large: { kind: 'request_failed', retryable: false },
};

function byStatus(status: number, type: string | null): Verdict {
  if (status === 402 || (status === 403 && type === 'billing_error')) return { kind: 'billing', retryable: false };
  if (status === 401 || status === 403) return { kind: 'authentication', retryable: false };
  if (status === 429) return { kind: 'rate_limited', retryable: true };
  if (status === 529 || status === 503 || type === 'overloaded_error') return { kind: 'overloaded', retryable: true };
  // 408 and 409: the endpoint gave up on a request or a lock of its own.
  if (status === 408 || status === 409 || status >= 500) return { kind: 'request_failed', retryable: true };
  if (type === 'billing_error') return { kind: 'billing', retryable: false };
  return { kind: 'request_failed', retryable: false };
}

export interface FailureContext {
  apiKey: string;
  clock: Clock;
}

/** An answer that broke off or could not be understood: another try may help. */
export function brokenStream(message: string): ModelError {
  return new ModelError('request_failed', message, { retryable: true });
}

/** An error of the SDK or of fetch as a ModelError. */
export function modelFailure(error: unknown, context: FailureContext): ModelError {
  if (error instanceof ModelError) return error;
  if (error instanceof APIError && !(error instanceof APIConnectionError)) return apiFailure(error, context);
  const code = deepCode(error);
  // Whatever else comes out of a request is the connection: refused, reset, unknown host, timed out.
  if (error instanceof APIConnectionError || code !== null || error instanceof TypeError)
    return new ModelError('request_failed', `the connection to the model endpoint failed${code ? ` (${code})` : ''}`, { retryable: true });
  return new ModelError('unknown', `the model request failed: ${clip(String(error), context.apiKey)}`, { retryable: true });
}

function apiFailure(error: InstanceType<typeof APIError>, context: FailureContext): ModelError {
  const status: number | undefined = error.status;
  const type = error.type ?? null;
  const verdict = { ...(status === undefined ? (BY_TYPE[type ?? ''] ?? BY_TYPE['api_error']!) : byStatus(status, type)) };
  const advice = error.headers?.get('x-should-retry');
  if (advice === 'false') verdict.retryable = false;
  const said = typeof error.apiMessage === 'string' ? error.apiMessage : error.message;
  const where = status === undefined ? (type ?? 'error event') : `${status}${type ? ` ${type}` : ''}`;
  return new ModelError(verdict.kind, `the model endpoint answered ${where}: ${clip(said, context.apiKey)}`, {
    retryable: verdict.retryable,
    retryAfterMs: verdict.retryable ? retryAfterMs(error.headers, context.clock) : undefined,
    details: { status: status ?? null, type, request_id: error.requestID ?? null },
  });
}

/** `retry-after-ms`, or `retry-after` in seconds or as a date. */
function retryAfterMs(headers: Headers | undefined, clock: Clock): number | undefined {
  const inMs = Number(headers?.get('retry-after-ms') ?? Number.NaN);
  const text = headers?.get('retry-after') ?? '';
  const seconds = Number(text === '' ? Number.NaN : text);
  const wait = Number.isFinite(inMs) ? inMs : Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - clock.now();
  return Number.isFinite(wait) && wait >= 0 && wait <= RETRY_AFTER_MAX_MS ? Math.ceil(wait) : undefined;
}

function clip(text: string, apiKey: string): string {
  // Before the cut, so that no half of a key is left at the end.
  const safe = apiKey.length > 0 ? text.replaceAll(apiKey, '[redacted]') : text;
  return safe.length > MESSAGE_MAX_CHARS ? `${safe.slice(0, MESSAGE_MAX_CHARS)}…` : safe;
}

/** The system's error code, wherever in the chain of causes it is. */
function deepCode(error: unknown): string | null {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const code = (at as NodeJS.ErrnoException).code;
    if (typeof code === 'string') return code;
  }
  return null;
}
