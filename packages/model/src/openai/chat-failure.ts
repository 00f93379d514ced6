/** Errors as endpoints of this kind tell them: as the status of an answer, or inside a stream that began well. Their shapes differ widely. */
import type { IncomingMessage } from 'node:http';
import { type FailureContext, toldFailure } from '../failure.ts';
import type { ModelError } from '../model-client.ts';

type Loose = Record<string, unknown>;
const isObject = (value: unknown): value is Loose => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOrNull = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);

interface Told {
  type: string | null;
  code: string | null;
  /** A status in the body; some servers send it inside of a stream or with status 200. */
  status: number | null;
  message: string;
}

/** The error in a body or chunk, or null if it is none. */
function errorIn(body: unknown): Told | null {
  if (!isObject(body)) return null;
  const error = body['error'];
  if (typeof error === 'string') return { type: null, code: null, status: null, message: error };
  const told = isObject(error) ? error : body['object'] === 'error' || body['type'] === 'error' ? body : null;
  if (!told) return null;
  const { code } = told;
  const number = typeof code === 'number' || (typeof code === 'string' && /^[45]\d\d$/.test(code)) ? Number(code) : null;
  return {
    type: textOrNull(told['type']),
    code: number === null ? textOrNull(code) : null,
    status: number !== null && number >= 400 && number <= 599 ? number : null,
    message: textOrNull(told['message']) ?? 'no message',
  };
}

/** The error that a chunk tells, or null. */
export function chunkFailure(chunk: unknown, context: FailureContext): ModelError | null {
  const told = errorIn(chunk);
  return told && toldFailure({ ...told, requestId: null, header: () => null }, context);
}

/** The error of an answer whose status is none of success. */
export function answerFailure(answer: IncomingMessage, text: string, context: FailureContext): ModelError {
  const status = answer.statusCode ?? 0;
  const header = (name: string): string | null => {
    const value = answer.headers[name];
    return typeof value === 'string' ? value : null;
  };
  const body = parsed(text);
  const told = errorIn(body) ?? { type: null, code: null, message: plainMessage(body, text) };
  const message = status >= 300 && status < 400 ? 'it redirects; set the base URL to where it redirects to' : told.message;
  return toldFailure({ ...told, message, status, requestId: header('x-request-id'), header }, context);
}

function plainMessage(body: unknown, text: string): string {
  if (isObject(body)) return textOrNull(body['message']) ?? textOrNull(body['detail']) ?? 'no message';
  const plain = text
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  return plain === '' ? 'no message' : plain;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
