/** Asking and being refused: raw requests beside the SDK, and what every refusal has to look like. */
import { APIError } from '@anthropic-ai/sdk';
import { expect } from 'vitest';
import { watchedFetch } from './observe.ts';
import { OPERATOR_KEY, type Stack } from './stack.ts';

/** Parsed JSON of a shape that the test is about to check. */
// biome-ignore lint/suspicious/noExplicitAny: its shape is what is being tested
export type Foreign = any;

export interface RawAnswer {
  status: number;
  headers: Headers;
  text: string;
  /** The parsed body; undefined if it is no JSON. */
  body: Foreign;
}
export interface RawRequest {
  headers?: Record<string, string>;
  /** Text and bytes are sent as they are, anything else as JSON. */
  body?: unknown;
  /** Null sends none. */
  key?: string | null;
}

/** A request as any HTTP client may send it, well-formed or not. */
export async function raw(stack: Stack, method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> {
  const { headers = {}, body, key = OPERATOR_KEY } = request;
  const asItIs = typeof body === 'string' || body instanceof Uint8Array || body === undefined;
  const sent = asItIs ? (body as string | undefined) : JSON.stringify(body);
  const response = await watchedFetch(stack.url() + path, {
    method,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
  });
  const answer = await response.text();
  return { status: response.status, headers: response.headers, text: answer, body: parsed(answer) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export interface Refusal {
  status: number;
  type?: string;
  /** What the message has to say: all of them. */
  says?: readonly (string | RegExp)[] | string | RegExp;
  code?: string;
  shouldRetry?: string | null;
}
const TYPE_OF: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  409: 'invalid_request_error',
  413: 'request_too_large',
};

/** Checks status, envelope, request id and message of a raw answer. */
export function expectRefusal(answer: RawAnswer, refusal: Refusal): void {
  expect(answer.status, answer.text).toBe(refusal.status);
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  const requestId = answer.headers.get('request-id');
  expect(requestId).toMatch(/^req_\w+$/);
  expect(answer.body).toEqual({
    type: 'error',
    error: {
      type: refusal.type ?? TYPE_OF[refusal.status],
      message: expect.any(String),
      ...(refusal.code === undefined ? {} : { details: { error_code: refusal.code } }),
    },
    request_id: requestId,
  });
  expectMessage(answer.body.error.message, refusal.says);
  if (refusal.shouldRetry !== undefined) expect(answer.headers.get('x-should-retry')).toBe(refusal.shouldRetry);
}

/** The same through the SDK: the call rejects with its error class, filled as the contract says. */
export async function expectRejection(call: PromiseLike<unknown>, refusal: Refusal): Promise<APIError> {
  const error = await Promise.resolve(call).then(
    (value) => expect.fail(`was accepted: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(APIError);
  const refused = error as APIError;
  expect(refused.status, refused.message).toBe(refusal.status);
  expect(refused.type).toBe(refusal.type ?? TYPE_OF[refusal.status]);
  expect(refused.requestID).toMatch(/^req_\w+$/);
  expect((refused.error as { request_id: string }).request_id).toBe(refused.requestID);
  if (refusal.code !== undefined)
    expect((refused.error as { error: { details: unknown } }).error.details).toMatchObject({ error_code: refusal.code });
  if (refusal.shouldRetry !== undefined) expect(refused.headers?.get('x-should-retry')).toBe(refusal.shouldRetry);
  expectMessage(refused.message, refusal.says);
  return refused;
}

function expectMessage(message: string, says: Refusal['says'] = []): void {
  for (const part of [says].flat()) {
    if (part instanceof RegExp) expect(message).toMatch(part);
    else expect(message).toContain(part as string);
  }
}

/** Every item of a paged list. */
export async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) items.push(item);
  return items;
}
