/** Errors as people read them: the message, for errors of the API with its kind and request id. */
import { APIConnectionError, APIError } from '@anthropic-ai/sdk';

export function errorText(error: unknown): string {
  if (error instanceof APIConnectionError) {
    const cause = innermost(error);
    return `The server cannot be reached: ${cause.message}. Is it running (manyhands up)? Is --url right?`;
  }
  if (error instanceof APIError) {
    const body = error.error as { error?: { type?: string; message?: string } } | undefined;
    const message = body?.error?.message ?? error.message;
    const hint = error.status === 401 ? ' Give a valid key with --api-key or MANYHANDS_API_KEY.' : '';
    return `${message}${hint} (${[error.status, body?.error?.type, error.requestID].filter(Boolean).join(', ')})`;
  }
  return error instanceof Error ? error.message : String(error);
}

function innermost(error: Error): Error {
  let current = error;
  while (current.cause instanceof Error) current = current.cause;
  // Node gathers the failures of all addresses of a name.
  return current instanceof AggregateError && current.errors[0] instanceof Error ? current.errors[0] : current;
}
