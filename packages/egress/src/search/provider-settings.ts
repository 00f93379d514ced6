/** Which search service is asked, from the environment. A combination that cannot work ends the process at its start, naming the variable. */
import { AppError } from '@manyhands/base';
import { z } from 'zod';
import { BRAVE_URL, createBraveSearch } from './brave-search.ts';
import type { SearchProvider } from './search-provider.ts';
import { createSearxng } from './searxng.ts';
import { createTavily, TAVILY_URL } from './tavily.ts';

const PROVIDERS = ['brave', 'tavily', 'searxng'] as const;

export const searchEnv = {
  /** Who answers `web_search`; without one the tool says that there is none. */
  MANYHANDS_SEARCH_PROVIDER: z.enum(PROVIDERS).optional(),
  MANYHANDS_SEARCH_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be a key of one line, without blanks')
    .optional(),
  /** Set by the operator, so it may be an address of the installation's own network. */
  MANYHANDS_SEARCH_BASE_URL: z.string().optional(),
};
export type SearchEnv = z.infer<z.ZodObject<typeof searchEnv>>;

/** Null if none is wanted. */
export function searchProvider(env: SearchEnv): SearchProvider | null {
  const { MANYHANDS_SEARCH_PROVIDER: name, MANYHANDS_SEARCH_API_KEY: apiKey } = env;
  const base = (fallback?: string) => baseUrl(env.MANYHANDS_SEARCH_BASE_URL ?? fallback ?? missing('MANYHANDS_SEARCH_BASE_URL', name));
  switch (name) {
    case 'brave':
      return createBraveSearch({ baseUrl: base(BRAVE_URL), apiKey: apiKey ?? missing('MANYHANDS_SEARCH_API_KEY', name) });
    case 'tavily':
      return createTavily({ baseUrl: base(TAVILY_URL), apiKey: apiKey ?? missing('MANYHANDS_SEARCH_API_KEY', name) });
    case 'searxng':
      return createSearxng({ baseUrl: base(), apiKey });
    case undefined:
      for (const variable of ['MANYHANDS_SEARCH_API_KEY', 'MANYHANDS_SEARCH_BASE_URL'] as const)
        if (env[variable] !== undefined)
          throw new AppError('configuration', `${variable} is set, and MANYHANDS_SEARCH_PROVIDER is not: say ${PROVIDERS.join(', ')}`);
      return null;
  }
}

function missing(variable: string, provider: string | undefined): never {
  throw new AppError('configuration', `${variable} is missing: MANYHANDS_SEARCH_PROVIDER=${provider} needs it`);
}

/** Ends in a slash, so that paths are added to it. */
function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const plain = url && /^https?:$/.test(url.protocol) && url.username + url.password + url.search + url.hash === '';
  if (!plain) throw new AppError('configuration', 'MANYHANDS_SEARCH_BASE_URL must be an http or https URL without credentials and query');
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}
