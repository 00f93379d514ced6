/**
 * The context of a thread: what the model has seen, folded from the log entry by entry. A pure function of the log, so that any worker
 * that reads the log stands where the last one stood, and the same log always makes the same prompt (cache hits).
 *
 * - A model request's events land in one append that ends with its `span.model_request_end`, so an answer is in the context whole or not
 *   at all.
 * - A tool call's id in the prompt is the id of its `agent.tool_use` event.
 * - User messages and tool results that follow each other are one user turn.
 * - A refused answer is no part of the conversation: a model that sees its own refusal refuses on.
 */
import type Anthropic from '@anthropic-ai/sdk';
import {
  type BuiltinToolContent,
  type ClientToolContent,
  type DocumentBlock,
  fileReference,
  type SearchResultBlock,
  type StopDetails,
  type UserContent,
  WEB_TOOLS,
} from '@manyhands/contract';
import type { LogEntry } from '@manyhands/session-log';
import { compacted } from './compaction.ts';
import { messageTokens, tokensOf } from './context-size.ts';
import { boundMedia, holdsMedia } from './media-bound.ts';
import { noteClientResult, noteMessage, noteServerResult, nothingSeen, type SeenUrls } from './seen-urls.ts';

export interface OpenCall {
  id: string;
  name: string;
  input: Record<string, unknown>;
  /** Why the call must not run; set for calls whose input was no JSON object, and for calls that policy or client denied. */
  refusal: string | null;
  /** What it waits for: the client's confirmation or the client's result. `approved`: confirmed, to run when nothing waits any more. */
  gate?: 'ask' | 'client' | 'approved';
}

export interface ContextMessage {
  role: 'user' | 'assistant' | 'system';
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
  /** Running was told of the thread and no idle since. */
  turnOpen: boolean;
  /** The last told status is `rescheduling`. */
  rescheduled: boolean;
  /** The calls that the last idle was told for; null if it was told for another reason, or was not the last that was told. */
  parkedOn?: string[] | null;
  /** The model refused the current message. */
  refused?: StopDetails;
  /** Tokens of the last answered request, its answer included, and an estimate of what came since. */
  tokens: number;
  grown: number;
  /** Compactions since the model last answered. */
  compactions: number;
  /** Answers with calls since the client last said something. */
  rounds: number;
  /** URLs that the model was shown. */
  seen: SeenUrls;
}

/** What the harness keeps with an event and never shows. */
export interface HiddenFacts {
  /** A thinking block to carry back to the model, signature included. */
  block?: Anthropic.ContentBlockParam;
  refusal?: string;
  /** On the end of a request: its answer was a refusal. */
  refused?: NonNullable<StopDetails>;
  /** The server answered in the client's place. */
  synthetic?: true;
  /** On the end of a request: what prompt and answer took of the context window. */
  tokens?: number;
  /** On the end of a request: it made the summary of a compaction, which is no answer. */
  compaction?: true;
  /** On a compaction: what took the place of the conversation, and how many tokens of its newest part stay as they are. */
  summary?: { text: string; kept: number };
}

export function emptyContext(): Context {
  return {
    position: 0,
    messages: [],
    answer: [],
    openCalls: [],
    openSpan: null,
    awaitsModel: false,
    turnOpen: false,
    rescheduled: false,
    parkedOn: null,
    refused: null,
    tokens: 0,
    grown: 0,
    compactions: 0,
    rounds: 0,
    seen: nothingSeen(),
  };
}

function addToUserTurn(context: Context, blocks: Anthropic.ContentBlockParam[]): void {
  context.grown += tokensOf(blocks);
  const last = context.messages.at(-1);
  if (last?.role === 'user') last.content.push(...blocks);
  else context.messages.push({ role: 'user', content: blocks });
  // Nothing else makes it too much, and looking walks the whole conversation.
  if (holdsMedia(blocks)) boundMedia(context.messages);
}

