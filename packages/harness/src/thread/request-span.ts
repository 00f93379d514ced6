/**
 * The frame of a model request: the event that opens its span, and what becomes of a request that brings no answer.
 *
 * What can end a request without an answer: an interrupt (the span is closed, the turn's loop stamps the interrupt); a failure that may be
 * tried again (the thread is `rescheduling` for the back-off); a failure that may not, or too many in a row (the turn is given up); a
 * refusal by the endpoint's rules; the end of this process (the span is closed, the next worker asks again); the lease lost (nothing is
 * written). A request that the budget does not allow is not begun.
 */
import { backoffMs, hasCode, pause } from '@manyhands/base';
import type { SessionErrorType } from '@manyhands/contract';
import { ModelError, type ModelErrorKind, type ModelUsageCounts } from '@manyhands/model';
import type { HiddenFacts } from '../context/context.ts';
import { giveUp } from './go-idle.ts';
import { appendAll, handled, type JournalEntry } from './journal.ts';
import { rescheduledEvents, runningEvents } from './status-events.ts';
import { checkLost, type Turn } from './turn.ts';
import { modelUsage, NO_MODEL_USAGE } from './usage.ts';

const ERROR_TYPE: Record<ModelErrorKind, SessionErrorType> = {
  overloaded: 'model_overloaded_error',
  rate_limited: 'model_rate_limited_error',
  request_failed: 'model_request_failed_error',
  billing: 'billing_error',
  authentication: 'model_request_failed_error',
  aborted: 'unknown_error',
  unknown: 'unknown_error',
};

/** `answered`: the turn goes on. `ended`: it is over and told. `capped`: the budget allows no request. */
export type ModelStepEnd = 'answered' | 'ended' | 'interrupted' | 'capped' | 'gave_up' | 'handed_over' | 'drained';

/**
 * Opens a span behind `lead`; null, with nothing written, if the budget is used up. `stoppedBy`: the interrupt of the whole session after which
 * this is asked. One that came since ends this request.
 */
export async function openSpan(turn: Turn, lead: JournalEntry[], stoppedBy = 0): Promise<string | null> {
  const written = await turn.journal.append([...backToWork(turn), ...lead, { body: { type: 'span.model_request_start' } }], {
    budget: 'left',
    ...handled(stoppedBy),
  });
  return 'refused' in written ? null : written.ids.at(-1)!;
}

/** A thread that was `rescheduling` in a turn tells that it runs again. Where no turn is open, what opens it tells that. */
export function backToWork({ context }: Turn): JournalEntry[] {
  return context.rescheduled && context.turnOpen ? runningEvents() : [];
}

/** `usage` is null for a request that brought no answer. */
export function spanEnd(spanId: string, usage: ModelUsageCounts | null, hidden?: HiddenFacts): JournalEntry {
  return {
    body: {
      type: 'span.model_request_end',
      model_request_start_id: spanId,
      is_error: usage === null,
      model_usage: usage ? modelUsage(usage) : NO_MODEL_USAGE,
    },
    ...(hidden ? { hidden } : {}),
  };
}

/** Whatever a request died of; `too_long` is for the caller to mend, its span closed. */
export async function requestFailed(turn: Turn, spanId: string, error: unknown, interrupted: boolean): Promise<ModelStepEnd | 'too_long'> {
  const { deps, journal } = turn;
  const { settings } = deps;
  checkLost(turn);
  if (hasCode(error, 'fenced')) throw error;
  if (interrupted || turn.drain.due.aborted) {
    await appendAll(journal, [spanEnd(spanId, null)]);
    return interrupted ? 'interrupted' : 'handed_over';
  }
  if (!(error instanceof ModelError)) throw error;
  turn.report.line(`model request failed (${error.reason}), attempt ${turn.failures + 1}`);
  turn.log.warn({ reason: error.reason, retryable: error.retryable, failures: turn.failures + 1 }, 'model request failed');
  if (error.reason === 'context_window') {
    await appendAll(journal, [spanEnd(spanId, null)]);
    return 'too_long';
  }
  if (error.reason === 'refused') {
    const refused = { type: 'refusal', category: null, explanation: error.message } as const;
    await appendAll(journal, [spanEnd(spanId, null, { refused })], { progress: true, failures: 0 });
    return 'answered';
  }
  turn.failures++;
  const type = ERROR_TYPE[error.kind];
  if (!error.retryable || turn.failures >= settings.modelAttempts) {
    await giveUp(turn, [spanEnd(spanId, null)], type, error.message);
    return 'gave_up';
  }
  const waitMs = Math.max(error.retryAfterMs ?? 0, backoffMs(turn.failures - 1, settings.retryBaseMs, settings.retryCapMs));
  await appendAll(journal, [spanEnd(spanId, null), ...rescheduledEvents(type, error.message)], { failures: turn.failures, waitMs });
  turn.report.phase('waiting to try again');
  const interrupt = turn.inbox.interruptSignal();
  try {
    await pause(waitMs, AbortSignal.any([interrupt.signal, turn.lost, turn.drain.begun]));
    return 'answered';
  } catch {
    checkLost(turn);
    return interrupt.signal.aborted ? 'interrupted' : 'drained';
  } finally {
    interrupt.done();
  }
}
