/** Counting tokens and working time (BEHAVIOUR 25). */
import type { ModelUsage, SessionUsage } from '@manyhands/contract';
import type { ModelUsageCounts } from '@manyhands/model';
import type { SessionState } from '@manyhands/session-log';

export const NO_MODEL_USAGE: ModelUsage = { input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

export function modelUsage(counts: ModelUsageCounts): ModelUsage {
  const { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens } = counts;
  return { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens };
}

export function addUsage(total: SessionUsage, counts: ModelUsageCounts): SessionUsage {
  // An endpoint that does not split its cache writes writes with the default life of five minutes.
  const split = counts.cache_creation_5m + counts.cache_creation_1h > 0;
  return {
    input_tokens: total.input_tokens + counts.input_tokens,
    output_tokens: total.output_tokens + counts.output_tokens,
    cache_read_input_tokens: total.cache_read_input_tokens + counts.cache_read_input_tokens,
    cache_creation: {
      ephemeral_5m_input_tokens:
        total.cache_creation.ephemeral_5m_input_tokens + (split ? counts.cache_creation_5m : counts.cache_creation_input_tokens),
      ephemeral_1h_input_tokens: total.cache_creation.ephemeral_1h_input_tokens + counts.cache_creation_1h,
    },
    active_seconds: total.active_seconds,
  };
}

/** Milliseconds of work so far, the running turn included. */
export function activeMs(state: Pick<SessionState, 'active_ms' | 'running_since_ms'>, nowMs: number): number {
  return state.active_ms + (state.running_since_ms === null ? 0 : Math.max(0, nowMs - state.running_since_ms));
}
