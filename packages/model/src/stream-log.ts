/** What each adapter tells its log of a request: whether it was answered, and if not, why. An abort is the caller's business. */
import type { Clock, Logger } from '@manyhands/base';
import { type ModelClient, ModelError } from './model-client.ts';

export function logStream(stream: ModelClient['stream'], log: Logger, clock: Clock): ModelClient['stream'] {
  return async (request, listener, signal) => {
    const facts = { op: 'model.stream', sessionId: request.sessionId, model: request.model };
    const startedAt = clock.now();
    try {
      const response = await stream(request, listener, signal);
      log.debug({ ...facts, ok: true, durationMs: clock.now() - startedAt }, 'model answered');
      return response;
    } catch (error) {
      if (error instanceof ModelError && error.reason !== 'aborted')
        log.debug({ ...facts, ok: false, reason: error.reason, ...error.details }, 'model request failed');
      throw error;
    }
  };
}
