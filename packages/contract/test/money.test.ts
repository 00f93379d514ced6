/** Amounts: exact inside, whole cents outside. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Budget, moneyOf, nanoUsdOf } from '../src/index.ts';

test('amounts are whole cents, rounded down, so that a cap is reached exactly when it is told', () => {
  expect([0, 9_999_999, 10_000_000, 25_000_000_000].map((nano) => moneyOf(nano).amount)).toEqual(['0', '0', '1', '2500']);
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.nat(10_000_000), (cap, nano) => {
      const cost = cap * 10_000 + nano;
      expect(Number(moneyOf(cost).amount) >= cap).toBe(cost >= nanoUsdOf({ amount: String(cap), currency: 'USD' }));
    }),
  );
});

test('a budget is a whole number of cents above zero, and every one that is taken is exact', () => {
  const taken = (amount: unknown, currency: unknown = 'USD') =>
    Budget.safeParse({ type: 'limit', max_list_cost: { amount, currency } }).success;
  for (const amount of ['0', '00', '01', '-1', '1.5', '1e3', '', ' 1', '100000000', 1, null])
    expect([amount, taken(amount)]).toEqual([amount, false]);
  expect(taken('1', 'EUR')).toBe(false);
  for (const amount of ['1', '250', '99999999']) {
    expect(taken(amount)).toBe(true);
    const nano = nanoUsdOf({ amount, currency: 'USD' });
    expect(Number.isSafeInteger(nano) && moneyOf(nano).amount === amount && moneyOf(nano - 1).amount !== amount).toBe(true);
  }
});
