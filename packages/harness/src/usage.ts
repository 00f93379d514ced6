/** Counting tokens and working time (BEHAVIOUR 25). */
import type { ModelUsage } from '@manyhands/contract';
import type { ModelResponse, ModelUsageCounts } from '@manyhands/model';
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

/** Adds a request to what the session used. Where the list has no price for who answered, the price of who was asked counts. */
export function charge(turn: Turn, { answeredBy }: ModelResponse, counts: ModelUsageCounts): void {
  const { usage: total } = turn;
  const { id, speed } = turn.record.agent.model;
  // An endpoint that does not split its cache writes writes with the default life of five minutes.
  const split = counts.cache_creation_5m + counts.cache_creation_1h > 0;
  turn.usage = {
    ...total,
    input_tokens: total.input_tokens + counts.input_tokens,
    output_tokens: total.output_tokens + counts.output_tokens,
    cache_read_input_tokens: total.cache_read_input_tokens + counts.cache_read_input_tokens,
    cache_creation_5m: total.cache_creation_5m + (split ? counts.cache_creation_5m : counts.cache_creation_input_tokens),
    cache_creation_1h: total.cache_creation_1h + counts.cache_creation_1h,
    list_cost_nano: plus(total.list_cost_nano, listCost([answeredBy?.id, answeredBy?.model, id])),
  };

  function listCost(models: (string | undefined)[]): number | null {
    for (const model of models) {
      const cost = model === undefined ? null : turn.deps.prices.costOf(model, counts, speed);
      if (cost !== null) return cost;
    }
    return null;
  }
}

/** Counts what a web tool did for the session. */
export function chargeWeb(turn: Turn, tool: string): void {
  const { usage } = turn;
  if (tool === 'web_fetch') turn.usage = { ...usage, web_fetch_requests: usage.web_fetch_requests + 1 };
  if (tool !== 'web_search') return;
  const list_cost_nano = plus(usage.list_cost_nano, turn.deps.prices.webSearchCost(1));
  turn.usage = { ...usage, web_search_requests: usage.web_search_requests + 1, list_cost_nano };
}

function plus(total: number | null, cost: number | null): number | null {
  return total === null || cost === null ? null : total + cost;
}
