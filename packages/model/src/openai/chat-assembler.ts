/**
 * Chunks of one streamed chat completion, put together to a ModelResponse.
 *
 * Tolerant where servers differ: tool calls without ids or indices, several calls under one index, arguments as an object, a finish reason
 * that says `stop` beside tool calls, usage in any chunk or none. Strict where a guess would lose content: without a finish reason there is
 * no answer, and a call without a name breaks it.
 */
import type Anthropic from '@anthropic-ai/sdk';
import { randomText } from '@manyhands/base';
import { failure } from '../failure.ts';
import type { ModelBlockKind, ModelListener, ModelResponse, ModelUsageCounts } from '../model-client.ts';

const INVALID_INPUT_MAX_CHARS = 2000;
const CALL_ID = /^[a-zA-Z0-9_-]{1,64}$/;

type Loose = Record<string, unknown>;
type Kind = Extract<ModelBlockKind, 'text' | 'thinking' | 'tool_use'>;
interface OpenBlock {
  kind: Kind;
  /** Text, thinking, or the arguments of a call. */
  text: string;
  id: string;
  name: string;
  /** The number that the server gives the call. */
  index: number | null;
}

const isObject = (value: unknown): value is Loose => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

export interface ChatAssembler {
  /** Takes one chunk, or a whole completion of a server that does not stream. Throws a ModelError, and whatever the listener throws. */
  push(chunk: unknown): void;
  /** True once a chunk told how the answer ended: nothing but usage comes after it. */
  readonly finished: boolean;
  /** True once a chunk of an answer came. */
  readonly started: boolean;
  /** True once the answer says something: some servers open it before they have read the prompt. */
  readonly speaking: boolean;
  finish(): ModelResponse;
}

export function createChatAssembler(listener: ModelListener): ChatAssembler {
  const blocks: OpenBlock[] = [];
  let started = false;
  let id = '';
  let model = '';
  let finishReason: string | null = null;
  let refusing = false;
  let usage: Loose = {};

  function open(kind: Kind, call: { id: string; name: string; index: number | null } = { id: '', name: '', index: null }): OpenBlock {
    const block: OpenBlock = { kind, text: '', ...call };
    blocks.push(block);
    listener.onBlockStart(blocks.length - 1, kind);
    return block;
  }

  function say(kind: 'text' | 'thinking', text: string): void {
    if (text === '') return;
    const last = blocks.at(-1);
    // Servers put blank text around calls and thinking; alone it is no block.
    if (last?.kind !== kind && kind === 'text' && blocks.length > 0 && text.trim() === '') return;
    const block = last?.kind === kind ? last : open(kind);
    block.text += text;
    if (kind === 'text') listener.onText(blocks.indexOf(block), text);
  }

  function callFor(part: Loose, fn: Loose): OpenBlock {
    const calls = blocks.filter((block) => block.kind === 'tool_use');
    const index = typeof part['index'] === 'number' ? part['index'] : null;
    const given = textOf(part['id']);
    const name = textOf(fn['name']);
    const last = calls.findLast((block) => index === null || block.index === index);
    const known = last && !(given !== '' && last.id !== '' && given !== last.id) && !(name !== '' && given === '' && isWhole(last.text));
    if (known) return last;
    // A server without indices starts a call with an id or a name.
    return open('tool_use', { id: given, name: '', index });
  }

  function addCall(part: unknown): void {
    if (!isObject(part)) throw failure('malformed', 'the model sent a tool call that is no JSON object');
    const fn = isObject(part['function']) ? part['function'] : {};
    const call = callFor(part, fn);
    if (call.id === '') call.id = textOf(part['id']);
    const name = textOf(fn['name']);
    // Some servers repeat the name with every piece, some send it in pieces.
    if (name !== '' && name !== call.name && call.text === '') call.name += name;
    const json = fn['arguments'];
    call.text += isObject(json) ? JSON.stringify(json) : textOf(json);
  }

  function add(delta: Loose): void {
    say('thinking', textOf(delta['reasoning_content']) || textOf(delta['reasoning']));
    say('text', textOf(delta['content']));
    const refusal = textOf(delta['refusal']);
    if (refusal !== '') refusing = true;
    say('text', refusal);
    if (Array.isArray(delta['tool_calls'])) delta['tool_calls'].forEach(addCall);
  }

  return {
    get finished() {
      return finishReason !== null;
    },
    get started() {
      return started;
    },
    get speaking() {
      return blocks.length > 0;
    },
    push(chunk) {
      if (!isObject(chunk)) throw failure('malformed', 'the model sent a chunk that is no JSON object');
      id = textOf(chunk['id']) || id;
      model = textOf(chunk['model']) || model;
      if (isObject(chunk['usage'])) usage = chunk['usage'];
      if (!Array.isArray(chunk['choices'])) return;
      started = true;
      const choice: unknown = chunk['choices'][0];
      if (!isObject(choice)) return;
      const delta = choice['delta'] ?? choice['message'];
      if (isObject(delta)) add(delta);
      if (typeof choice['finish_reason'] === 'string' && choice['finish_reason'] !== '') finishReason = choice['finish_reason'];
    },
    finish() {
      const invalidInputs: Record<number, string> = {};
      const ids = new Set<string>();
      const content = blocks.map((block, at): Loose => {
        if (block.kind === 'text') return { type: 'text', text: block.text, citations: null };
        if (block.kind === 'thinking') return { type: 'thinking', thinking: block.text, signature: '' };
        if (block.name === '') throw failure('malformed', 'the model sent a tool call without a name');
        const callId = CALL_ID.test(block.id) && !ids.has(block.id) ? block.id : `call_${randomText(22)}`;
        ids.add(callId);
        const input = block.text.trim() === '' ? {} : parsed(block.text);
        if (!isObject(input)) invalidInputs[at] = block.text.slice(0, INVALID_INPUT_MAX_CHARS);
        return { type: 'tool_use', id: callId, name: block.name, input: isObject(input) ? input : {} };
      });
      const calling = blocks.some((block) => block.kind === 'tool_use');
      return {
        id,
        model,
        content: content as unknown as Anthropic.ContentBlock[],
        stopReason: refusing ? 'refusal' : stopReason(finishReason ?? '', calling),
        usage: usageCounts(usage),
        invalidInputs,
      };
    },
  };
}

/** A finish reason that means trouble on the server's side is a failure: the answer may be half. */
function stopReason(finish: string, calling: boolean): Anthropic.StopReason {
  switch (finish) {
    case 'length':
      return 'max_tokens';
    case 'content_filter':
      return 'refusal';
    case 'insufficient_system_resource':
      throw failure('overloaded', 'the model endpoint ran out of resources in the middle of its answer');
    case 'abort':
    case 'error':
      throw failure('server_error', 'the model endpoint gave up in the middle of its answer');
    default:
      // `stop`, `tool_calls`, and other words for a whole answer: what it holds says more than the word.
      return calling ? 'tool_use' : 'end_turn';
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
function isWhole(json: string): boolean {
  return isObject(parsed(json));
}

function usageCounts(usage: Loose): ModelUsageCounts {
  const count = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) && value > 0 ? Math.trunc(value) : 0);
  const details = isObject(usage['prompt_tokens_details']) ? usage['prompt_tokens_details'] : {};
  const prompt = count(usage['prompt_tokens']);
  const cached = Math.min(prompt, count(details['cached_tokens'] ?? usage['prompt_cache_hit_tokens']));
  return {
    input_tokens: prompt - cached,
    output_tokens: count(usage['completion_tokens']),
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    cache_creation_5m: 0,
    cache_creation_1h: 0,
  };
}
