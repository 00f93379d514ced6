/** The gateway's environment (README has the table). Read once, in main.ts. */
import { commonEnv, envFlag, envInt } from '@manyhands/base';
import { z } from 'zod';

const MODEL_ID = /^[\x21-\x7e]{1,256}$/;
/** Listed when nothing else is said. Listing is all it means: agents may name any model id. */
export const DEFAULT_MODELS = ['claude-opus-4-8', 'claude-sonnet-5', 'claude-haiku-4-5'];

/** A JSON array of ids, or ids separated by commas. */
const modelList = z.string().transform((text, context) => {
  const trimmed = text.trim();
  let items: unknown = trimmed.split(',').map((item) => item.trim());
  if (trimmed.startsWith('[')) {
    try {
      items = JSON.parse(trimmed);
    } catch {
      items = null;
    }
  }
  const parsed = z.array(z.string().regex(MODEL_ID)).min(1).safeParse(items);
  if (parsed.success) return [...new Set(parsed.data)];
  context.addIssue({ code: 'custom', message: 'must be model ids separated by commas, or a JSON array of them' });
  return z.NEVER;
});

export const gatewayEnv = z.object({
  ...commonEnv,
  MANYHANDS_HOST: z.string().default('127.0.0.1'),
  MANYHANDS_PORT: envInt(8400, 0, 65_535),
  /** A listening socket inherited from the parent; host and port are not used then. */
  MANYHANDS_LISTEN_FD: z.coerce.number().int().min(3).optional(),
  MANYHANDS_API_KEY: z.string().optional(),
  MANYHANDS_ADMIN_WRITABLE: envFlag(false),
  MANYHANDS_MODELS: modelList.default(DEFAULT_MODELS),
  /** What models cost, as JSON; the bundled list prices for everything it does not name. Workers read the same. */
  MANYHANDS_PRICES: z.string().optional(),
  MANYHANDS_RATE_LIMITS: z.enum(['off', 'hosted'], { error: 'must be off or hosted' }).default('off'),
});
export type GatewayEnv = z.infer<typeof gatewayEnv>;
