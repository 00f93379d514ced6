/**
 * Where models are asked, from the environment: one endpoint that speaks the Messages API, or several by MANYHANDS_MODEL_ROUTES. Routes win
 * over the single endpoint; its address and key are then not used.
 */
import { readFileSync } from 'node:fs';
import type { Logger } from '@manyhands/base';
import { createAnthropicModel, createModelRouter, type ModelClient, parseModelRoutes, readModelKeys } from '@manyhands/model';
import type { HarnessEnv } from '../env.ts';

export interface Upstream {
  model: ModelClient;
  /** Tokens that prompt and answer of a model may have together, as configured. */
  contextWindow(model: string): number;
}

export function openUpstream(env: HarnessEnv, surroundings: Readonly<Record<string, string | undefined>>, log: Logger): Upstream {
  const fallback = env.MANYHANDS_CONTEXT_WINDOW;
  if (env.MANYHANDS_MODEL_ROUTES === undefined) {
    const apiKey = env.MANYHANDS_MODEL_API_KEY ?? env.ANTHROPIC_API_KEY ?? '';
    return {
      model: createAnthropicModel({ baseUrl: env.MANYHANDS_MODEL_BASE_URL, apiKey, log }),
      contextWindow: () => fallback,
    };
  }
  const routes = parseModelRoutes(env.MANYHANDS_MODEL_ROUTES, 'MANYHANDS_MODEL_ROUTES');
  const keyOf = readModelKeys(routes, { env: surroundings, readFile: (path) => readFileSync(path, 'utf8') });
  const router = createModelRouter({ routes, keyOf, log });
  return { model: router, contextWindow: (model) => router.limits(model).contextWindow ?? fallback };
}
