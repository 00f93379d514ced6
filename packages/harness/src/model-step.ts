/**
 * One model request: span start, the streamed answer with previews, and the whole answer in one append that ends with the span's end.
 *
 * What can end it: the answer; an interrupt (the span is closed, the turn's loop stamps the interrupt); a failure that may be tried again
 * (the session is `rescheduling` for the back-off); a failure that may not, or too many in a row (the turn is given up); the lease lost
 * (nothing is written).
 */
import type Anthropic from '@anthropic-ai/sdk';
import { backoffMs, hasCode, pause } from '@manyhands/base';
import { BUILTIN_TOOLS, enabledTools, type SessionErrorType } from '@manyhands/contract';
import { ModelError, type ModelErrorKind, type ModelResponse } from '@manyhands/model';
import { giveUp } from './go-idle.ts';
import { appendAll, type JournalEntry } from './journal.ts';
import { createPreviewSender } from './preview-sender.ts';
import { buildPrompt } from './prompt.ts';
import { rescheduledEvents, runningEvents } from './status-events.ts';
import { checkLost, type Turn } from './turn.ts';
import { addUsage, modelUsage, NO_MODEL_USAGE } from './usage.ts';

const ERROR_TYPE: Record<ModelErrorKind, SessionErrorType> = {
  overloaded: 'model_overloaded_error',
  rate_limited: 'model_rate_limited_error',
  request_failed: 'model_request_failed_error',
  billing: 'billing_error',
  authentication: 'model_request_failed_error',
  aborted: 'unknown_error',
  unknown: 'unknown_error',
};

export type ModelStepEnd = 'answered' | 'interrupted' | 'gave_up' | 'drained';

export async function modelStep(turn: Turn, lead: JournalEntry[]): Promise<ModelStepEnd> {
  const { deps, journal, context, inbox } = turn;
  turn.report.phase('model');
  const back = context.rescheduled ? runningEvents(turn) : [];
  const ids = await appendAll(
    journal,
    [...back, ...lead, { body: { type: 'span.model_request_start' } }],
    back.length > 0 ? { state: { status: 'running' } } : {},
  );
  const spanId = ids.at(-1)!;

  const interrupt = inbox.interruptSignal();
  const startedAt = deps.clock.now();
  try {
    const { response, eventIds } = await request(turn, AbortSignal.any([interrupt.signal, turn.lost]));
    turn.usage = addUsage(turn.usage, response.usage);
    turn.failures = 0;
    await appendAll(journal, [...answerEntries(turn, response, eventIds), spanEnd(spanId, false, response)], {
      state: { usage: turn.usage, takeovers: 0, failures: 0 },
    });
    turn.log.info(
      { op: 'model', durationMs: deps.clock.now() - startedAt, stopReason: response.stopReason, ...response.usage },
      'model answered',
    );
    return 'answered';
  } catch (error) {
    checkLost(turn);
    if (hasCode(error, 'fenced')) throw error;
    if (interrupt.signal.aborted) {
      await appendAll(journal, [spanEnd(spanId, true)]);
      return 'interrupted';
    }
    if (!(error instanceof ModelError)) throw error;
    return await failed(turn, spanId, error);
  } finally {
    interrupt.done();
  }
}

function spanEnd(spanId: string, isError: boolean, response?: ModelResponse): JournalEntry {
  return {
    body: {
      type: 'span.model_request_end',
      model_request_start_id: spanId,
      is_error: isError,
      model_usage: response ? modelUsage(response.usage) : NO_MODEL_USAGE,
    },
  };
}

