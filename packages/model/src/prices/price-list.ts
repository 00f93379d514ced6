/**
 * The price list as data: what the file may hold, and amounts as whole nano-dollars.
 *
 * A price of USD per million tokens with up to three decimals is a whole number of nano-dollars per token, so that sums are exact.
 */
import { AppError } from '@manyhands/base';
import { z } from 'zod';

const Usd = z.string().regex(/^(0|[1-9]\d{0,5})(\.\d{1,3})?$/, 'must be US dollars as text, with up to three decimals, such as "3.75"');

/** USD per million tokens. */
const rates = {
  input: Usd,
  output: Usd,
  cache_write_5m: Usd,
  cache_write_1h: Usd,
  cache_read: Usd,
};
const Rates = z.strictObject(rates);
const ModelPrice = z.strictObject({
  ...rates,
  /** With `speed: "fast"`; a model without it has no list price at that speed. */
  fast: Rates.optional(),
  /** For the whole of a request whose prompt, cached parts included, has more tokens than this. */
  long_prompt: z.strictObject({ over_tokens: z.number().int().min(1), ...rates }).optional(),
});
const ModelId = z.string().min(1).max(256);

export const PriceList = z.strictObject({
  /** The day on which the prices were read. */
  as_of: z.iso.date(),
  source: z.string().min(1),
  /** USD per hour of a running session. */
  session_hour: Usd,
  web_search_per_1000: Usd,
  models: z.record(ModelId, ModelPrice),
  /** Other names of models. Ids that end in a date need none. */
  aliases: z.record(ModelId, ModelId),
});
/** What an operator sets over the bundled list: any part of it; null takes a model's price away. */
export const PriceOverride = z.strictObject({
  as_of: z.iso.date().optional(),
  source: z.string().min(1).optional(),
  session_hour: Usd.optional(),
  web_search_per_1000: Usd.optional(),
  models: z.record(ModelId, ModelPrice.nullable()).default({}),
  aliases: z.record(ModelId, ModelId).default({}),
});
export type PriceList = z.infer<typeof PriceList>;
export type PriceOverride = z.infer<typeof PriceOverride>;
export type ModelPrice = z.infer<typeof ModelPrice>;
export type Rates = z.infer<typeof Rates>;

/** `name` says where the text was found. */
export function parsePriceOverride(text: string, name: string): PriceOverride {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new AppError('configuration', `${name} is not valid JSON`);
  }
  const parsed = PriceOverride.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.') || '(whole)'}: ${issue.message}`);
  throw new AppError('configuration', `${name} cannot be used:\n${problems.join('\n')}`);
}

/** US dollars in text as thousandths: nano-dollars per token, where the text is dollars per million tokens. */
export function thousandths(usd: string): number {
  const [whole = '0', decimals = ''] = usd.split('.');
  return Number(whole) * 1000 + Number(decimals.padEnd(3, '0'));
}
