/**
 * Reads a compose file as Compose does, as far as ours goes: merge keys, interpolation, durations. Everything else is refused by its name, so
 * that what passes here means what it says.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const duration = z.string().transform((text, context) => {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text);
  if (match) return Number(match[1]) * UNITS_MS[match[2]!]!;
  context.addIssue({ code: 'custom', message: `not a duration such as 5s: ${text}` });
  return z.NEVER;
});
const words = z.array(z.string());
const Volume = z.string().transform((text, context) => {
  const [source = '', target = '', mode = 'rw', ...rest] = text.split(':');
  if (path.isAbsolute(target) && source !== '' && rest.length === 0 && (mode === 'rw' || mode === 'ro')) return { source, target, mode };
  context.addIssue({ code: 'custom', message: `not SOURCE:TARGET or SOURCE:TARGET:ro: ${text}` });
  return z.NEVER;
});
const Port = z.string().transform((text, context) => {
  const match = /^(?:(\d+\.\d+\.\d+\.\d+):)?(\d+):(\d+)$/.exec(text);
  if (match) return { address: match[1] ?? '', published: match[2]!, target: match[3]! };
  context.addIssue({ code: 'custom', message: `not ADDRESS:PORT:PORT or PORT:PORT: ${text}` });
  return z.NEVER;
});
const Service = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string() }).optional(),
  restart: z.enum(['no', 'unless-stopped']),
  user: z.string().optional(),
  group_add: words.default([]),
  read_only: z.boolean().default(false),
  tmpfs: words.default([]),
  cap_drop: words.default([]),
  cap_add: words.default([]),
  security_opt: words.default([]),
  logging: z.strictObject({ driver: z.string(), options: z.record(z.string(), z.string()) }),
  container_name: z.string().optional(),
  entrypoint: words.optional(),
  command: words.optional(),
  environment: z.record(z.string(), z.string()).default({}),
  network_mode: z.literal('none').optional(),
  networks: words.default([]),
  ports: z.array(Port).default([]),
  volumes: z.array(Volume).default([]),
  healthcheck: z
    .strictObject({
      disable: z.boolean().default(false),
      test: words.optional(),
      interval: duration.optional(),
      timeout: duration.optional(),
      start_period: duration.optional(),
      retries: z.int().optional(),
    })
    .optional(),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_started', 'service_completed_successfully']) }))
    .default({}),
  stop_grace_period: duration.default(10_000),
  profiles: words.default([]),
});
const ComposeFile = z.strictObject({
  name: z.string(),
  services: z.record(z.string(), Service),
  networks: z.record(z.string(), z.strictObject({ internal: z.boolean().default(false) })).default({}),
  volumes: z.record(z.string(), z.strictObject({})).default({}),
});
export type ComposeService = z.infer<typeof Service>;
export type ComposeFile = z.infer<typeof ComposeFile> & { directory: string };
export type ComposeEnv = Readonly<Record<string, string | undefined>>;

/** Throws with what is missing, unknown or not understood. Later files add to earlier ones, or override them key by key. */
export function readComposeFile(files: string | string[], env: ComposeEnv): ComposeFile {
  const all = [files].flat();
  const read = all.map((file) => parse(readFileSync(file, 'utf8'), { merge: true }) as Record<string, unknown>).reduce(mergeMaps);
  const known = Object.fromEntries(Object.entries(read).filter(([name]) => !name.startsWith('x-')));
  const compose = ComposeFile.parse(interpolate(known, env));
  for (const [name, service] of Object.entries(compose.services)) {
    const unknown = [
      ...Object.keys(service.depends_on).filter((other) => !compose.services[other]),
      ...service.networks.filter((network) => !compose.networks[network]),
      ...service.volumes.map(({ source }) => source).filter((source) => !isPath(source) && !compose.volumes[source]),
    ];
    if (unknown.length > 0) throw new Error(`services.${name} names what the file does not have: ${unknown.join(', ')}`);
    if ((service.networks.length === 0) === (service.network_mode === undefined))
      throw new Error(`services.${name} must have either networks or network_mode`);
  }
  return { ...compose, directory: path.dirname(path.resolve(all[0]!)) };
}

/** Lists of which Compose keeps both; other lists are replaced. */
const ADDED = new Set(['networks', 'ports', 'volumes']);

function mergeMaps(base: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = base[key];
    if (Array.isArray(old) && Array.isArray(value)) merged[key] = ADDED.has(key) ? [...old, ...value] : value;
    else if (isMap(old) && isMap(value)) merged[key] = mergeMaps(old, value);
    else merged[key] = value;
  }
  return merged;
}
function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether the source of a volume is a path and not a name. */
export function isPath(source: string): boolean {
  return source.startsWith('/') || source.startsWith('.');
}

/** Values of a `.env` file: NAME=value, one a line, without quotes. */
export function readEnvFile(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const match = /^([A-Z_][A-Z0-9_]*)=([^'"$\s]*)$/.exec(line);
      if (!match) throw new Error(`not NAME=value without quotes: ${line.split('=')[0]}`);
      return [match[1], match[2]];
    }),
  );
}

function interpolate(value: unknown, env: ComposeEnv): unknown {
  if (typeof value === 'string') return interpolateText(value, env);
  if (Array.isArray(value)) return value.map((item) => interpolate(item, env));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, interpolate(item, env)]));
}

function interpolateText(text: string, env: ComposeEnv): string {
  return text.replaceAll(/\$(\$|\{([A-Z_][A-Z0-9_]*)(:-|:\?)?([^}]*)\}|)/g, (all, sign, name, operator, rest) => {
    if (sign === '$') return '$';
    if (name === undefined || (operator === undefined && rest !== '')) throw new Error(`not understood: ${all} in ${text}`);
    const given = env[name];
    if (operator === ':-') return given || rest;
    if (operator === ':?' && !given) throw new Error(`required variable ${name} is missing a value: ${rest}`);
    if (given === undefined) throw new Error(`the variable ${name} is not set, and ${text} has no default for it`);
    return given;
  });
}
