/**
 * What requests cost at list prices, in whole nano-dollars (10⁻⁹ USD): exact, so that sums over a session neither drift nor depend on the
 * order of adding (BEHAVIOUR 25). A model without a price has none: nothing is guessed.
 */
import { readFileSync } from 'node:fs';
import type { ModelSpeed, ModelUsageCounts } from '../model-client.ts';
import { type ModelPrice, PriceList, type PriceOverride, parsePriceOverride, type Rates, thousandths } from './price-list.ts';

/** From `src` and from `dist` alike. */
const BUNDLED = new URL('../../src/prices/list-prices.json', import.meta.url);
const DATED = /-\d{8}$/;
const MS_PER_HOUR = 3_600_000n;

export interface PriceTable {
  asOf: string;
  source: string;
  /** Whether a budget can be kept with this model at this speed. */
  isPriced(model: string, speed?: ModelSpeed): boolean;
  /** Nano-dollars of one request, or null for a model without a price. */
  costOf(model: string, usage: ModelUsageCounts, speed?: ModelSpeed): number | null;
  /** Nano-dollars of a session's running time so far. Rounded, so to be taken of the whole time and not summed. */
  runtimeCost(activeMs: number): number;
  webSearchCost(searches: number): number;
}

export interface PriceTableOptions {
  override?: PriceOverride;
}

/** The table of a process: what is bundled, and over it the text of MANYHANDS_PRICES if there is one. */
export function priceTableOf(override: string | undefined): PriceTable {
  return createPriceTable(override === undefined ? {} : { override: parsePriceOverride(override, 'MANYHANDS_PRICES') });
}

export function createPriceTable(options: PriceTableOptions = {}): PriceTable {
  const bundled = PriceList.parse(JSON.parse(readFileSync(BUNDLED, 'utf8')));
  const { override } = options;
  const models = new Map<string, ModelPrice | null>([...Object.entries(bundled.models), ...Object.entries(override?.models ?? {})]);
  const aliases = new Map([...Object.entries(bundled.aliases), ...Object.entries(override?.aliases ?? {})]);
  const sessionHour = thousandths(override?.session_hour ?? bundled.session_hour) * 1_000_000;
  const webSearch = thousandths(override?.web_search_per_1000 ?? bundled.web_search_per_1000) * 1000;

  function priceOf(model: string): ModelPrice | null {
    for (const name of namesOf(model, aliases)) {
      const price = models.get(name);
      if (price !== undefined) return price;
    }
    return null;
  }
  function ratesOf(model: string, speed: ModelSpeed): ModelPrice | Rates | null {
    const price = priceOf(model);
    return speed === 'fast' ? (price?.fast ?? null) : price;
  }

  return {
    asOf: override?.as_of ?? bundled.as_of,
    source: override?.source ?? bundled.source,
    isPriced: (model, speed = 'standard') => ratesOf(model, speed) !== null,
    costOf(model, usage, speed = 'standard') {
      const rates = ratesOf(model, speed);
      if (!rates) return null;
      const { input_tokens: input, output_tokens: output, cache_read_input_tokens: read, cache_creation_1h: hour } = usage;
      // An endpoint that tells no split writes five-minute entries, the default.
      const fiveMinutes = Math.max(usage.cache_creation_5m, usage.cache_creation_input_tokens - hour);
      const long = 'long_prompt' in rates ? rates.long_prompt : undefined;
      const used = long && input + read + fiveMinutes + hour > long.over_tokens ? long : rates;
      return (
        input * thousandths(used.input) +
        output * thousandths(used.output) +
        fiveMinutes * thousandths(used.cache_write_5m) +
        hour * thousandths(used.cache_write_1h) +
        read * thousandths(used.cache_read)
      );
    },
    // In big integers: nano-dollars times milliseconds outgrow a double within two days.
    runtimeCost: (activeMs) => Number((BigInt(Math.round(activeMs)) * BigInt(sessionHour) + MS_PER_HOUR / 2n) / MS_PER_HOUR),
    webSearchCost: (searches) => searches * webSearch,
  };
}

/** An id, what it is another name of, and both without the date that a snapshot carries. */
function namesOf(model: string, aliases: ReadonlyMap<string, string>): string[] {
  const names = [model, aliases.get(model), model.replace(DATED, ''), aliases.get(model.replace(DATED, ''))];
  return names.filter((name) => name !== undefined);
}
