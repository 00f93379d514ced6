/** One JSON request to a search service: bounded in size, its failures told apart by status, none of its own words passed on. */
import { type Dispatcher, request } from 'undici';
import type { z } from 'zod';
import { readBody } from '../web/body-text.ts';
import { SearchFailure } from './search-provider.ts';

const ANSWER_MAX_BYTES = 2 * 1024 * 1024;
const HEADERS = { accept: 'application/json', 'accept-encoding': 'gzip', 'user-agent': 'Manyhands-web-search/1.0' };
/** Longer waits are no news for a model in the middle of its work. */
const RETRY_AFTER_MAX_SECONDS = 3_600;

export interface ProviderRequest {
  url: URL;
  headers?: Record<string, string>;
  /** Sent by POST. */
  body?: unknown;
}

export async function askProvider<T>({ url, headers, body }: ProviderRequest, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
  const post = body === undefined ? {} : { method: 'POST' as const, body: JSON.stringify(body) };
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  const answer = await request(url, { headers: { ...HEADERS, ...type, ...headers }, signal, ...post });
  // A body that is dropped half-way fails with nobody reading it.
  answer.body.on('error', () => {});
  if (answer.statusCode !== 200) {
    answer.body.destroy();
    throw failureOf(answer);
  }
  const read = await readBody(answer.body, headerOf(answer, 'content-encoding'), ANSWER_MAX_BYTES);
  const parsed = read && !read.truncated ? schema.safeParse(jsonOf(read.bytes)) : null;
  if (!parsed?.success) throw new SearchFailure('unreachable', 'the search service answered something that is no list of results');
  return parsed.data;
}

function failureOf(answer: Dispatcher.ResponseData): SearchFailure {
  const { statusCode: status } = answer;
  if (status === 429) {
    const seconds = Number(headerOf(answer, 'retry-after'));
    const when = seconds >= 1 && seconds <= RETRY_AFTER_MAX_SECONDS ? `in ${Math.ceil(seconds)} s` : 'later';
    return new SearchFailure('rate_limited', `the search service takes no more searches at the moment; try again ${when}`);
  }
  if (status === 400 || status === 414 || status === 422)
    return new SearchFailure('invalid_query', 'the search service does not take this query');
  if (status >= 400 && status < 500)
    return new SearchFailure('refused', `the search service refuses this installation (status ${status}); its operator has to look at it`);
  return new SearchFailure('unreachable', `the search service failed (status ${status}); try again later`);
}

function headerOf(answer: Dispatcher.ResponseData, name: string): string {
  const value = answer.headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? '';
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
