/**
 * Amounts of money. On the wire: whole US cents as text. Inside: whole nano-dollars (10⁻⁹ USD), so that sums are exact (CONTRACT 1.4, 2.2;
 * BEHAVIOUR 25).
 */
import { z } from 'zod';

const NANO_PER_CENT = 10_000_000;

export interface Money {
  amount: string;
  currency: 'USD';
}

/** What a session may cost at list prices. More cents than this do not fit a number as nano-dollars. */
export const Budget = z.strictObject({
  type: z.literal('limit'),
  max_list_cost: z.strictObject({
    amount: z.string().regex(/^[1-9]\d{0,7}$/, 'must be whole US cents as text, from "1" to "99999999"; "250" is 2.50 USD'),
    currency: z.literal('USD'),
  }),
});
export type Budget = z.infer<typeof Budget>;

/** Rounded down: a cap of whole cents is reached exactly when the amount told is at least the cap. */
export function moneyOf(nanoUsd: number): Money {
  return { amount: String(Math.floor(nanoUsd / NANO_PER_CENT)), currency: 'USD' };
}
export function nanoUsdOf({ amount }: Money): number {
  return Number(amount) * NANO_PER_CENT;
}
