/**
 * The Anthropic adapter: any endpoint that speaks the Messages API, through the official SDK.
 *
 * The SDK sends the request and cuts the body into server-sent events; the events are read here one by one, so that pings count as
 * life, a malformed frame is an error of this request and not a line on the console, and an answer that ends without `message_stop`
 * is never taken for a whole one. Each request has an AbortController of its own: abort, stall and failure all end the HTTP request.
 */
import Anthropic from '@anthropic-ai/sdk';
import { Stream } from '@anthropic-ai/sdk/core/streaming';
import { type Clock, type Logger, systemClock } from '@manyhands/base';
import { checkedBaseUrl } from '../base-url.ts';
import { aborted, cutStream, type FailureContext, failure } from '../failure.ts';
import type { ModelClient, ModelError, ModelListener, ModelListing, ModelRequest, ModelResponse } from '../model-client.ts';
import { logStream } from '../stream-log.ts';
import { sentBack } from './history.ts';
import { modelFailure } from './model-failure.ts';
import { createStreamAssembler } from './stream-assembler.ts';

/** Silence after which an answer counts as stuck. Endpoints ping at least every few tens of seconds. */
export const STALL_TIMEOUT_MS = 120_000;
const LIST_TIMEOUT_MS = 20_000;
const DRAIN_TIMEOUT_MS = 1_000;
const DEFAULT_EFFORT = 'high';
const FAST_MODE_BETA = 'fast-mode-2026-02-01';
/** The header that names the session to the endpoint. */
export const SESSION_HEADER = 'x-manyhands-session';

export interface AnthropicModelOptions {
  /** With or without a trailing `/v1`. */
  baseUrl: string;
  /** Where the base URL was configured, for messages. */
  baseUrlName?: string;
  apiKey: string;
  log: Logger;
  clock?: Clock;
  /** Milliseconds without any event, from the request on. */
  stallTimeoutMs?: number;
}

export function createAnthropicModel(options: AnthropicModelOptions): ModelClient {
  const { apiKey, log, clock = systemClock, stallTimeoutMs = STALL_TIMEOUT_MS } = options;
  const client = new Anthropic({
    baseURL: checkedBaseUrl(options.baseUrl, options.baseUrlName ?? 'MANYHANDS_MODEL_BASE_URL').replace(/\/v1$/, ''),
    apiKey,
    maxRetries: 0,
    timeout: stallTimeoutMs,
    // The SDK's own log can hold prompts; failures are told by ModelError instead.
    logLevel: 'off',
  });
  const context: FailureContext = { apiKey, clock };

  async function stream(request: ModelRequest, listener: ModelListener, signal: AbortSignal): Promise<ModelResponse> {
    const controller = new AbortController();
    let stalled = false;
    let drained = false;
    const stop = () => controller.abort();
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    const stall = setTimeout(() => {
      stalled = true;
      stop();
    }, stallTimeoutMs);
    /** Whatever a request dies of, an abort or a stall that caused it has the last word. */
    const told = (error: unknown): ModelError => {
      if (signal.aborted) return aborted();
      if (stalled) return failure('timeout', `the model sent nothing for ${Math.round(stallTimeoutMs / 1000)} s`);
      return modelFailure(error, context);
    };
    try {
      const response = await open(request, controller.signal).catch((error: unknown) => {
        throw told(error);
      });
      const assembler = createStreamAssembler(listener);
      const events = Stream.rawEvents(response, controller)[Symbol.asyncIterator]();
      while (!assembler.complete) {
        const next = await events.next().catch((error: unknown) => {
          const why = told(error);
          throw why.reason === 'connection' ? cutStream(error) : why;
        });
        stall.refresh();
        if (next.done) {
          // An aborted body may simply end.
          if (signal.aborted || stalled) throw told(null);
          throw assembler.started
            ? cutStream(null)
            : failure('malformed', 'the model endpoint answered with something that is no message stream');
        }
        if (next.value.data === '' || next.value.event === 'ping') continue;
        // Between two events nothing may be delivered to a caller who gave up.
        if (signal.aborted) throw told(null);
        const event = parseFrame(next.value.data);
        try {
          assembler.push(event);
        } catch (error) {
          if (error instanceof Anthropic.APIError) throw told(error);
          throw error;
        }
      }
      const answer = assembler.finish();
      drain(events, controller);
      drained = true;
      return answer;
    } finally {
      clearTimeout(stall);
      signal.removeEventListener('abort', stop);
      if (!drained) stop();
    }
  }

  function open(request: ModelRequest, signal: AbortSignal): Promise<Response> {
    return client.messages
      .create(
        {
          model: request.model,
          max_tokens: request.maxTokens,
          messages: sentBack(request.messages),
          stream: true,
          ...(request.system.length > 0 ? { system: request.system } : {}),
          ...(request.tools.length > 0 ? { tools: request.tools } : {}),
          ...(request.effort && request.effort !== DEFAULT_EFFORT ? { output_config: { effort: request.effort } } : {}),
          ...(request.speed === 'fast' ? { speed: 'fast' } : {}),
        },
        {
          signal,
          headers: {
            [SESSION_HEADER]: request.sessionId.replace(/[^\x21-\x7e]/g, '_'),
            ...(request.speed === 'fast' ? { 'anthropic-beta': FAST_MODE_BETA } : {}),
          },
        },
      )
      .asResponse();
  }

  async function listModels(): Promise<ModelListing[]> {
    try {
      const models: ModelListing[] = [];
      for await (const model of client.models.list({ limit: 1000 }, { timeout: LIST_TIMEOUT_MS }))
        models.push({
          id: model.id,
          display_name: model.display_name ?? model.id,
          created_at: model.created_at ?? new Date(0).toISOString(),
        });
      return models;
    } catch (error) {
      throw modelFailure(error, context);
    }
  }

  return { stream: logStream(stream, log, clock), listModels };
}

/** Reads to the end of the body, so that the connection can be used again; not for long, and not in the answer's way. */
function drain(events: AsyncIterator<unknown>, controller: AbortController): void {
  const limit = setTimeout(() => controller.abort(), DRAIN_TIMEOUT_MS);
  limit.unref();
  const pull = (): Promise<void> => events.next().then((next) => (next.done ? undefined : pull()));
  pull()
    // The answer is whole already: what happens to its connection is nobody's concern.
    .catch(() => controller.abort())
    .finally(() => clearTimeout(limit));
}

function parseFrame(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw failure('malformed', 'the model sent a frame that is not JSON');
  }
}