/** Streams the answer; each text or thinking block gets its event id when it starts, and previews under that id. */
async function request(turn: Turn, signal: AbortSignal): Promise<{ response: ModelResponse; eventIds: Map<number, string> }> {
  const { deps, journal, lease } = turn;
  const eventIds = new Map<number, string>();
  const previews = createPreviewSender(deps.writer, lease.sessionId, lease.epoch, journal.head, turn.nextPreviewNumber);
  const begin = (index: number, kind: 'agent.message' | 'agent.thinking'): string => {
    const known = eventIds.get(index);
    if (known) return known;
    const id = journal.mintEventId();
    eventIds.set(index, id);
    previews.start(id, kind);
    return id;
  };
  try {
    const streaming = deps.model.stream(
      buildPrompt(turn.record.agent, turn.context, deps.settings.maxTokens, lease.sessionId),
      {
        onBlockStart(index, kind) {
          if (kind === 'thinking') begin(index, 'agent.thinking');
        },
        // A text block is announced with its first text: an empty one never becomes an event.
        onText: (index, text) => previews.text(begin(index, 'agent.message'), text),
      },
      signal,
    );
    turn.tools.hint();
    return { response: await streaming, eventIds };
  } finally {
    await previews.end();
  }
}

/** The events of an answer, in the order of its blocks. */
function answerEntries(turn: Turn, response: ModelResponse, eventIds: Map<number, string>): JournalEntry[] {
  const enabled = enabledTools(turn.record.agent.tools);
  return response.content.flatMap((block, index): JournalEntry[] => {
    const id = eventIds.get(index) ?? turn.journal.mintEventId();
    switch (block.type) {
      case 'text':
        return block.text.trim() === '' ? [] : [{ id, body: { type: 'agent.message', content: [{ type: 'text', text: block.text }] } }];
      case 'thinking':
      case 'redacted_thinking':
        return [{ id, body: { type: 'agent.thinking' }, hidden: { block } }];
      case 'tool_use':
        return [toolUseEntry(turn, block, enabled, response.invalidInputs[index])];
      default:
        turn.log.warn({ blockType: (block as { type: string }).type }, 'the model sent a block that is not supported; left out');
        return [];
    }
  });
}

function toolUseEntry(
  turn: Turn,
  block: Anthropic.ToolUseBlock,
  enabled: ReadonlySet<string>,
  invalidInput: string | undefined,
): JournalEntry {
  const id = turn.journal.mintEventId();
  const { name } = block;
  const input = block.input as Record<string, unknown>;
  if (!enabled.has(name)) {
    const known = (BUILTIN_TOOLS as readonly string[]).includes(name);
    const refusal = known ? `Permission to use ${name} has been denied.` : `There is no tool named ${JSON.stringify(name)}.`;
    return { id, body: { type: 'agent.tool_use', name, input, evaluated_permission: 'deny' }, hidden: { refusal } };
  }
  const refusal = invalidInput === undefined ? undefined : `The input of ${name} was not a JSON object: ${invalidInput}`;
  return {
    id,
    body: { type: 'agent.tool_use', name, input, evaluated_permission: 'allow', evaluation: { type: 'always_allow' } },
    ...(refusal === undefined ? {} : { hidden: { refusal } }),
  };
}

async function failed(turn: Turn, spanId: string, error: ModelError): Promise<ModelStepEnd> {
  const { deps, journal } = turn;
  const { settings } = deps;
  turn.failures++;
  const type = ERROR_TYPE[error.kind];
  turn.log.warn({ kind: error.kind, retryable: error.retryable, failures: turn.failures }, 'model request failed');
  turn.report.line(`model request failed (${error.kind}), attempt ${turn.failures}`);
  if (!error.retryable || turn.failures >= settings.modelAttempts) {
    await giveUp(turn, [spanEnd(spanId, true)], type, error.message);
    return 'gave_up';
  }
  const waitMs = Math.max(error.retryAfterMs ?? 0, backoffMs(turn.failures - 1, settings.retryBaseMs, settings.retryCapMs));
  await appendAll(journal, [spanEnd(spanId, true), ...rescheduledEvents(turn, type, error.message)], {
    state: { status: 'rescheduling', failures: turn.failures },
    wakeAtMs: deps.clock.now() + waitMs,
  });
  turn.report.phase('waiting to try again');
  const interrupt = turn.inbox.interruptSignal();
  try {
    await pause(waitMs, AbortSignal.any([interrupt.signal, turn.lost, turn.drain]));
    return 'answered';
  } catch {
    checkLost(turn);
    return interrupt.signal.aborted ? 'interrupted' : 'drained';
  } finally {
    interrupt.done();
  }
}
