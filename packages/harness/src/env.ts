/** The harness's environment. */
import { commonEnv, drainEnv, envInt } from '@manyhands/base';
import { z } from 'zod';
import type { HarnessSettings } from './thread/turn.ts';

export const harnessEnv = z.object({
  ...commonEnv,
  /** On SIGTERM, a model answer under way gets this long to end before the next worker asks again. */
  ...drainEnv,
  /** The model upstream; any endpoint that speaks the Messages API. */
  MANYHANDS_MODEL_BASE_URL: z.url('must be a URL such as https://api.anthropic.com').default('https://api.anthropic.com'),
  MANYHANDS_MODEL_API_KEY: z.string().optional(),
  ANTHROPIC_API_KEY: z.string().optional(),
  /** Several upstreams by model id, as JSON (packages/model/README.md); it takes the place of the three above. */
  MANYHANDS_MODEL_ROUTES: z.string().optional(),
  /** What models cost, as JSON; the bundled list prices for everything it does not name. Gateways read the same. */
  MANYHANDS_PRICES: z.string().optional(),
  /** Tokens that prompt and answer of a model may have together, where its route does not say. */
  MANYHANDS_CONTEXT_WINDOW: envInt(200_000, 4_000, 100_000_000),
  /** Model requests in a row that may call tools before a turn ends with `tool_use_limit_reached_error`. */
  MANYHANDS_TOOL_ROUNDS: envInt(500, 1, 1_000_000),
  /** Tokens an answer may have. */
  MANYHANDS_MODEL_MAX_TOKENS: envInt(16_000, 1, 1_000_000),
  /** Model attempts in a row before a turn ends with `retries_exhausted`. */
  MANYHANDS_MODEL_ATTEMPTS: envInt(8, 1, 100),
  MANYHANDS_MODEL_RETRY_BASE_MS: envInt(1_000, 1, 60_000),
  MANYHANDS_MODEL_RETRY_CAP_MS: envInt(30_000, 1, 600_000),
  /** Turns a worker runs at the same time. */
  MANYHANDS_WORKER_CONCURRENCY: envInt(64, 1, 10_000),
});
export type HarnessEnv = z.infer<typeof harnessEnv>;

export function settingsOf(env: HarnessEnv, workerId: string): HarnessSettings {
  return {
    workerId,
    maxTokens: env.MANYHANDS_MODEL_MAX_TOKENS,
    toolRounds: env.MANYHANDS_TOOL_ROUNDS,
    modelAttempts: env.MANYHANDS_MODEL_ATTEMPTS,
    retryBaseMs: env.MANYHANDS_MODEL_RETRY_BASE_MS,
    retryCapMs: env.MANYHANDS_MODEL_RETRY_CAP_MS,
    drainMs: env.MANYHANDS_DRAIN_MS,
  };
}
