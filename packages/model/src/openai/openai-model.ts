/**
 * The adapter for endpoints that speak chat completions: Ollama, vLLM, llama.cpp, and whatever follows them.
 *
 * An answer counts as whole only after a finish reason and a clean end of the stream; until then every failure is an error of the request.
 * Three deadlines: connecting, the first token (a local model may read a long prompt for minutes), and each further one. Each request has
 * an AbortController of its own: abort, deadline and failure all end the HTTP request.
 */
import type { IncomingMessage } from 'node:http';
import { type Clock, type Logger, systemClock } from '@manyhands/base';
import { SESSION_HEADER } from '../anthropic/anthropic-model.ts';
import { checkedBaseUrl } from '../base-url.ts';
import { createDeadline, type Deadline } from '../deadline.ts';
import { aborted, connectionFailure, cutStream, type FailureContext, failure } from '../failure.ts';
import {
  type ModelClient,
  ModelError,
  type ModelListener,
  type ModelListing,
  type ModelRequest,
  type ModelResponse,
} from '../model-client.ts';
import { logStream } from '../stream-log.ts';
import { type ChatAssembler, createChatAssembler } from './chat-assembler.ts';
import { answerFailure, chunkFailure } from './chat-failure.ts';
import { type ChatSettings, chatRequest } from './chat-request.ts';
import { createHttpExchanges, drain, readText } from './http-exchange.ts';
import { createSseReader } from './sse-reader.ts';

export const CONNECT_TIMEOUT_MS = 10_000;
export const FIRST_TOKEN_TIMEOUT_MS = 600_000;
const STALL_TIMEOUT_MS = 120_000;
const LIST_TIMEOUT_MS = 20_000;
const ERROR_BODY_MAX_BYTES = 64 * 1024;
const WHOLE_BODY_MAX_BYTES = 32 * 1024 * 1024;

export interface OpenAiModelOptions {
  /** With or without a trailing `/v1`; another path is taken as it is. */
  baseUrl: string;
  /** Where the base URL was configured, for messages. */
  baseUrlName?: string;
  /** Empty for servers that want none. */
  apiKey: string;
  log: Logger;
  clock?: Clock;
  /** False for models that take no images. */
  images?: boolean;
  /** Newer models of OpenAI itself want `max_completion_tokens`. */
  maxTokensField?: ChatSettings['maxTokensField'];
  connectTimeoutMs?: number;
  firstTokenTimeoutMs?: number;
  /** Milliseconds without a byte, once the answer began. */
  stallTimeoutMs?: number;
}

