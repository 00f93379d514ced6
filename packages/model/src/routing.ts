/**
 * A ModelClient over several upstreams, built from configuration: it chooses the upstream by model id, rewrites the name, keeps answers
 * within the model's limit, and asks the next model of a chain while the first cannot answer.
 *
 * - A fallback happens only before anything was told to the listener: an answer comes from one model, whole.
 * - Only trouble of the endpoint (overloaded, rate limited, late, unreachable, broken) moves on; a request that is wrong, refused or too long
 *   is told as it is. If the whole chain fails, the failure of the model that was asked for is the one that is told.
 * - A model that failed is passed over for a while where its chain has others. That is memory of this process only, and only saves time.
 */
import { AppError, backoffMs, type Clock, type Logger, pause, systemClock } from '@manyhands/base';
import { createAnthropicModel } from './anthropic/anthropic-model.ts';
import { aborted } from './failure.ts';
import {
  type ModelClient,
  ModelError,
  type ModelFailureReason,
  type ModelListener,
  type ModelListing,
  type ModelRequest,
  type ModelResponse,
} from './model-client.ts';
import type { ModelRoute, ModelRoutes, ModelUpstream } from './model-routes.ts';
import { createOpenAiModel } from './openai/openai-model.ts';

const ATTEMPTS_DEFAULT = 2;
const COOLDOWN_DEFAULT_MS = 30_000;
const RETRY_BASE_MS = 500;
const RETRY_CAP_MS = 5_000;

/** The endpoint's trouble, not the request's. */
const MOVES_ON: ReadonlySet<ModelFailureReason> = new Set([
  'overloaded',
  'rate_limited',
  'timeout',
  'connection',
  'cut_stream',
  'malformed',
  'server_error',
]);

export interface ModelLimits {
  contextWindow: number | null;
  maxOutput: number | null;
}
export interface ModelRouter extends ModelClient {
  /** What the configuration says of a model; a chain is as narrow as its narrowest member. */
  limits(model: string): ModelLimits;
}

export interface ModelRouterOptions {
  routes: ModelRoutes;
  /** Reads a key by the name of its variable or file; see `readModelKeys`. */
  keyOf: (upstream: string) => string;
  log: Logger;
  clock?: Clock;
}

interface Target {
  id: string;
  upstream: string;
  model: string;
  route: ModelRoute;
}

