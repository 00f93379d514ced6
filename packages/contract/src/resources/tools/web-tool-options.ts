/** Options of `web_fetch` and `web_search`: domain lists, sources of URLs, the user's place (CONTRACT 4.2; BEHAVIOUR 9). */
import { z } from 'zod';

export const DOMAINS_MAX = 64;
const DOMAIN_MAX_CHARS = 255;
const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';
const HOST = new RegExp(`^(${LABEL}\\.)+${LABEL}$`, 'i');
const PRIVATE_HOST = /(^|\.)(localhost|local|internal)$/i;
const ADDRESS = /\.\d+$/;
const PATH = /^\/[\x21-\x7e]*$/;

function domainProblem(entry: string, takesPath: boolean): string | null {
  const slash = entry.indexOf('/');
  const host = slash < 0 ? entry : entry.slice(0, slash);
  const path = slash < 0 ? '' : entry.slice(slash);
  if (path !== '' && !(takesPath && PATH.test(path)))
    return takesPath ? 'must be a host name, optionally with a path' : 'must be a host name without scheme, port or path';
  if (PRIVATE_HOST.test(host)) return 'private host names are refused';
  if (!HOST.test(host) || ADDRESS.test(host))
    return 'must be a host name such as docs.example.com: no scheme, port, wildcard, address or bare top level';
  return null;
}

function domainList(takesPath: boolean) {
  return z
    .array(
      z
        .string()
        .min(1)
        .max(DOMAIN_MAX_CHARS)
        .superRefine((entry, context) => {
          const message = domainProblem(entry, takesPath);
          if (message) context.addIssue({ code: 'custom', message });
        }),
    )
    .min(1, 'must not be empty; leave the field out instead')
    .max(DOMAINS_MAX)
    .superRefine((entries, context) => {
      const seen = new Set<string>();
      for (const [index, entry] of entries.entries()) {
        if (seen.has(entry.toLowerCase())) context.addIssue({ code: 'custom', path: [index], message: 'is there twice' });
        seen.add(entry.toLowerCase());
      }
    });
}
export const FetchDomains = domainList(false);
export const SearchDomains = domainList(true);

/** One list or the other. */
export function refuseBothLists(config: { allowed_domains?: unknown; blocked_domains?: unknown }, context: z.RefinementCtx): void {
  if (config.allowed_domains !== undefined && config.blocked_domains !== undefined)
    context.addIssue({ code: 'custom', path: ['blocked_domains'], message: 'cannot be combined with allowed_domains; send one of them' });
}

const TOOL_REFERENCES_MAX = 128;
const TOOL_NAME_MAX_CHARS = 128;
const All = z.strictObject({ type: z.literal('all') });
const None = z.strictObject({ type: z.literal('none') });
const toolList = z
  .array(z.strictObject({ type: z.literal('tool_reference'), name: z.string().min(1).max(TOOL_NAME_MAX_CHARS) }))
  .min(1, 'must name a tool; use "all" or "none" instead of an empty list')
  .max(TOOL_REFERENCES_MAX)
  .refine((tools) => new Set(tools.map(({ name }) => name)).size === tools.length, 'every name may be there once');
const Only = z.strictObject({ type: z.literal('only'), tools: toolList });
const Except = z.strictObject({ type: z.literal('except'), tools: toolList });

/** "all" is short for {"type":"all"}; answers tell the long form. */
const short = z.enum(['all', 'none']).transform((type) => ({ type }));
const ToolFilter = z.union([short, z.discriminatedUnion('type', [All, None, Only, Except])]);
const UserInput = z.union([short, z.discriminatedUnion('type', [All, None])]);
const SERVER_TOOLS = ['web_search', 'web_fetch'];

export type UrlSourceFilter = { type: 'all' | 'none' } | { type: 'only' | 'except'; tools: { type: 'tool_reference'; name: string }[] };
/** Which URLs that the conversation has shown may be fetched. A key that is null allows all of that source. */
export interface UrlSources {
  user_input: { type: 'all' | 'none' } | null;
  client_tool_results: UrlSourceFilter | null;
  server_tool_results: UrlSourceFilter | null;
}
const KEYS = ['user_input', 'client_tool_results', 'server_tool_results'] as const;

/** The tools that a filter names. */
export function namedTools(filter: UrlSourceFilter | null | undefined): string[] {
  return filter && 'tools' in filter ? filter.tools.map(({ name }) => name) : [];
}

export const UrlSourcesIn = z
  .strictObject({ user_input: UserInput.nullish(), client_tool_results: ToolFilter.nullish(), server_tool_results: ToolFilter.nullish() })
  .superRefine((sources, context) => {
    if (KEYS.every((key) => sources[key]?.type === 'none'))
      context.addIssue({ code: 'custom', message: 'with "none" for every source nothing could be fetched; switch web_fetch off instead' });
    for (const name of namedTools(sources.server_tool_results))
      if (!SERVER_TOOLS.includes(name))
        context.addIssue({
          code: 'custom',
          path: ['server_tool_results', 'tools'],
          message: `${JSON.stringify(name)} is neither web_search nor web_fetch`,
        });
  });
export type UrlSourcesIn = z.infer<typeof UrlSourcesIn>;

export function resolveUrlSources(sources: UrlSourcesIn | null | undefined): UrlSources | null {
  if (!sources) return null;
  const { user_input = null, client_tool_results = null, server_tool_results = null } = sources;
  return { user_input, client_tool_results, server_tool_results };
}

function isTimezone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }) !== null;
  } catch {
    return false;
  }
}
export interface UserLocation {
  type: 'approximate';
  city?: string | null;
  region?: string | null;
  country?: string | null;
  timezone?: string | null;
}
const place = z.string().min(1).max(255).nullish();
export const UserLocationIn = z.strictObject({
  type: z.literal('approximate'),
  city: place,
  region: place,
  country: z
    .string()
    .regex(/^[A-Z]{2}$/, 'must be a two-letter country code in capitals')
    .nullish(),
  timezone: z.string().refine(isTimezone, 'must be an IANA timezone such as Europe/Berlin').nullish(),
});