export function createOpenAiModel(options: OpenAiModelOptions): ModelClient {
  const { apiKey, log, clock = systemClock } = options;
  const {
    connectTimeoutMs = CONNECT_TIMEOUT_MS,
    firstTokenTimeoutMs = FIRST_TOKEN_TIMEOUT_MS,
    stallTimeoutMs = STALL_TIMEOUT_MS,
  } = options;
  const base = apiBase(checkedBaseUrl(options.baseUrl, options.baseUrlName ?? 'the base URL'));
  const settings: ChatSettings = { images: options.images ?? true, maxTokensField: options.maxTokensField ?? 'max_tokens' };
  const context: FailureContext = { apiKey, clock };
  const exchanges = createHttpExchanges();
  const authorization: Record<string, string> = apiKey === '' ? {} : { authorization: `Bearer ${apiKey}` };

  async function stream(request: ModelRequest, listener: ModelListener, signal: AbortSignal): Promise<ModelResponse> {
    if (signal.aborted) throw aborted();
    const body = JSON.stringify(chatRequest(request, settings));
    const controller = new AbortController();
    const stop = () => controller.abort();
    signal.addEventListener('abort', stop, { once: true });
    const deadline = createDeadline(stop);
    /** Whatever a request dies of, an abort or a missed deadline that caused it has the last word. */
    const told = (other: (error: unknown) => ModelError) => (error: unknown) => {
      if (signal.aborted) throw aborted();
      if (deadline.missed !== null) throw failure('timeout', deadline.missed);
      throw error instanceof ModelError ? error : other(error);
    };
    let whole = false;
    try {
      deadline.expect('the model endpoint took no connection', connectTimeoutMs);
      const answer = await exchanges
        .send({
          method: 'POST',
          url: `${base}/chat/completions`,
          headers: {
            'content-type': 'application/json',
            accept: 'text/event-stream, application/json',
            [SESSION_HEADER]: request.sessionId.replace(/[^\x21-\x7e]/g, '_'),
            ...authorization,
          },
          body,
          signal: controller.signal,
          onConnected: () => deadline.expect('the model sent no first token', firstTokenTimeoutMs),
        })
        .catch(told(connectionFailure));
      const status = answer.statusCode ?? 0;
      if (status < 200 || status > 299)
        throw answerFailure(answer, await readText(answer, ERROR_BODY_MAX_BYTES).catch(told(connectionFailure)), context);
      const assembler = createChatAssembler(listener);
      if (isJson(answer)) push(assembler, await readText(answer, WHOLE_BODY_MAX_BYTES).catch(told(cutStream)));
      else
        for await (const data of events(answer, deadline, told(cutStream))) {
          // Between two events nothing may be delivered to a caller who gave up.
          if (signal.aborted) throw aborted();
          push(assembler, data);
          if (assembler.speaking) deadline.expect('the model sent nothing more', stallTimeoutMs);
        }
      if (signal.aborted) throw aborted();
      if (!assembler.finished)
        throw assembler.started
          ? cutStream(null)
          : failure('malformed', 'the model endpoint answered with something that is no chat completion');
      const response = assembler.finish();
      whole = true;
      drain(answer);
      return response;
    } finally {
      deadline.clear();
      signal.removeEventListener('abort', stop);
      if (!whole) stop();
    }
  }

  function push(assembler: ChatAssembler, data: string): void {
    const chunk = parseChunk(data);
    const error = chunkFailure(chunk, context);
    if (error) throw error;
    assembler.push(chunk);
  }

  async function listModels(): Promise<ModelListing[]> {
    const late = AbortSignal.timeout(LIST_TIMEOUT_MS);
    try {
      const answer = await exchanges.send({ method: 'GET', url: `${base}/models`, headers: authorization, signal: late });
      const text = await readText(answer, WHOLE_BODY_MAX_BYTES);
      const status = answer.statusCode ?? 0;
      if (status < 200 || status > 299) throw answerFailure(answer, text, context);
      return listings(parseChunk(text));
    } catch (error) {
      if (error instanceof ModelError) throw error;
      throw late.aborted ? failure('timeout', 'the model endpoint did not list its models in time') : connectionFailure(error);
    }
  }

  return { stream: logStream(stream, log, clock), listModels };
}

/** The events of a streamed answer up to `[DONE]`. What the connection dies of goes through `told`; what the reader throws does not. */
async function* events(answer: IncomingMessage, deadline: Deadline, told: (error: unknown) => never): AsyncGenerator<string> {
  const reader = createSseReader();
  const chunks = answer.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer> & AsyncIterable<Buffer>;
  try {
    for (;;) {
      const next = await chunks.next().catch(told);
      if (next.done) return;
      deadline.refresh();
      for (const data of reader.push(next.value)) {
        if (data.trim() === '[DONE]') return;
        if (data !== '') yield data;
      }
    }
  } finally {
    // Lets go of the body, so that the rest of it can be drained.
    await chunks.return?.();
  }
}

/** `/v1` is where these APIs live; only an address that names another place is taken as it is. */
function apiBase(url: string): string {
  const base = url.replace(/\/chat\/completions$/, '');
  return new URL(base).pathname === '/' ? `${base}/v1` : base;
}

function isJson(answer: IncomingMessage): boolean {
  return /^application\/json\b/i.test(answer.headers['content-type'] ?? '');
}

function parseChunk(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw failure('malformed', 'the model sent a chunk that is not JSON');
  }
}

function listings(body: unknown): ModelListing[] {
  const data = (body as { data?: unknown } | null)?.data;
  if (!Array.isArray(data)) throw failure('malformed', 'the model endpoint listed its models in an unknown form');
  return (data as Record<string, unknown>[]).flatMap((model) => {
    const { id, created, max_model_len: window } = model ?? {};
    if (typeof id !== 'string' || id === '') return [];
    return [
      {
        id,
        display_name: id,
        created_at: new Date(typeof created === 'number' && created > 0 && created < 1e11 ? created * 1000 : 0).toISOString(),
        ...(typeof window === 'number' && window > 0 ? { max_input_tokens: window } : {}),
      },
    ];
  });
}
