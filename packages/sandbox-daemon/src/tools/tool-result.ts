/** What a tool answers with, and the one error that means "the call failed, tell the model". */
import type { ToolResult } from '@manyhands/contract';

/** The text goes to the model as an error result. Anything else thrown by a tool is a fault of ours and is told as such. */
export class ToolFailure extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ToolFailure';
  }
}

/** Text longer than this goes to a file; the model gets a part of it and the path (BEHAVIOUR 9). */
export const INLINE_TEXT_MAX_CHARS = 100_000;

/** CONTRACT: the text of a call that was stopped before its end. */
export const INTERRUPTED = 'Tool execution was interrupted before completion. Please retry.';

export function success(text: string): ToolResult {
  return { is_error: false, content: [{ type: 'text', text }] };
}
export function failure(text: string): ToolResult {
  return { is_error: true, content: [{ type: 'text', text }] };
}

const QUOTED_MAX_CHARS = 300;

/** Text of the model inside a message of ours: cut, so that a message stays a message. */
export function quoted(text: string): string {
  return text.length <= QUOTED_MAX_CHARS ? text : `${text.slice(0, QUOTED_MAX_CHARS)}…`;
}
