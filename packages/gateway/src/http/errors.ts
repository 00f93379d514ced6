/**
 * From any thrown value to the answer: one envelope, one status, the headers that steer a client's retries (CONTRACT 5).
 * An unexpected error becomes a plain "internal error"; its text is in the log only (I7).
 */
import { hasCode, WireError } from '@manyhands/base';
import type { WireErrorBody } from '@manyhands/contract';
import type { FastifyReply } from 'fastify';

const RETRY_AFTER_SECONDS = 1;
const MESSAGE_MAX_CHARS = 4_000;

export function unavailable(message: string): WireError {
  return new WireError('api_error', message, { status: 503, retryAfterSeconds: RETRY_AFTER_SECONDS });
}
export function tooLarge(limitBytes: number): WireError {
  return new WireError('request_too_large', `the request body is larger than ${limitBytes} bytes`);
}
/** A 404 that a retry does not change. */
export function noSuchEndpoint(message: string): WireError {
  return new WireError('not_found_error', message, { shouldRetry: false });
}

const CONNECTION_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EHOSTUNREACH']);
const CONNECTION_MESSAGES = new Set([
  'Connection is closed.',
  'Command timed out',
  "Stream isn't writeable and enableOfflineQueue options is false",
]);

/** The client library has a class for one of these only, so the others are recognised by their message. */
export function isRedisOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error.name === 'MaxRetriesPerRequestError') return true;
  if (error.name === 'ReplyError') return /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MISCONF|NOREPLICAS)/.test(error.message);
  return CONNECTION_MESSAGES.has(error.message) || CONNECTION_CODES.has((error as NodeJS.ErrnoException).code ?? '');
}

/** Refusals of the HTTP framework itself. */
function fromFramework(code: string, bodyLimitBytes: number): WireError | null {
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return tooLarge(bodyLimitBytes);
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new WireError('invalid_request_error', 'content-type: must be application/json');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new WireError('invalid_request_error', 'content-length: does not match the length of the body');
    case 'FST_ERR_BAD_URL':
      return noSuchEndpoint('the path is not valid percent-encoding');
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return noSuchEndpoint('a part of the path is longer than any id');
    default:
      return null;
  }
}

/** `unexpected`: a fault of ours that the log should hold in full. */
export function toWireError(error: unknown, bodyLimitBytes: number): { wire: WireError; unexpected: boolean } {
  if (error instanceof WireError) return { wire: error, unexpected: false };
  const framework = fromFramework(String((error as { code?: unknown } | null)?.code ?? ''), bodyLimitBytes);
  if (framework) return { wire: framework, unexpected: false };
  if (hasCode(error, 'unavailable', 'timeout') || isRedisOutage(error)) {
    return { wire: unavailable('the service cannot reach its storage at the moment; try again shortly'), unexpected: false };
  }
  return { wire: new WireError('api_error', 'internal error'), unexpected: true };
}

export function errorBody(wire: WireError, requestId: string): WireErrorBody {
  const code = wire.options.errorCode;
  // A message may quote what was sent, however long that was.
  const message = wire.message.length > MESSAGE_MAX_CHARS ? `${wire.message.slice(0, MESSAGE_MAX_CHARS)}…` : wire.message;
  return {
    type: 'error',
    error: { type: wire.type, message, ...(code === undefined ? {} : { details: { error_code: code } }) },
    request_id: requestId,
  };
}

export function errorHeaders({ options }: WireError, requestId: string): Record<string, string> {
  const { shouldRetry, retryAfterSeconds } = options;
  return {
    'request-id': requestId,
    'content-type': 'application/json; charset=utf-8',
    ...(shouldRetry === undefined ? {} : { 'x-should-retry': String(shouldRetry) }),
    ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
  };
}

export function sendError(reply: FastifyReply, wire: WireError): FastifyReply {
  const requestId = reply.request.id;
  return reply
    .status(wire.status)
    .headers(errorHeaders(wire, requestId))
    .send(JSON.stringify(errorBody(wire, requestId)));
}
