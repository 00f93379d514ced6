/** Counting tokens and working time (BEHAVIOUR 25). */
import type { ModelUsage } from '@manyhands/contract';
import type { ModelResponse, ModelUsageCounts } from '@manyhands/model';
import type { UsageTotals } from '@manyhands/session-log';
import type { Turn } from './turn.ts';

export const NO_MODEL_USAGE: ModelUsage = { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

export function modelUsage(counts: ModelUsageCounts): ModelUsage {
  const { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens } = counts;
  return { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens };
}

/** Two requests as one. */
export function addCounts(one: ModelUsageCounts, other: ModelUsageCounts): ModelUsageCounts {
  return {
    input_tokens: one.input_tokens + other.input_tokens,
    output_tokens: one.output_tokens + other.output_tokens,
    cache_creation_input_tokens: one.cache_creation_input_tokens + other.cache_creation_input_tokens,
    cache_read_input_tokens: one.cache_read_input_tokens + other.cache_read_input_tokens,
    cache_creation_5m: one.cache_creation_5m + other.cache_creation_5m,
    cache_creation_1h: one.cache_creation_1h + other.cache_creation_1h,
  };
}

/** What a request adds to what was used. Where the list has no price for who answered, the price of who was asked counts. */
export function charge({ agent, deps }: Turn, { answeredBy }: ModelResponse, counts: ModelUsageCounts): Partial<UsageTotals> {
  const { id, speed } = agent.model;
  // An endpoint that does not split its cache writes writes with the default life of five minutes.
  const split = counts.cache_creation_5m + counts.cache_creation_1h > 0;
  return {
    input_tokens: counts.input_tokens,
    output_tokens: counts.output_tokens,
    cache_read_input_tokens: counts.cache_read_input_tokens,
    cache_creation_5m: split ? counts.cache_creation_5m : counts.cache_creation_input_tokens,
    cache_creation_1h: counts.cache_creation_1h,
    list_cost_nano: listCost([answeredBy?.id, answeredBy?.model, id]),
  };

  function listCost(models: (string | undefined)[]): number | null {
    for (const model of models) {
      const cost = model === undefined ? null : deps.prices.costOf(model, counts, speed);
      if (cost !== null) return cost;
    }
    return null;
  }
}

/** What a call of a web tool adds. */
export function chargeWeb({ deps }: Turn, tool: string): Partial<UsageTotals> {
  if (tool === 'web_fetch') return { web_fetch_requests: 1 };
  return tool === 'web_search' ? { web_search_requests: 1, list_cost_nano: deps.prices.webSearchCost(1) } : {};
}