export function createModelRouter(options: ModelRouterOptions): ModelRouter {
  const { routes, log, clock = systemClock } = options;
  const cooldownMs = routes.cooldown_ms ?? COOLDOWN_DEFAULT_MS;
  const clients = new Map(
    Object.entries(routes.upstreams).map(([name, upstream]) => [name, clientFor(name, upstream, options.keyOf(name), log, clock)]),
  );
  /** Model id to the time until which it is passed over. */
  const cooling = new Map<string, number>();

  function target(id: string): Target {
    const route = routeOf(routes, id);
    return { id, upstream: route.upstream ?? routes.default_upstream, model: route.model ?? id, route };
  }
  const chainOf = (id: string): Target[] => [target(id), ...(routeOf(routes, id).fallback ?? []).map(target)];

  async function ask(to: Target, request: ModelRequest, listener: ModelListener, signal: AbortSignal): Promise<ModelResponse> {
    const maxTokens = Math.min(request.maxTokens, to.route.max_output ?? request.maxTokens);
    const response = await clients.get(to.upstream)!.stream({ ...request, model: to.model, maxTokens }, listener, signal);
    cooling.delete(to.id);
    return {
      ...response,
      answeredBy: { id: to.id, upstream: to.upstream, model: to.model, fallback: to.id !== request.model },
    };
  }

  async function stream(request: ModelRequest, listener: ModelListener, signal: AbortSignal): Promise<ModelResponse> {
    const chain = chainOf(request.model);
    if (chain.length === 1) return ask(chain[0]!, request, listener, signal);
    const heard = hearing(listener);
    const tried: { model: string; reason: ModelFailureReason }[] = [];
    let asked: ModelError | null = null;
    for (const to of byReadiness(chain)) {
      const error = await attempt(to, request, heard, signal);
      if (!(error instanceof ModelError)) return error;
      tried.push({ model: to.id, reason: error.reason });
      if (to.id === request.model) asked = error;
      const stands = to.id === request.model && !MOVES_ON.has(error.reason);
      if (heard.told || stands) throw error;
      log.warn({ op: 'model.fallback', sessionId: request.sessionId, model: to.id, reason: error.reason }, 'a model could not answer');
    }
    throw withTried(asked!, tried);
  }

  /** Tries one model as often as it is configured. Resolves with its last failure; rejects with an abort and with what the listener throws. */
  async function attempt(to: Target, request: ModelRequest, heard: Hearing, signal: AbortSignal): Promise<ModelResponse | ModelError> {
    const attempts = to.route.attempts ?? ATTEMPTS_DEFAULT;
    for (let n = 0; ; n++) {
      try {
        return await ask(to, request, heard.listener, signal);
      } catch (error) {
        if (!(error instanceof ModelError) || error.reason === 'aborted') throw error;
        if (heard.told) return error;
        const waitMs = error.retryAfterMs ?? backoffMs(n, RETRY_BASE_MS, RETRY_CAP_MS);
        // Who asks for a long wait is left alone: the chain is there for that.
        if (n + 1 < attempts && error.retryable && waitMs <= RETRY_CAP_MS) {
          await pause(waitMs, signal).catch(() => {
            throw aborted();
          });
          continue;
        }
        if (MOVES_ON.has(error.reason)) cooling.set(to.id, clock.now() + Math.max(cooldownMs, error.retryAfterMs ?? 0));
        return error;
      }
    }
  }

  /** The chain in its order, models that failed a moment ago last. */
  function byReadiness(chain: readonly Target[]): Target[] {
    const now = clock.now();
    const late = (to: Target) => (cooldownMs > 0 && (cooling.get(to.id) ?? 0) > now ? 1 : 0);
    return [...chain].sort((a, b) => late(a) - late(b));
  }

  function limits(model: string): ModelLimits {
    const narrowest = (values: (number | undefined)[]) => {
      const given = values.filter((value) => value !== undefined);
      return given.length > 0 ? Math.min(...given) : null;
    };
    const chain = chainOf(model);
    return {
      contextWindow: narrowest(chain.map((to) => to.route.context_window)),
      maxOutput: narrowest(chain.map((to) => to.route.max_output)),
    };
  }

  /** What is configured by id, and what the upstreams list and a request by that name would reach. */
  async function listModels(): Promise<ModelListing[]> {
    const listed = new Map<string, ModelListing>();
    const failures: unknown[] = [];
    const upstreams = [...clients];
    const answers = await Promise.allSettled(upstreams.map(([, client]) => client.listModels()));
    answers.forEach((answer, at) => {
      const [name] = upstreams[at]!;
      if (answer.status === 'rejected') {
        failures.push(answer.reason);
        log.warn({ op: 'model.list', upstream: name }, 'an upstream could not list its models');
        return;
      }
      for (const model of answer.value) {
        const to = target(model.id);
        if (to.upstream === name && to.model === model.id) listed.set(model.id, model);
      }
    });
    for (const id of Object.keys(routes.models).filter((name) => !name.endsWith('*')))
      if (!listed.has(id)) listed.set(id, { id, display_name: id, created_at: new Date(0).toISOString() });
    if (listed.size === 0 && failures.length > 0) throw failures[0];
    return [...listed.values()].map((model) => {
      const { context_window: window, max_output: output } = routeOf(routes, model.id);
      return { ...model, ...(window ? { max_input_tokens: window } : {}), ...(output ? { max_tokens: output } : {}) };
    });
  }

  return { stream, listModels, limits };
}

