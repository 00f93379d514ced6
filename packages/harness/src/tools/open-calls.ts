/** Calls without a result: which of them wait for the session's client, which may run, and how the server ends one itself. */
import type { Context, OpenCall } from '../context/context.ts';
import type { JournalEntry } from '../thread/journal.ts';

/** The calls that wait for a word of the client. */
export function waitingCalls({ openCalls }: Context): OpenCall[] {
  return openCalls.filter(({ gate, refusal }) => refusal === null && (gate === 'ask' || gate === 'client'));
}

/** Open calls that nothing holds back. What the client confirmed runs when it has said something to all that waits (BEHAVIOUR 10). */
export function startableCalls(context: Context): OpenCall[] {
  const waiting = new Set(waitingCalls(context));
  return context.openCalls.filter(
    (call) => !waiting.has(call) && (call.gate !== 'approved' || call.refusal !== null || (waiting.size === 0 && context.turnOpen)),
  );
}

/** The result of a call that the server answers itself, with an error. */
export function failedCall({ id, gate }: OpenCall, text: string): JournalEntry {
  const content = [{ type: 'text' as const, text }];
  return gate === 'client'
    ? { body: { type: 'user.custom_tool_result', custom_tool_use_id: id, is_error: true, content }, hidden: { synthetic: true } }
    : { body: { type: 'agent.tool_result', tool_use_id: id, is_error: true, content } };
}

/** Nobody waits for the client's word on this call any more. Of two results of a client's tool only one is written. */
export function closedCall({ id, gate }: OpenCall): { id: string; waitsFor: 'taken' | null } {
  return { id, waitsFor: gate === 'client' ? 'taken' : null };
}
