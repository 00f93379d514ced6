/** What a session used so far and what that costs at list prices: kept as totals, told as the contract has it (CONTRACT 2.2, BEHAVIOUR 25). */
import { moneyOf, type SessionUsage } from '@manyhands/contract';
import type { SessionState, UsageTotals } from '../types.ts';

export const NO_USAGE: UsageTotals = {
  input_tokens: 0,
  output_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation_5m: 0,
  cache_creation_1h: 0,
  web_search_requests: 0,
  web_fetch_requests: 0,
  list_cost_nano: 0,
};

/** Nano-dollars of a running time in milliseconds. */
export type RuntimeCost = (activeMs: number) => number;

/** Milliseconds of work so far, the running turn included. */
export function activeMs(state: Pick<SessionState, 'active_ms' | 'running_since_ms'>, nowMs: number): number {
  return state.active_ms + (state.running_since_ms === null ? 0 : Math.max(0, nowMs - state.running_since_ms));
}

/** What counts against a budget, in nano-dollars; null if something without a list price was used. */
export function spentNano(usage: UsageTotals, active: number, runtimeCost: RuntimeCost): number | null {
  return usage.list_cost_nano === null ? null : usage.list_cost_nano + runtimeCost(active);
}

/** `runtimeCost` is null for a thread: running time is the session's. */
export function usageReport(usage: UsageTotals, active: number, runtimeCost: RuntimeCost | null): SessionUsage {
  const spent = spentNano(usage, active, runtimeCost ?? (() => 0));
  const { web_search_requests, web_fetch_requests } = usage;
  return {
    input_tokens: usage.input_tokens,
    output_tokens: usage.output_tokens,
    cache_read_input_tokens: usage.cache_read_input_tokens,
    cache_creation: { ephemeral_5m_input_tokens: usage.cache_creation_5m, ephemeral_1h_input_tokens: usage.cache_creation_1h },
    active_seconds: Math.max(0, Math.round(active)) / 1000,
    list_cost: spent === null ? null : moneyOf(spent),
    server_tool_use: web_search_requests + web_fetch_requests > 0 ? { web_search_requests, web_fetch_requests } : null,
  };
}
