/** A protocol that the fake model speaks: how a request reads, and how answers and refusals look. What is said is the same in each. */
import type { IncomingMessage } from 'node:http';
import type { Answer } from '../answer.ts';
import type { PromptUsage } from '../prompt-cache.ts';
import { type CheckedRequest, checkRequest, Refusal } from './request-checks.ts';
import { type Frame, frames, MESSAGE_SIGNS, type StreamSigns, wireMessage } from './wire.ts';

export interface Exchange {
  request: CheckedRequest;
  /** `seed` decides the ids, so that a repeated request gets the same ones from any process. */
  whole(answer: Answer, seed: string, usage: PromptUsage): Record<string, unknown>;
  frames(answer: Answer, seed: string, usage: PromptUsage): Frame[];
}

export interface Dialect {
  /** Checks a request. Throws a Refusal. */
  open(req: IncomingMessage, body: unknown): Exchange;
  refusal(refusal: Refusal, requestId: string): Record<string, unknown>;
  tooLong(tokens: number, window: number): Refusal;
  signs: StreamSigns;
  /** Whether the thinking before a tool call must be sent back with its result. */
  thinkingComesBack: boolean;
}

export const messagesDialect: Dialect = {
  open(req, body) {
    const request = checkRequest(body, { counting: false, betas: betasOf(req) });
    return {
      request,
      whole: (answer, seed, usage) => ({ ...wireMessage(answer, request.model, seed, usage) }),
      frames: (answer, seed, usage) => frames(answer, wireMessage(answer, request.model, seed, usage)),
    };
  },
  refusal: ({ type, message }, requestId) => ({ type: 'error', error: { type, message }, request_id: requestId }),
  tooLong: (tokens, window) => new Refusal(400, 'invalid_request_error', `prompt is too long: ${tokens} tokens > ${window} maximum`),
  signs: MESSAGE_SIGNS,
  thinkingComesBack: true,
};

export function betasOf(req: IncomingMessage): Set<string> {
  const header = req.headers['anthropic-beta'];
  return new Set((Array.isArray(header) ? header.join(',') : (header ?? '')).split(',').map((beta) => beta.trim()));
}
