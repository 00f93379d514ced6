/**
 * What a session spent and how its budget stands (BEHAVIOUR 25). The log compares the two at the very append that depends on it, since
 * clients may change a budget at any time.
 */
import type { Budget } from '@manyhands/contract';
import { type AppendBatch, activeMs, spentNano } from '@manyhands/session-log';
import type { Turn } from './turn.ts';

/** Nano-dollars so far. What has no known cost leaves nothing of any budget. */
export function spent(turn: Turn, nowMs: number): number {
  return spentNano(turn.usage, activeMs(turn.state, nowMs), turn.deps.prices.runtimeCost) ?? Number.MAX_SAFE_INTEGER;
}

export function budgetMust(turn: Turn, must: 'left' | 'reached'): NonNullable<AppendBatch['budget']> {
  return { must, spentNano: spent(turn, turn.deps.clock.now()) };
}

/** The budget as far as this worker has read: the client may have changed it since the lease was taken. */
export function currentBudget({ context, state }: Turn): Budget | null {
  return context.budget === undefined ? state.budget : context.budget;
}
