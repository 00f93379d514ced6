/** What a client may do to a session's budget (SE-1, SE-3; BEHAVIOUR 25). Each refusal names its reason in `details.error_code` and in its text (CONTRACT 8.3). */
import { isDeepStrictEqual } from 'node:util';
import { invalidRequest } from '@manyhands/base';
import { type Budget, moneyOf, nanoUsdOf, type SessionAgent } from '@manyhands/contract';
import type { PriceTable } from '@manyhands/model/prices';
import { activeMs, type StoredSession, spentNano } from '@manyhands/session-log';

/** A budget can be kept only with models whose price is known. */
export function checkBudgetable(prices: PriceTable, { model }: SessionAgent): void {
  const { id, speed } = model;
  if (prices.isPriced(id, speed)) return;
  const what = speed === 'fast' ? `${id} at speed "fast"` : id;
  throw invalidRequest(
    `budget: model_not_budgetable: ${what} has no list price, so no budget can be kept with it; leave the budget out, or have the operator set a price (MANYHANDS_PRICES)`,
    { errorCode: 'model_not_budgetable' },
  );
}

/** The budget after an update, null for none; undefined if it stays as it is. */
export function budgetChange(
  { record, state, as_of_ms }: StoredSession,
  wanted: Budget | null | undefined,
  prices: PriceTable,
): Budget | null | undefined {
  if (wanted === undefined || (wanted === null && state.budget === null)) return undefined;
  if (wanted === null) return null;
  if (state.budget === null)
    throw invalidRequest(
      'budget: budget_create_only: it can only be given when a session is created; this one has none, or it was taken away',
      {
        errorCode: 'budget_create_only',
      },
    );
  checkBudgetable(prices, record.agent);
  const spent = spentNano(state.usage, activeMs(state, as_of_ms), prices.runtimeCost);
  if (spent === null || nanoUsdOf(wanted.max_list_cost) <= spent) {
    const known = spent === null ? 'is not known' : `is ${moneyOf(spent).amount} cents`;
    throw invalidRequest(`budget.max_list_cost: budget_not_raised: it must be more than what the session has cost so far, which ${known}`, {
      errorCode: 'budget_not_raised',
    });
  }
  return isDeepStrictEqual(wanted, state.budget) ? undefined : wanted;
}
