/** Chat completions: an answer in their wire form, whole or as the chunks of a stream. */
import type { Answer } from '../answer.ts';
import { sha } from '../conversation.ts';
import type { PromptUsage } from '../prompt-cache.ts';
import { checkChat } from './chat-request-checks.ts';
import type { Dialect } from './dialect.ts';
import { Refusal } from './request-checks.ts';
import { charPieces, type Frame, jsonPieces, OVERLOAD, outputTokens } from './wire.ts';

type Loose = Record<string, unknown>;

const FINISH: Record<string, string> = { tool_use: 'tool_calls', end_turn: 'stop', max_tokens: 'length', refusal: 'content_filter' };
const CREATED = 1_767_225_600;

export const chatDialect: Dialect = {
  open(_req, body) {
    const request = checkChat(body);
    const head = (object: string, seed: string) => ({
      id: `chatcmpl-${sha(`${seed}:message`).slice(0, 24)}`,
      object,
      created: CREATED,
      model: request.model,
    });
    return {
      request,
      whole: (answer, seed, usage) => ({
        ...head('chat.completion', seed),
        choices: [{ index: 0, message: { role: 'assistant', ...messageOf(answer, seed) }, finish_reason: finishOf(answer) }],
        usage: usageOf(answer, usage),
      }),
      frames(answer, seed, usage) {
        const chunk = (delta: Loose, finish: string | null = null, piece = true): Frame => ({
          delta: piece,
          text: sse({ ...head('chat.completion.chunk', seed), choices: [{ index: 0, delta, finish_reason: finish }] }),
        });
        const counts = { ...head('chat.completion.chunk', seed), choices: [], usage: usageOf(answer, usage) };
        return [
          chunk({ role: 'assistant', content: '' }, null, false),
          ...deltas(answer, seed).map((delta) => chunk(delta)),
          chunk({}, finishOf(answer), false),
          ...(request.includeUsage ? [{ delta: false, text: sse(counts) }] : []),
          { delta: false, text: 'data: [DONE]\n\n' },
        ];
      },
    };
  },
  refusal: ({ type, message, code }) => ({ error: { message, type, param: null, code } }),
  tooLong: (tokens, window) =>
    new Refusal(
      400,
      'invalid_request_error',
      `This model's maximum context length is ${window} tokens. However, your messages resulted in ${tokens} tokens.`,
      'context_length_exceeded',
    ),
  signs: { ping: ': still there\n\n', malformed: 'data: {"object":"chat.completion.chunk","choi\n\n', error: sse({ error: OVERLOAD }) },
  thinkingComesBack: false,
};

function sse(body: Loose): string {
  return `data: ${JSON.stringify(body)}\n\n`;
}

function callId(seed: string, at: number): string {
  return `call_${sha(`${seed}:${at}`).slice(0, 24)}`;
}

function messageOf(answer: Answer, seed: string): Loose {
  const joined = (type: 'text' | 'thinking') =>
    answer.blocks.map((block) => (block.type !== type ? '' : block.type === 'text' ? block.text : block.thinking)).join('');
  const calls = answer.blocks.flatMap((block, at) =>
    block.type === 'tool_use' ? [{ id: callId(seed, at), type: 'function', function: { name: block.name, arguments: block.json } }] : [],
  );
  const reasoning = joined('thinking');
  return {
    content: joined('text') || null,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

function deltas(answer: Answer, seed: string): Loose[] {
  let index = -1;
  return answer.blocks.flatMap((block, at): Loose[] => {
    if (block.type === 'text') return charPieces(block.text, answer.pace.deltaChars).map((content) => ({ content }));
    if (block.type === 'thinking')
      return charPieces(block.thinking, answer.pace.deltaChars).map((reasoning_content) => ({ reasoning_content }));
    index += 1;
    const n = index;
    const [, ...pieces] = jsonPieces(block.json);
    return [
      { tool_calls: [{ index: n, id: callId(seed, at), type: 'function', function: { name: block.name, arguments: '' } }] },
      ...pieces.map((piece) => ({ tool_calls: [{ index: n, function: { arguments: piece } }] })),
    ];
  });
}

function finishOf(answer: Answer): string {
  return FINISH[answer.stopReason] ?? answer.stopReason;
}

function usageOf(answer: Answer, usage: PromptUsage): Loose {
  const prompt = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
  const output = outputTokens(answer);
  return {
    prompt_tokens: prompt,
    completion_tokens: output,
    total_tokens: prompt + output,
    prompt_tokens_details: { cached_tokens: usage.cache_read_input_tokens },
  };
}
