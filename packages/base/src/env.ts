/**
 * Environment loading: one zod object per service, read once in main.ts. All problems are reported together, each with the variable
 * and what it expects. `NAME_FILE` names a file that holds the value of `NAME`, for secrets.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError, ensureError } from './errors.ts';
import { parseRedisUrl } from './redis/redis-url.ts';

export function loadEnv<T extends z.ZodObject>(schema: T, env: Record<string, string | undefined>): Readonly<z.infer<T>> {
  const given: Record<string, string> = {};
  for (const name of Object.keys(schema.shape)) {
    const file = env[`${name}_FILE`];
    const value = file ? readFileSync(file, 'utf8').trim() : env[name];
    if (value !== undefined && value !== '') given[name] = value;
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
    throw new AppError('configuration', `The environment is not usable:\n${problems.join('\n')}`);
  }
  return Object.freeze(parsed.data);
}

/** Helpers for environment schemas; everything arrives as text. */
export const envInt = (fallback: number, min: number, max: number) => z.coerce.number().int().min(min).max(max).default(fallback);
export const envFlag = (fallback: boolean) =>
  z
    .enum(['0', '1', 'true', 'false'])
    .transform((text) => text === '1' || text === 'true')
    .default(fallback);

export interface ListenAddress {
  host: string;
  port: number;
}
/** `port`, `host:port` or `[IPv6]:port`; a port alone is one of this machine only. */
const listenAddress = z.string().transform((text, context): ListenAddress => {
  const [, bracketed, plain, digits] = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):)?(\d{1,5})$/.exec(text.trim()) ?? [];
  const port = Number(digits ?? Number.NaN);
  if (port <= 65_535) return { host: bracketed ?? plain ?? '127.0.0.1', port };
  context.addIssue({ code: 'custom', message: 'must be a port or host:port, such as 9464, 127.0.0.1:9464 or [::1]:9464' });
  return z.NEVER;
});

/** Any form that `createRedis` takes. */
const redisUrl = z.string().superRefine((text, context) => {
  try {
    parseRedisUrl(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: ensureError(error).message });
  }
});

/** Variables every service reads. */
export const commonEnv = {
  REDIS_URL: redisUrl.default('redis://127.0.0.1:6379'),
  NATS_URL: z.string().default('nats://127.0.0.1:4222'),
  /** Directory of blobs and, on a sandbox host, of sandboxes. */
  MANYHANDS_DATA: z.string().default('.manyhands'),
  MANYHANDS_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
  /** Where /metrics, /healthz and /readyz are served; nowhere if not given. They answer without a key: keep the address inside. */
  MANYHANDS_OPS_LISTEN: listenAddress.optional(),
};

/** What processes read that have long work to end: on SIGTERM it gets this long before it is cut off or handed over. */
export const drainEnv = { MANYHANDS_DRAIN_MS: envInt(10_000, 0, 3_600_000) };
