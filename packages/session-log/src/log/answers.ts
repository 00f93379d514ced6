/**
 * Answers to calls: which call an event answers, and what became of a call that waits for nobody any more. The log is asked only for
 * answers that the script did not take: repeated, late or wrong ones.
 */
import { type EventBody, eventKind } from '@manyhands/contract';
import type { NoSuchCall } from '../log-port.ts';
import type { LogEntry } from '../types.ts';

const CHUNK = 500;

/** The call that an event answers, or null for what is no answer. */
export function answeredCall(body: EventBody): string | null {
  const answers = eventKind(body.type)?.answers;
  return answers ? (body as unknown as Record<string, string>)[answers.field]! : null;
}

/** The primary's log, which shows the calls of all threads that wait for the client, and what clients answer. */
interface Log {
  read(sessionId: string, after: number, limit: number): Promise<LogEntry[]>;
  findEvent(sessionId: string, eventId: string): Promise<number | null>;
}

/** Position of the answer that a client gave first, or why there is none. */
export async function firstAnswer(log: Log, sessionId: string, answer: EventBody): Promise<{ position: number } | { why: NoSuchCall }> {
  const call = answeredCall(answer) ?? '';
  const asked = await log.findEvent(sessionId, call);
  let edge = asked === null ? null : asked - 1;
  let found = false;
  while (edge !== null) {
    const chunk = await log.read(sessionId, edge, CHUNK);
    for (const { event, position, hidden } of chunk) {
      if (event.id === call) {
        const asks = event.type === 'agent.tool_use';
        if (event.type !== (answer.type === 'user.tool_confirmation' ? 'agent.tool_use' : 'agent.custom_tool_use'))
          return { why: asks || event.type === 'agent.custom_tool_use' ? 'other_kind' : 'unknown' };
        if (asks && event.evaluated_permission !== 'ask') return { why: 'not_asked' };
        found = true;
      } else if (found && event.type === answer.type && answeredCall(event) === call) {
        // The server answers for a client that was interrupted.
        return hidden === null ? { position } : { why: 'over' };
      } else if (found && event.type === 'agent.tool_result' && event.tool_use_id === call) return { why: 'over' };
    }
    edge = chunk.at(-1)?.position ?? null;
  }
  return { why: found ? 'over' : 'unknown' };
}

/** An event in its latest form: processed if it is by now. `position` is where it first appeared. */
export async function latestForm(log: Pick<Log, 'read'>, sessionId: string, position: number): Promise<LogEntry> {
  let latest: LogEntry | null = null;
  let edge: number | null = position - 1;
  while (edge !== null) {
    const chunk: LogEntry[] = await log.read(sessionId, edge, CHUNK);
    for (const entry of chunk) {
      if (entry.position === position) latest = entry;
      if (entry.arrival === position) return entry;
    }
    if (latest?.kind === 'event') return latest;
    edge = chunk.at(-1)?.position ?? null;
  }
  if (!latest) throw new Error(`the log of session ${sessionId} has no entry ${position}`);
  return latest;
}
