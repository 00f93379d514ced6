/**
 * Environment loading: one zod object per service, read once in main.ts. All problems are reported together, each with the variable
 * and what it expects. `NAME_FILE` names a file that holds the value of `NAME`, for secrets.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError } from './errors.ts';

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

/** Variables every service reads. */
export const commonEnv = {
  REDIS_URL: z.string().default('redis://127.0.0.1:6379'),
  NATS_URL: z.string().default('nats://127.0.0.1:4222'),
  /** Directory of blobs and, on a sandbox host, of sandboxes. */
  MANYHANDS_DATA: z.string().default('.manyhands'),
  MANYHANDS_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
};
