/**
 * A request of the port as a chat completion.
 *
 * - Thinking is never sent back: it belongs to the model that thought it.
 * - Tool results come first, in the order in which they stand; what these endpoints cannot put into a result (images) follows in a
 *   message of the user. Neighbouring messages of one role become one, as the Messages API merges them.
 * - What cannot be said in this protocol is refused with the place of the block, never left out in silence; only a tool result may lose a
 *   part, and then says so, because no session should end over what a tool brought along.
 */
import type Anthropic from '@anthropic-ai/sdk';
import { failure } from '../failure.ts';
import type { ModelEffort, ModelRequest } from '../model-client.ts';

export interface ChatSettings {
  /** False for models that take no images: notes stand in for them. */
  images: boolean;
  maxTokensField: 'max_tokens' | 'max_completion_tokens';
}

type ChatPart = { type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } };
interface ChatCall {
  id: string;
  type: 'function';
  function: { name: string; arguments: string };
}
export type ChatMessage =
  | { role: 'system'; content: string }
  | { role: 'user'; content: string | ChatPart[] }
  | { role: 'assistant'; content: string | null; tool_calls?: ChatCall[] }
  | { role: 'tool'; tool_call_id: string; content: string };

/** The scale of these endpoints ends at high. */
const EFFORT: Record<ModelEffort, string> = { low: 'low', medium: 'medium', high: 'high', xhigh: 'high', max: 'high' };
const DEFAULT_EFFORT = 'high';
const NO_OUTPUT = '(no output)';

export function chatRequest(request: ModelRequest, settings: ChatSettings): Record<string, unknown> {
  if (request.speed === 'fast')
    throw failure(
      'invalid_request',
      'speed "fast" is not offered by OpenAI-compatible endpoints; use "standard" or a model of another upstream',
    );
  return {
    model: request.model,
    stream: true,
    stream_options: { include_usage: true },
    [settings.maxTokensField]: request.maxTokens,
    messages: chatMessages(request, settings),
    ...(request.tools.length > 0 ? { tools: request.tools.map(chatTool) } : {}),
    ...(request.effort && request.effort !== DEFAULT_EFFORT ? { reasoning_effort: EFFORT[request.effort] } : {}),
  };
}

function chatTool(tool: Anthropic.Tool): Record<string, unknown> {
  return {
    type: 'function',
    function: {
      name: tool.name,
      ...(tool.description === undefined ? {} : { description: tool.description }),
      parameters: tool.input_schema,
    },
  };
}

function chatMessages(request: ModelRequest, settings: ChatSettings): ChatMessage[] {
  const system = request.system.map((block) => block.text).join('\n\n');
  const messages: ChatMessage[] = system === '' ? [] : [{ role: 'system', content: system }];
  request.messages.forEach((message, at) => {
    const blocks: Anthropic.ContentBlockParam[] =
      typeof message.content === 'string' ? [{ type: 'text', text: message.content }] : message.content;
    const place = `messages[${at}].content`;
    if (message.role === 'system') messages.push({ role: 'system', content: systemText(blocks, place) });
    else if (message.role === 'assistant') addAssistant(messages, blocks, place);
    else addUser(messages, blocks, place, settings);
  });
  return messages.map(joined);
}

function systemText(blocks: readonly Anthropic.ContentBlockParam[], place: string): string {
  return blocks.map((block, at) => (block.type === 'text' ? block.text : refuse(block.type, `${place}[${at}]`))).join('\n\n');
}

function addAssistant(messages: ChatMessage[], blocks: readonly Anthropic.ContentBlockParam[], place: string): void {
  const texts: string[] = [];
  const calls: ChatCall[] = [];
  blocks.forEach((block, at) => {
    switch (block.type) {
      case 'text':
        texts.push(block.text);
        break;
      case 'tool_use':
        calls.push({ id: block.id, type: 'function', function: { name: block.name, arguments: JSON.stringify(block.input ?? {}) } });
        break;
      case 'thinking':
      case 'redacted_thinking':
        break;
      default:
        refuse(block.type, `${place}[${at}]`);
    }
  });
  if (texts.length === 0 && calls.length === 0) return;
  const last = messages.at(-1);
  const content = texts.length > 0 ? texts.join('') : null;
  if (last?.role !== 'assistant') {
    messages.push({ role: 'assistant', content, ...(calls.length > 0 ? { tool_calls: calls } : {}) });
    return;
  }
  last.content = last.content === null ? content : last.content + (content ?? '');
  if (calls.length > 0) last.tool_calls = [...(last.tool_calls ?? []), ...calls];
}

function addUser(messages: ChatMessage[], blocks: readonly Anthropic.ContentBlockParam[], place: string, settings: ChatSettings): void {
  /** What of this message is not a tool result, and what a result could not hold. */
  const parts: ChatPart[] = [];
  blocks.forEach((block, at) => {
    const where = `${place}[${at}]`;
    if (block.type === 'tool_result') {
      const text = toolResult(block, { where, settings, images: parts });
      messages.push({ role: 'tool', tool_call_id: block.tool_use_id, content: text });
    } else parts.push(...userParts(block, where, settings));
  });
  if (parts.length === 0) return;
  const last = messages.at(-1);
  if (last?.role === 'user' && typeof last.content !== 'string') last.content.push(...parts);
  else messages.push({ role: 'user', content: parts });
}

