/** Prices: exact sums in whole nano-dollars, and nothing guessed. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createPriceTable, type ModelUsageCounts, parsePriceOverride } from '../src/index.ts';

const RATES = { input: '3', output: '15', cache_write_5m: '3.75', cache_write_1h: '6', cache_read: '0.30' };
const LONG = { over_tokens: 1000, input: '6', output: '30', cache_write_5m: '7.5', cache_write_1h: '12', cache_read: '0.6' };
const override = (change: object) => ({ override: parsePriceOverride(JSON.stringify(change), 'PRICES') });
const table = createPriceTable(
  override({
    as_of: '2026-11-01',
    source: 'the contract',
    models: {
      'model-a': { ...RATES, fast: { ...RATES, input: '18' } },
      'model-long': { ...RATES, long_prompt: LONG },
      'model-x-20260101': { ...RATES, input: '9' },
      'model-x': RATES,
    },
    aliases: { newest: 'model-a' },
  }),
);
const usage = (counts: Partial<ModelUsageCounts>): ModelUsageCounts => ({
  input_tokens: 0,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  cache_creation_5m: 0,
  cache_creation_1h: 0,
  ...counts,
});

describe('a request', () => {
  test('costs each kind of token at its own price', () => {
    const each: [Partial<ModelUsageCounts>, number][] = [
      [{ input_tokens: 1 }, 3000],
      [{ output_tokens: 1 }, 15_000],
      [{ cache_creation_5m: 1, cache_creation_input_tokens: 1 }, 3750],
      [{ cache_creation_1h: 1, cache_creation_input_tokens: 1 }, 6000],
      [{ cache_read_input_tokens: 1 }, 300],
      // An endpoint that tells no split writes five-minute entries.
      [{ cache_creation_input_tokens: 2 }, 7500],
      [{ input_tokens: 1_000_000, output_tokens: 1_000_000 }, 18_000_000_000],
    ];
    for (const [counts, cost] of each) expect(table.costOf('model-a', usage(counts))).toBe(cost);
  });

  test('costs exactly the sum of its parts, in whole nano-dollars', () => {
    const counts = fc.record({
      input_tokens: fc.nat(2_000_000),
      output_tokens: fc.nat(200_000),
      cache_read_input_tokens: fc.nat(2_000_000),
      cache_creation_1h: fc.nat(100_000),
    });
    fc.assert(
      fc.property(fc.array(counts, { maxLength: 20 }), (requests) => {
        const costs = requests.map(
          (part) => table.costOf('model-a', usage({ ...part, cache_creation_input_tokens: part.cache_creation_1h }))!,
        );
        const total = requests.reduce(
          (sum, part) =>
            sum +
            BigInt(part.input_tokens) * 3000n +
            BigInt(part.output_tokens) * 15_000n +
            BigInt(part.cache_read_input_tokens) * 300n +
            BigInt(part.cache_creation_1h) * 6000n,
          0n,
        );
        expect(BigInt(costs.reduce((sum, cost) => sum + cost, 0))).toBe(total);
      }),
    );
  });

  test('with a long prompt costs the other price as a whole, cached parts counted in', () => {
    expect(table.costOf('model-long', usage({ input_tokens: 1000, output_tokens: 1 }))).toBe(3_015_000);
    expect(table.costOf('model-long', usage({ input_tokens: 1, cache_read_input_tokens: 1000, output_tokens: 1 }))).toBe(
      6000 + 600_000 + 30_000,
    );
  });

  test('at fast speed costs the fast price, and has none where there is none', () => {
    expect(table.costOf('model-a', usage({ input_tokens: 1 }), 'fast')).toBe(18_000);
    expect(table.costOf('model-long', usage({ input_tokens: 1 }), 'fast')).toBeNull();
    expect([table.isPriced('model-a', 'fast'), table.isPriced('model-long', 'fast'), table.isPriced('model-long')]).toEqual([
      true,
      false,
      true,
    ]);
  });
});

describe('names', () => {
  test('a dated id has the price of its model, unless it has one of its own; an alias that of what it names', () => {
    expect(table.costOf('model-a-20251101', usage({ input_tokens: 1 }))).toBe(3000);
    expect(table.costOf('model-x-20260101', usage({ input_tokens: 1 }))).toBe(9000);
    expect(table.costOf('model-x-20260202', usage({ input_tokens: 1 }))).toBe(3000);
    expect(table.isPriced('newest')).toBe(true);
    expect(table.isPriced('newest-20260101')).toBe(true);
  });

  test('what is not in the list has no price, however near it sounds', () => {
    for (const model of ['model', 'model-a-2', 'model-a-latest', 'MODEL-A', 'constructor', '']) {
      expect(table.isPriced(model)).toBe(false);
      expect(table.costOf(model, usage({ input_tokens: 1 }))).toBeNull();
    }
  });

  test('an override can take a price away', () => {
    expect(createPriceTable(override({ models: { 'model-a': null } })).isPriced('model-a')).toBe(false);
  });
});

describe('time, searches and money', () => {
  const bundled = createPriceTable();
  test('an hour of a session costs 8 cents, metered by the millisecond, for years on end', () => {
    expect(bundled.runtimeCost(3_600_000)).toBe(80_000_000);
    expect(bundled.runtimeCost(1)).toBe(22);
    expect(bundled.runtimeCost(10 * 365 * 24 * 3_600_000)).toBe(10 * 365 * 24 * 80_000_000);
  });
  test('a thousand web searches cost 10 dollars', () => {
    expect(bundled.webSearchCost(1000)).toBe(10_000_000_000);
  });
  test('the list says of what day it is and where it comes from, and an override says its own', () => {
    expect(bundled.asOf).toMatch(/^\d{4}-\d\d-\d\d$/);
    expect(bundled.source.length).toBeGreaterThan(20);
    expect([table.asOf, table.source]).toEqual(['2026-11-01', 'the contract']);
  });
});

test.each<[string, string, RegExp]>([
  ['no JSON', '{"models":', /^PRICES is not valid JSON$/],
  ['a price as a number', '{"models":{"m":{"input":3}}}', /models\.m\.input: /],
  [
    'a price with too many decimals',
    `{"models":{"m":${JSON.stringify({ ...RATES, input: '0.0001' })}}}`,
    /models\.m\.input: must be US dollars as text/,
  ],
  ['a missing price', `{"models":{"m":${JSON.stringify({ ...RATES, output: undefined })}}}`, /models\.m\.output: /],
  ['an unknown field', `{"models":{"m":${JSON.stringify({ ...RATES, ouput: '1' })}}}`, /models\.m: .*ouput/],
  ['a date that is none', '{"as_of":"soon"}', /as_of: /],
])('an override with %s is refused with the path of the field', (_what, text, message) => {
  expect(() => parsePriceOverride(text, 'PRICES')).toThrow(message);
});