/** The Messages API refuses an answer that ends in thinking: it was cut off before it said anything. */
function answered(blocks: Anthropic.ContentBlockParam[]): Anthropic.ContentBlockParam[] {
  const end = blocks.findLastIndex(({ type }) => type !== 'thinking' && type !== 'redacted_thinking');
  return blocks.slice(0, end + 1);
}

/** Titles and contexts of nothing are left out. */
function documentBlock({ title, context, ...document }: DocumentBlock): Anthropic.DocumentBlockParam {
  return { ...(document as Anthropic.DocumentBlockParam), ...(title ? { title } : {}), ...(context ? { context } : {}) };
}

/** Files are in the context as their bytes (attachments.ts); one that is not was lost. */
function lostFile(block: { type: string }): { type: 'text'; text: string } | null {
  const reference = fileReference(block);
  return reference && { type: 'text', text: `[The ${reference.kind} ${reference.fileId} was here; its content is gone.]` };
}

/** The Messages API refuses blank text blocks; a message of nothing else says that it is empty. */
function userBlocks(content: UserContent): Anthropic.ContentBlockParam[] {
  const blocks = content.flatMap((block): Anthropic.ContentBlockParam[] => {
    if (block.type === 'text') return block.text.trim() === '' ? [] : [{ type: 'text', text: block.text }];
    return [lostFile(block) ?? (block.type === 'document' ? documentBlock(block) : (block as Anthropic.ImageBlockParam))];
  });
  return blocks.length > 0 ? blocks : [{ type: 'text', text: '(an empty message)' }];
}

type ResultBlock = Exclude<Anthropic.ToolResultBlockParam['content'], string | undefined>[number];

/** The Messages API refuses blank text blocks, errors without content, and errors with anything but text. */
function resultBlocks(content: BuiltinToolContent | ClientToolContent, isError: boolean): ResultBlock[] {
  const blocks = content.flatMap((block): ResultBlock[] => {
    if (block.type === 'text') return block.text.trim() === '' ? [] : [block];
    if (isError) return [];
    if (block.type === 'search_result') {
      const said = block.content.filter(({ text }) => text.trim() !== '');
      return said.length > 0 ? [{ ...block, content: said }] : [];
    }
    return [lostFile(block) ?? (block.type === 'document' ? documentBlock(block as DocumentBlock) : (block as ResultBlock))];
  });
  return blocks.length > 0 ? blocks : [{ type: 'text', text: '(no output)' }];
}

/**
 * What the search tool of the server found, in words: not every endpoint knows blocks of search results, and the Messages API refuses those
 * whose citations are off beside those of a client's tool whose citations are on.
 */
function foundInWords(content: BuiltinToolContent): BuiltinToolContent {
  const words = ({ title, source, content: said }: SearchResultBlock) => [title, source, ...said.map(({ text }) => text)].join('\n');
  return content.map((block) => (block.type === 'search_result' ? { type: 'text', text: words(block) } : block));
}

/** The call that a result is for; undefined if it had one: the first counts. */
function openCall(context: Context, id: string): OpenCall | undefined {
  return context.openCalls.find((call) => call.id === id);
}

function addResult(context: Context, id: string, content: BuiltinToolContent | ClientToolContent, isError: boolean): void {
  context.openCalls = context.openCalls.filter((call) => call.id !== id);
  addToUserTurn(context, [{ type: 'tool_result', tool_use_id: id, is_error: isError, content: resultBlocks(content, isError) }]);
  context.awaitsModel = true;
}

/** What the model is told of a call that must not run. */
export function denied(tool: string, message?: string | null): string {
  const text = `Permission to use ${tool} has been denied.`;
  return typeof message === 'string' && message.trim() !== '' ? `${text} ${message}` : text;
}