function userParts(block: Anthropic.ContentBlockParam, where: string, settings: ChatSettings): ChatPart[] {
  switch (block.type) {
    case 'text':
      return [textPart(block.text)];
    case 'image':
      return [imagePart(block, settings) ?? refuse(`image of source "${block.source.type}"`, where)];
    case 'document':
      return documentParts(block, where, settings);
    case 'search_result':
      return [textPart(searchResultText(block))];
    default:
      return refuse(block.type, where);
  }
}

/** The text of a result; its images go to `images`, and the text says which they are. */
function toolResult(block: Anthropic.ToolResultBlockParam, into: { where: string; settings: ChatSettings; images: ChatPart[] }): string {
  const { where, settings, images } = into;
  const texts: string[] = [];
  const content = typeof block.content === 'string' ? [{ type: 'text' as const, text: block.content }] : (block.content ?? []);
  content.forEach((inner, at) => {
    if (inner.type === 'text') texts.push(inner.text);
    else if (inner.type === 'search_result') texts.push(searchResultText(inner));
    else if (inner.type === 'document') texts.push(resultDocument(inner, settings));
    else if (inner.type === 'image') {
      const part = imagePart(inner, settings) ?? textPart(`[an image of source "${inner.source.type}" was left out]`);
      if (part.type === 'text') texts.push(part.text);
      else texts.push(`[image ${images.push(part)} of the message that follows]`);
    } else refuse(inner.type, `${where}.content[${at}]`);
  });
  const text = texts.join('\n') || NO_OUTPUT;
  return block.is_error === true ? `[error] ${text}` : text;
}

function resultDocument(block: Anthropic.DocumentBlockParam, settings: ChatSettings): string {
  const { source } = block;
  if (source.type === 'text') return documentText(block, source.data);
  if (source.type === 'content') {
    const { content } = source;
    const texts =
      typeof content === 'string' ? [content] : content.map((inner) => (inner.type === 'text' ? inner.text : noImageNote(settings)));
    return documentText(block, texts.join('\n'));
  }
  return '[a PDF document was left out: this model takes text only; convert it to text with a tool]';
}

function documentParts(block: Anthropic.DocumentBlockParam, where: string, settings: ChatSettings): ChatPart[] {
  const { source } = block;
  if (source.type === 'text') return [textPart(documentText(block, source.data))];
  if (source.type === 'content') {
    const inner = typeof source.content === 'string' ? [{ type: 'text' as const, text: source.content }] : source.content;
    return inner.map((part, at) =>
      part.type === 'text'
        ? textPart(documentText(block, part.text))
        : (imagePart(part, settings) ?? refuse(`image of source "${part.source.type}"`, `${where}.source.content[${at}]`)),
    );
  }
  return refuse('PDF document', where, 'convert it to text, or use a model of an upstream that reads PDF');
}

function documentText(block: Anthropic.DocumentBlockParam, text: string): string {
  const head = [block.title, block.context].filter((line) => typeof line === 'string' && line !== '').join('\n');
  return `<document>\n${head === '' ? '' : `${head}\n\n`}${text}\n</document>`;
}

function searchResultText(block: Anthropic.SearchResultBlockParam): string {
  return `<search_result>\n${block.title}\n${block.source}\n\n${block.content.map((part) => part.text).join('\n')}\n</search_result>`;
}

/** null for a source that only the Messages API can resolve. */
function imagePart(block: Anthropic.ImageBlockParam, settings: ChatSettings): ChatPart | null {
  const { source } = block;
  if (!settings.images) return textPart(noImageNote(settings));
  if (source.type === 'base64') return { type: 'image_url', image_url: { url: `data:${source.media_type};base64,${source.data}` } };
  if (source.type === 'url') return { type: 'image_url', image_url: { url: source.url } };
  return null;
}

function noImageNote(settings: ChatSettings): string {
  return settings.images ? '[an image was left out of this document]' : '[an image was left out: this model takes no images]';
}

function textPart(text: string): ChatPart {
  return { type: 'text', text };
}

/** Plain text where nothing but text is said: some endpoints and templates know no parts. */
function joined(message: ChatMessage): ChatMessage {
  if (message.role !== 'user' || typeof message.content === 'string') return message;
  const texts = message.content.flatMap((part) => (part.type === 'text' ? [part.text] : []));
  return texts.length === message.content.length ? { role: 'user', content: texts.join('\n\n') } : message;
}

function refuse(what: string, where: string, remedy = 'use a model of another upstream'): never {
  throw failure('invalid_request', `${where}: a ${what} block cannot be sent to an OpenAI-compatible endpoint; ${remedy}`);
}
