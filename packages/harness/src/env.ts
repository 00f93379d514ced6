/** The harness's environment. */
import { commonEnv, envInt } from '@manyhands/base';
import { z } from 'zod';

export const harnessEnv = z.object({
  ...commonEnv,
  /** The model upstream; any endpoint that speaks the Messages API. */
  MANYHANDS_MODEL_BASE_URL: z.url('must be a URL such as https://api.anthropic.com').default('https://api.anthropic.com'),
  MANYHANDS_MODEL_API_KEY: z.string().optional(),
  ANTHROPIC_API_KEY: z.string().optional(),
  /** Tokens an answer may have. */
  MANYHANDS_MODEL_MAX_TOKENS: envInt(16_000, 1, 1_000_000),
  /** Model attempts in a row before a turn ends with `retries_exhausted`. */
  MANYHANDS_MODEL_ATTEMPTS: envInt(8, 1, 100),
  MANYHANDS_MODEL_RETRY_BASE_MS: envInt(1_000, 1, 60_000),
  MANYHANDS_MODEL_RETRY_CAP_MS: envInt(30_000, 1, 600_000),
  /** Turns a worker runs at the same time. */
  MANYHANDS_WORKER_CONCURRENCY: envInt(64, 1, 10_000),
});
