/**
 * One error root. `code` is a closed union; decisions are made on `code` and `retryable`, never on message text.
 *
 * Families: wire errors carry the type of the error envelope and reach the client; `unavailable` and `timeout` may be tried again;
 * `fenced`, `drained` and `aborted` are signals, not failures, and are never logged as errors; `newer_format` means that something was written
 * by a newer version than this one, which is refused and never guessed at: only an upgrade helps.
 */
import { ERROR_STATUS, type WireErrorType } from '@manyhands/contract';

export type ErrorCode =
  | 'wire'
  | 'unavailable'
  | 'timeout'
  | 'fenced'
  | 'drained'
  | 'aborted'
  | 'configuration'
  | 'newer_format'
  | 'internal';

export interface AppErrorOptions {
  retryable?: boolean;
  cause?: unknown;
  details?: Record<string, unknown>;
}

export class AppError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly details: Record<string, unknown>;
  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.retryable = options.retryable ?? (code === 'unavailable' || code === 'timeout');
    this.details = options.details ?? {};
  }
}

export interface WireErrorOptions {
  /** Machine-readable reason, `error.details.error_code` on the wire. */
  errorCode?: string;
  /** Overrides the status of the type, for the few pairs the contract mixes (409 with invalid_request_error). */
  status?: number;
  /** The `x-should-retry` header: false where a retry can never help although the status suggests one. */
  shouldRetry?: boolean;
  /** Seconds, the `retry-after` header. */
  retryAfterSeconds?: number;
}

/** An error that the client sees: type, status and message of the envelope (CONTRACT 5). */
export class WireError extends AppError {
  readonly type: WireErrorType;
  readonly status: number;
  readonly options: WireErrorOptions;
  constructor(type: WireErrorType, message: string, options: WireErrorOptions = {}) {
    super('wire', message, { retryable: false });
    this.name = 'WireError';
    this.type = type;
    this.status = options.status ?? ERROR_STATUS[type];
    this.options = options;
  }
}

export function invalidRequest(message: string, options?: WireErrorOptions): WireError {
  return new WireError('invalid_request_error', message, options);
}
export function notFound(what: string, id: string): WireError {
  return new WireError('not_found_error', `${what} ${JSON.stringify(id)} was not found`);
}
/** A state conflict: 409 that a blind retry cannot mend. */
export function conflict(message: string, options: WireErrorOptions = {}): WireError {
  return new WireError('invalid_request_error', message, { status: 409, shouldRetry: false, ...options });
}

/** Any thrown value as an Error. */
export function ensureError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
export function hasCode(error: unknown, ...codes: ErrorCode[]): error is AppError {
  return error instanceof AppError && codes.includes(error.code);
}
