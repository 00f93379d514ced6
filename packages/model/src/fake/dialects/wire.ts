/** An answer in the wire form of the Messages API: as one message, or as the frames of a stream. */
import type { Answer, AnswerBlock } from '../answer.ts';
import { sha } from '../conversation.ts';
import { type PromptUsage, textTokens } from '../prompt-cache.ts';
import { thinkingSignature } from './request-checks.ts';

export interface WireMessage {
  id: string;
  type: 'message';
  role: 'assistant';
  model: string;
  content: Record<string, unknown>[];
  stop_reason: string;
  stop_details?: Record<string, unknown>;
  stop_sequence: null;
  usage: PromptUsage & { output_tokens: number };
}

/** Sizes of the pieces of a tool input: odd, so that escapes and characters are cut anywhere. */
const JSON_PIECES = [1, 3, 7, 5, 11, 2];

/** `seed` decides the ids, so that a repeated request gets the same ones from any process. */
export function wireMessage(answer: Answer, model: string, seed: string, usage: PromptUsage): WireMessage {
  return {
    id: `msg_${sha(`${seed}:message`).slice(0, 24)}`,
    type: 'message',
    role: 'assistant',
    model,
    content: answer.blocks.map((block, at) => wireBlock(block, seed, at)),
    stop_reason: answer.stopReason,
    ...(answer.stopDetails === undefined ? {} : { stop_details: answer.stopDetails }),
    stop_sequence: null,
    usage: { ...usage, output_tokens: outputTokens(answer) },
  };
}

export function outputTokens(answer: Answer): number {
  return Math.max(
    1,
    answer.blocks.reduce((sum, block) => sum + textTokens(bodyOf(block)), 0),
  );
}

function wireBlock(block: AnswerBlock, seed: string, at: number): Record<string, unknown> {
  if (block.type === 'text') return { type: 'text', text: block.text, citations: null };
  if (block.type === 'thinking') return { type: 'thinking', thinking: block.thinking, signature: thinkingSignature(block.thinking) };
  return { type: 'tool_use', id: `toolu_${sha(`${seed}:${at}`).slice(0, 24)}`, name: block.name, input: parsed(block.json) };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}

function bodyOf(block: AnswerBlock): string {
  return block.type === 'text' ? block.text : block.type === 'thinking' ? block.thinking : block.name + block.json;
}

/** Cuts the answer where `maxTokens` end, as the API does: the last block may be half. */
export function capped(answer: Answer, maxTokens: number): Answer {
  const blocks: AnswerBlock[] = [];
  let left = maxTokens;
  for (const block of answer.blocks) {
    const cost = textTokens(bodyOf(block));
    if (cost <= left) {
      blocks.push(block);
      left -= cost;
      continue;
    }
    const keep = [...bodyOf(block)].slice(0, left * 4).join('');
    if (block.type === 'tool_use') blocks.push({ ...block, json: block.json.slice(0, left * 4) });
    else if (keep !== '') blocks.push(block.type === 'text' ? { type: 'text', text: keep } : { type: 'thinking', thinking: keep });
    return { ...answer, blocks, stopReason: 'max_tokens' };
  }
  return answer;
}

/** One server-sent event. */
export interface Frame {
  /** A piece of the answer: the pace of a step waits before it. */
  delta: boolean;
  text: string;
}
/** What a stream says beside its answer. */
export interface StreamSigns {
  ping: string;
  /** A frame that is not JSON. */
  malformed: string;
  /** Overload in the middle of the stream. */
  error: string;
}
function frame(event: string, body: Record<string, unknown>): Frame {
  const text = `event: ${event}\ndata: ${JSON.stringify({ type: event, ...body })}\n\n`;
  return { delta: event === 'content_block_delta', text };
}
const PING = frame('ping', {});
export const OVERLOAD = { type: 'overloaded_error', message: 'scripted overload in the middle of the stream' };
export const MESSAGE_SIGNS: StreamSigns = {
  ping: PING.text,
  malformed: 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n',
  error: frame('error', { error: OVERLOAD }).text,
};

export function frames(answer: Answer, message: WireMessage): Frame[] {
  const { usage } = message;
  const out = [
    frame('message_start', {
      message: { ...message, content: [], stop_reason: null, stop_details: undefined, usage: { ...usage, output_tokens: 1 } },
    }),
  ];
  answer.blocks.forEach((block, index) => {
    const whole = message.content[index]!;
    const delta = (body: Record<string, unknown>) => out.push(frame('content_block_delta', { index, delta: body }));
    if (block.type === 'text') {
      out.push(frame('content_block_start', { index, content_block: { ...whole, text: '' } }));
      if (index === 0) out.push(PING);
      for (const text of charPieces(block.text, answer.pace.deltaChars)) delta({ type: 'text_delta', text });
    } else if (block.type === 'thinking') {
      out.push(frame('content_block_start', { index, content_block: { type: 'thinking', thinking: '', signature: '' } }));
      for (const thinking of charPieces(block.thinking, answer.pace.deltaChars)) delta({ type: 'thinking_delta', thinking });
      delta({ type: 'signature_delta', signature: whole['signature'] });
    } else {
      out.push(frame('content_block_start', { index, content_block: { ...whole, input: {} } }));
      if (index === 0) out.push(PING);
      for (const partial_json of jsonPieces(block.json)) delta({ type: 'input_json_delta', partial_json });
    }
    out.push(frame('content_block_stop', { index }));
  });
  const { stop_reason, stop_details } = message;
  const delta = { stop_reason, stop_sequence: null, ...(stop_details === undefined ? {} : { stop_details }) };
  out.push(frame('message_delta', { delta, usage }), frame('message_stop', {}));
  return out;
}

/** Whole characters: a text delta of the real API never holds half of one. */
export function charPieces(text: string, size: number): string[] {
  const chars = [...text];
  const pieces: string[] = [];
  for (let at = 0; at < chars.length; at += size) pieces.push(chars.slice(at, at + size).join(''));
  return pieces;
}

/** Everything beyond ASCII is escaped first, so that cuts also fall inside `\u00e9`; long inputs get larger pieces. */
export function jsonPieces(json: string): string[] {
  const ascii = json.replace(/[\u0080-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const scale = Math.max(1, Math.ceil(ascii.length / 400));
  const pieces = [''];
  for (let at = 0, n = 0; at < ascii.length; n++) {
    const size = JSON_PIECES[n % JSON_PIECES.length]! * scale;
    pieces.push(ascii.slice(at, at + size));
    at += size;
  }
  return pieces;
}
