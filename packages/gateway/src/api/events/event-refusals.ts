/** Refusals of sent events: each names the event and the remedy (CONTRACT 3.1, 4.4, 8.10; BEHAVIOUR 8, 10). */
import { invalidRequest, type WireError } from '@manyhands/base';
import type { ClientEventBody } from '@manyhands/contract';
import type { NoSuchCall } from '@manyhands/session-log';

/** A message for a session that waits for its client. */
export function sessionWaits(index: number, calls: readonly string[]): WireError {
  return invalidRequest(
    `events.${index}: the session is waiting on responses to ${calls.join(', ')}; answer these with user.tool_confirmation or ` +
      'user.custom_tool_result, or send a user.interrupt first',
  );
}

/** Work for a session that rests at its budget. */
export function budgetReached(index: number): WireError {
  return invalidRequest(
    `events.${index}: the session has reached its budget and takes only user.tool_confirmation, user.custom_tool_result, user.tool_result and ` +
      'user.interrupt; raise or remove the budget first',
  );
}

/** An answer that answers nothing. */
export function noSuchCall(index: number, answer: ClientEventBody, call: string, why: NoSuchCall): WireError {
  const confirms = answer.type === 'user.tool_confirmation';
  const field = `events.${index}.${confirms ? 'tool_use_id' : 'custom_tool_use_id'}`;
  const wanted = confirms ? 'agent.tool_use' : 'agent.custom_tool_use';
  const right = confirms ? 'user.custom_tool_result' : 'user.tool_confirmation';
  const text: Record<NoSuchCall, string> = {
    unknown: `this session has no ${wanted} event ${JSON.stringify(call)}`,
    other_kind: `${call} is no ${wanted} event; it is answered by ${right}, if at all`,
    not_asked: `${call} was not asked for: its evaluated_permission is not "ask"`,
    over: `${call} waits for no answer any more; it was interrupted or given up`,
  };
  return invalidRequest(`${field}: ${text[why]}`);
}

/** A system message for a model that takes none. */
export function noSystemMessages(index: number, model: string): WireError {
  return invalidRequest(
    `events.${index}: model_does_not_support_mid_conversation_system: ${model} takes no system messages inside a conversation; ` +
      'put the text into a user.message, or use a newer model',
    { errorCode: 'model_does_not_support_mid_conversation_system' },
  );
}
