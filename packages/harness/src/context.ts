/**
 * The context of a session: what the model has seen, folded from the log entry by entry. A pure function of the log, so that any worker
 * that reads the log stands where the last one stood, and the same log always makes the same prompt (cache hits).
 *
 * - A model request's events land in one append that ends with its `span.model_request_end`, so an answer is in the context whole or not
 *   at all.
 * - A tool call's id in the prompt is the id of its `agent.tool_use` event.
 * - User messages and tool results that follow each other are one user turn.
 */
import type Anthropic from '@anthropic-ai/sdk';
import type { UserContent } from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';

export interface OpenCall {
  id: string;
  name: string;
  input: Record<string, unknown>;
  /** Why the call must not run; set for calls whose input was no JSON object. */
  refusal: string | null;
}

export interface ContextMessage {
  role: 'user' | 'assistant';
  content: Anthropic.ContentBlockParam[];
}

/** Plain JSON: it is stored as a checkpoint. */
export interface Context {
  /** The last log position folded in. */
  position: number;
  messages: ContextMessage[];
  /** Blocks of the answer whose request has not ended yet. */
  answer: Anthropic.ContentBlockParam[];
  /** Calls without a result, in order. */
  openCalls: OpenCall[];
  /** The request span that is open, if any. */
  openSpan: string | null;
  /** There is something for the model to answer. */
  awaitsModel: boolean;
  /** `session.status_running` was told and no idle since. */
  turnOpen: boolean;
  /** The last told status is `rescheduling`. */
  rescheduled: boolean;
}

/** What the harness keeps with an event and never shows. */
export interface HiddenFacts {
  /** A thinking block to carry back to the model, signature included. */
  block?: Anthropic.ContentBlockParam;
  refusal?: string;
}

export function emptyContext(): Context {
  return { position: 0, messages: [], answer: [], openCalls: [], openSpan: null, awaitsModel: false, turnOpen: false, rescheduled: false };
}

function addToUserTurn(context: Context, blocks: Anthropic.ContentBlockParam[]): void {
  const last = context.messages.at(-1);
  if (last?.role === 'user') last.content.push(...blocks);
  else context.messages.push({ role: 'user', content: blocks });
}

/** The Messages API refuses blank text blocks; a message of nothing else says that it is empty. */
function userBlocks(content: UserContent): Anthropic.TextBlockParam[] {
  const blocks = content.filter(({ text }) => text.trim() !== '').map(({ text }) => ({ type: 'text' as const, text }));
  return blocks.length > 0 ? blocks : [{ type: 'text', text: '(an empty message)' }];
}

/** Folds one entry into the context, in place. Entries at or before the context's position are known already. */
export function fold(context: Context, entry: LogEntry): void {
  if (entry.position <= context.position) return;
  context.position = entry.position;
  if (entry.kind === 'queued') return;
  const { event } = entry;
  const hidden = (entry.hidden ?? {}) as HiddenFacts;
  switch (event.type) {
    case 'user.message':
      addToUserTurn(context, userBlocks(event.content));
      context.awaitsModel = true;
      return;
    case 'user.interrupt':
      context.awaitsModel = false;
      return;
    case 'agent.message':
      for (const { text } of event.content) context.answer.push({ type: 'text', text });
      return;
    case 'agent.thinking':
      if (hidden.block) context.answer.push(hidden.block);
      return;
    case 'agent.tool_use':
      context.answer.push({ type: 'tool_use', id: event.id, name: event.name, input: event.input });
      context.openCalls.push({ id: event.id, name: event.name, input: event.input, refusal: hidden.refusal ?? null });
      return;
    case 'agent.tool_result':
      context.openCalls = context.openCalls.filter(({ id }) => id !== event.tool_use_id);
      addToUserTurn(context, [
        {
          type: 'tool_result',
          tool_use_id: event.tool_use_id,
          is_error: event.is_error,
          content: event.content.filter(({ text }) => text !== '').map(({ text }) => ({ type: 'text', text })),
        },
      ]);
      context.awaitsModel = true;
      return;
    case 'span.model_request_start':
      context.openSpan = event.id;
      context.answer = [];
      return;
    case 'span.model_request_end':
      context.openSpan = null;
      if (!event.is_error) {
        if (context.answer.length > 0) context.messages.push({ role: 'assistant', content: context.answer });
        // Calls are answered before the model speaks again.
        context.awaitsModel = false;
      }
      context.answer = [];
      return;
    case 'session.status_running':
      context.turnOpen = true;
      context.rescheduled = false;
      return;
    case 'session.status_rescheduled':
      context.rescheduled = true;
      return;
    case 'session.status_idle':
      context.turnOpen = false;
      context.rescheduled = false;
      context.awaitsModel = false;
      return;
    default:
      return;
  }
}
