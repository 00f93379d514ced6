/** Tavily: POST /search with the key as bearer token. It takes domain rules as lists of hosts, and of a place the country by its English name. */
import type { SearchResult } from '@manyhands/contract';
import { z } from 'zod';
import type { DomainRules } from '../web/domain-rules.ts';
import { askProvider } from './provider-request.ts';
import type { SearchProvider } from './search-provider.ts';
import { hostOf } from './site-operators.ts';

export const TAVILY_URL = 'https://api.tavily.com';
/** Countries whose name there is the usual English one. Others are left out: an unknown name fails the search. */
const COUNTRIES = new Set(
  (
    'AR AT AU BD BE BG BR CA CH CL CN CO CR CY DE DK EC EE EG ES ET FI FR GB GH GR HR HU ID IE IL IN IS IT JP KE KR LT LU LV MA MX MY ' +
    'NG NL NO NZ PA PE PH PK PL PT RO RS RU SA SE SG SI SK TH TN TW UA US UY VE VN ZA'
  ).split(' '),
);
const countryNames = new Intl.DisplayNames('en', { type: 'region' });

const Answer = z.object({ results: z.array(z.unknown()) });
const Item = z.object({
  url: z.string(),
  title: z.string().nullish(),
  content: z.string().nullish(),
  published_date: z.string().nullish(),
});

export function createTavily(settings: { baseUrl: string; apiKey: string }): SearchProvider {
  return {
    name: 'tavily',
    async search({ text, count, rules, location }, signal) {
      const country = countryName(location?.country);
      const body = {
        query: text,
        max_results: count,
        topic: 'general',
        search_depth: 'basic',
        ...hostLists(rules),
        ...(country === null ? {} : { country }),
      };
      const headers = { authorization: `Bearer ${settings.apiKey}` };
      const answer = await askProvider({ url: new URL('search', settings.baseUrl), headers, body }, Answer, signal);
      return answer.results.flatMap((item) => resultOf(item));
    },
  };
}

/** A blocked path is not said: its host would go with it. */
function hostLists({ allowed_domains, blocked_domains }: DomainRules): Record<string, string[]> {
  const blocked = blocked_domains?.filter((entry) => !entry.includes('/')) ?? [];
  return {
    ...(allowed_domains ? { include_domains: [...new Set(allowed_domains.map(hostOf))] } : {}),
    ...(blocked.length > 0 ? { exclude_domains: blocked } : {}),
  };
}

function countryName(code: string | null | undefined): string | null {
  return code && COUNTRIES.has(code) ? (countryNames.of(code)?.toLowerCase() ?? null) : null;
}

function resultOf(item: unknown): SearchResult[] {
  const parsed = Item.safeParse(item);
  if (!parsed.success) return [];
  const { url, title, content, published_date } = parsed.data;
  return [{ url, title: title ?? '', snippet: content ?? '', page_age: published_date ?? null }];
}
