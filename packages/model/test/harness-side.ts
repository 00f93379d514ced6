/** What tests need on the client's side: adapters, a recording listener, a plain request, and endpoints that answer with given bytes. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createLogger } from '@manyhands/base';
import { expect } from 'vitest';
import {
  createAnthropicModel,
  createOpenAiModel,
  type ModelClient,
  ModelError,
  type ModelListener,
  type ModelRequest,
  type OpenAiModelOptions,
} from '../src/index.ts';
import { type FakeModel, type FakeScript, fakeScript, type JournalEntry } from '../src/testing.ts';

export const KEY = 'sk-test-0123456789abcdef';
export const log = createLogger('test', 'silent');

export function modelFor(baseUrl: string, stallTimeoutMs = 20_000): ModelClient {
  return createAnthropicModel({ baseUrl, apiKey: KEY, log, stallTimeoutMs });
}

export function openAiFor(baseUrl: string, extra: Partial<OpenAiModelOptions> = {}): ModelClient {
  return createOpenAiModel({ baseUrl, apiKey: KEY, log, stallTimeoutMs: 20_000, firstTokenTimeoutMs: 20_000, ...extra });
}

export interface Recorder extends ModelListener {
  texts: string[];
  kinds: string[];
}
export function recorder(): Recorder {
  const texts: string[] = [];
  const kinds: string[] = [];
  return {
    texts,
    kinds,
    onBlockStart: (index, kind) => void kinds.push(`${index}:${kind}`),
    onText: (_index, text) => void texts.push(text),
  };
}

export const BASH = { name: 'bash', description: 'Runs a command', input_schema: { type: 'object' as const } };

export function ask(said: string, extra: Partial<ModelRequest> = {}): ModelRequest {
  return {
    model: 'manyhands-fake',
    system: [],
    messages: [{ role: 'user', content: [{ type: 'text', text: said }] }],
    tools: [BASH],
    maxTokens: 10_000,
    sessionId: 'sesn_test',
    ...extra,
  };
}
export const askScript = (script: FakeScript, extra: Partial<ModelRequest> = {}): ModelRequest => ask(fakeScript(script), extra);
export const never = new AbortController().signal;

export async function failure(promise: Promise<unknown>): Promise<ModelError> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ModelError);
  return error as ModelError;
}

export async function journalOf(fake: FakeModel, session: string): Promise<JournalEntry[]> {
  const answer = await fetch(`${fake.url}/fake/journal?session=${session}`);
  return ((await answer.json()) as { data: JournalEntry[] }).data;
}

export async function until<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('the condition never came true');
}

/** A server that does what `listener` does, or answers everything with one body. */
export async function withServer<T>(listener: RequestListener, work: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
export function withEndpoint<T>(
  body: string,
  work: (url: string) => Promise<T>,
  contentType = 'text/event-stream',
  status = 200,
): Promise<T> {
  return withServer((_req, res) => res.writeHead(status, { 'content-type': contentType }).end(body), work);
}