/** The route of an id: its own, else the longest pattern that it begins with, else the default upstream's. */
function routeOf(routes: ModelRoutes, id: string): ModelRoute {
  const own = Object.hasOwn(routes.models, id) ? routes.models[id] : undefined;
  if (own) return own;
  const patterns = Object.keys(routes.models).filter((name) => name.endsWith('*') && id.startsWith(name.slice(0, -1)));
  const longest = patterns.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? {} : routes.models[longest]!;
}

interface Hearing {
  listener: ModelListener;
  /** True once anything of an answer reached the listener. */
  readonly told: boolean;
}
function hearing(listener: ModelListener): Hearing {
  let told = false;
  return {
    listener: {
      onBlockStart(index, kind) {
        told = true;
        listener.onBlockStart(index, kind);
      },
      onText(index, text) {
        told = true;
        listener.onText(index, text);
      },
    },
    get told() {
      return told;
    },
  };
}

/** Another try goes through the whole chain again: it may help as soon as the model asked for may, or its chain. */
function withTried(error: ModelError, tried: unknown[]): ModelError {
  const { kind, reason, retryable, retryAfterMs, details } = error;
  return new ModelError(kind, error.message, { reason, retryable, retryAfterMs, details: { ...details, tried } });
}

function clientFor(name: string, upstream: ModelUpstream, apiKey: string, log: Logger, clock: Clock): ModelClient {
  const common = { baseUrl: upstream.base_url, baseUrlName: `upstreams.${name}.base_url`, apiKey, log, clock };
  const stall = upstream.stall_timeout_ms === undefined ? {} : { stallTimeoutMs: upstream.stall_timeout_ms };
  if (upstream.kind === 'anthropic') return createAnthropicModel({ ...common, ...stall });
  return createOpenAiModel({
    ...common,
    ...stall,
    ...(upstream.images === undefined ? {} : { images: upstream.images }),
    ...(upstream.max_tokens_field === undefined ? {} : { maxTokensField: upstream.max_tokens_field }),
    ...(upstream.connect_timeout_ms === undefined ? {} : { connectTimeoutMs: upstream.connect_timeout_ms }),
    ...(upstream.first_token_timeout_ms === undefined ? {} : { firstTokenTimeoutMs: upstream.first_token_timeout_ms }),
  });
}

export interface ModelKeySources {
  env: Readonly<Record<string, string | undefined>>;
  readFile: (path: string) => string;
}

/** The keys that a configuration names, read once; an upstream that names none gets an empty one. Nothing of a key is ever in a message. */
export function readModelKeys(routes: ModelRoutes, sources: ModelKeySources): (upstream: string) => string {
  const keys = new Map(
    Object.entries(routes.upstreams).map(([name, upstream]): [string, string] => {
      const { api_key_env: variable, api_key_file: file } = upstream;
      if (variable !== undefined) {
        const value = sources.env[variable]?.trim() ?? '';
        if (value === '') throw new AppError('configuration', `upstreams.${name}.api_key_env: the variable ${variable} is not set`);
        return [name, checkedKey(value, `upstreams.${name}.api_key_env`)];
      }
      if (file === undefined) return [name, ''];
      let value: string;
      try {
        value = sources.readFile(file).trim();
      } catch {
        throw new AppError('configuration', `upstreams.${name}.api_key_file: the file cannot be read`);
      }
      if (value === '') throw new AppError('configuration', `upstreams.${name}.api_key_file: the file is empty`);
      return [name, checkedKey(value, `upstreams.${name}.api_key_file`)];
    }),
  );
  return (upstream) => keys.get(upstream) ?? '';
}

/** A key that no header can carry would fail each request with an error that quotes it. */
function checkedKey(value: string, place: string): string {
  if (!/^[\x21-\x7e]+$/.test(value)) throw new AppError('configuration', `${place}: the key holds characters that no HTTP header takes`);
  return value;
}
