/** Errors of the SDK, or of fetch below it, as ModelErrors. */
import { APIConnectionError, APIConnectionTimeoutError, APIError } from '@anthropic-ai/sdk';
import { clip, connectionFailure, type FailureContext, failure, systemCode, toldFailure } from '../failure.ts';
import { ModelError } from '../model-client.ts';

export function modelFailure(error: unknown, context: FailureContext): ModelError {
  if (error instanceof ModelError) return error;
  if (error instanceof APIError && !(error instanceof APIConnectionError))
    return toldFailure(
      {
        status: error.status ?? null,
        type: error.type ?? null,
        message: typeof error.apiMessage === 'string' ? error.apiMessage : error.message,
        requestId: error.requestID ?? null,
        header: (name) => error.headers?.get(name) ?? null,
      },
      context,
    );
  if (error instanceof APIConnectionTimeoutError) return failure('timeout', 'the model endpoint did not answer in time');
  if (error instanceof APIConnectionError || systemCode(error) !== null || error instanceof TypeError) return connectionFailure(error);
  return failure('unknown', `the model request failed: ${clip(String(error), context.apiKey)}`);
}