/** Folds one entry into the context, in place. Entries at or before the context's position are known already. */
export function fold(context: Context, entry: LogEntry): void {
  if (entry.position <= context.position) return;
  context.position = entry.position;
  // What the primary's log shows of a child is none of its own.
  if (entry.kind === 'queued' || entry.copyOf !== null) return;
  const { event } = entry;
  const hidden = (entry.hidden ?? {}) as HiddenFacts;
  switch (event.type) {
    case 'user.message':
    case 'agent.thread_message_received':
      addToUserTurn(context, userBlocks(event.content));
      noteMessage(context.seen, event.content);
      context.awaitsModel = true;
      context.refused = null;
      context.rounds = 0;
      return;
    case 'user.interrupt':
      context.awaitsModel = false;
      context.refused = null;
      return;
    case 'agent.message':
      for (const { text } of event.content) context.answer.push({ type: 'text', text });
      return;
    case 'agent.thinking':
      if (hidden.block) context.answer.push(hidden.block);
      return;
    case 'agent.tool_use':
    case 'agent.custom_tool_use': {
      const { id, name, input } = event;
      const gate =
        event.type === 'agent.custom_tool_use' ? ('client' as const) : event.evaluated_permission === 'ask' ? ('ask' as const) : null;
      context.answer.push({ type: 'tool_use', id, name, input });
      context.openCalls.push({ id, name, input, refusal: hidden.refusal ?? null, ...(gate === null ? {} : { gate }) });
      return;
    }
    case 'user.tool_confirmation': {
      const call = context.openCalls.find(({ id, gate }) => id === event.tool_use_id && gate === 'ask');
      if (!call) return;
      call.gate = 'approved';
      if (event.result === 'deny') call.refusal = denied(call.name, event.deny_message);
      return;
    }
    case 'agent.tool_result': {
      const call = openCall(context, event.tool_use_id);
      if (!call) return;
      addResult(context, call.id, foundInWords(event.content), event.is_error);
      if (!event.is_error && (WEB_TOOLS as readonly string[]).includes(call.name)) noteServerResult(context.seen, call.name, event.content);
      return;
    }
    case 'user.custom_tool_result': {
      const call = openCall(context, event.custom_tool_use_id);
      if (!call) return;
      addResult(context, call.id, event.content ?? [], event.is_error === true);
      noteClientResult(context.seen, call.name, event.content ?? []);
      return;
    }
    case 'system.message': {
      const said = event.content.filter(({ text }) => text.trim() !== '');
      if (said.length > 0) context.messages.push({ role: 'system', content: said.map(({ text }) => ({ type: 'text', text })) });
      return;
    }
    case 'span.model_request_start':
      context.openSpan = event.id;
      context.answer = [];
      return;
    case 'span.model_request_end':
      context.openSpan = null;
      if (hidden.refused) {
        context.refused = hidden.refused;
        context.awaitsModel = false;
      } else if (!event.is_error && hidden.compaction !== true) {
        const answer = answered(context.answer);
        if (answer.length > 0) context.messages.push({ role: 'assistant', content: answer });
        // Calls are answered before the model speaks again.
        context.awaitsModel = false;
        // An endpoint that counts nothing leaves the estimate.
        context.tokens = hidden.tokens ? hidden.tokens : messageTokens(context.messages);
        context.grown = 0;
        context.compactions = 0;
        if (context.openCalls.length > 0) context.rounds++;
      }
      context.answer = [];
      return;
    case 'agent.thread_context_compacted':
      if (!hidden.summary) return;
      context.messages = compacted(context.messages, hidden.summary.text, hidden.summary.kept);
      context.tokens = messageTokens(context.messages);
      context.grown = 0;
      context.compactions++;
      return;
    case 'session.thread_status_running':
      context.turnOpen = true;
      context.rescheduled = false;
      context.parkedOn = null;
      return;
    case 'session.thread_status_rescheduled':
      context.rescheduled = true;
      return;
    case 'session.thread_status_idle':
      context.turnOpen = false;
      context.rescheduled = false;
      context.refused = null;
      // What a thread that awaits action was answered so far still waits for the model.
      if (event.stop_reason.type === 'requires_action') context.parkedOn = event.stop_reason.event_ids;
      else {
        context.parkedOn = null;
        context.compactions = 0;
        // At a budget the work only waits.
        if (event.stop_reason.type !== 'budget_reached') context.awaitsModel = false;
      }
      return;
    default:
      return;
  }
}
