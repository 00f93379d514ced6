/**
 * Brave Search: GET /res/v1/web/search with the key in `x-subscription-token`. Titles and descriptions are HTML. Domain rules are said in the
 * query, the place in the country parameter, where Brave knows the country, and in `x-loc-…` headers.
 */
import type { SearchResult } from '@manyhands/contract';
import { z } from 'zod';
import { hasRules } from '../web/domain-rules.ts';
import { pageText } from '../web/page-text.ts';
import { askProvider } from './provider-request.ts';
import { SearchFailure, type SearchProvider, type SearchQuery } from './search-provider.ts';
import { withSiteOperators } from './site-operators.ts';

export const BRAVE_URL = 'https://api.search.brave.com';
const QUERY_MAX_CHARS = 400;
const QUERY_MAX_WORDS = 50;
/** Others are refused as invalid. */
const COUNTRIES = new Set(
  'AR AU AT BE BR CA CL CN DE DK ES FI FR GB HK ID IN IT JP KR MX MY NL NO NZ PH PL PT RU SA SE CH TR TW US ZA'.split(' '),
);

const Answer = z.object({ web: z.object({ results: z.array(z.unknown()).nullish() }).nullish() });
const Item = z.object({
  url: z.string(),
  title: z.string().nullish(),
  description: z.string().nullish(),
  page_age: z.string().nullish(),
  age: z.string().nullish(),
});

export function createBraveSearch(settings: { baseUrl: string; apiKey: string }): SearchProvider {
  return {
    name: 'brave',
    async search({ text, count, rules, location }, signal) {
      if (!fits(text))
        throw new SearchFailure('invalid_query', `a query has at most ${QUERY_MAX_CHARS} characters and ${QUERY_MAX_WORDS} words`);
      const url = new URL('res/v1/web/search', settings.baseUrl);
      url.searchParams.set('q', hasRules(rules) ? withSiteOperators(text, rules, fits) : text);
      url.searchParams.set('count', String(count));
      url.searchParams.set('result_filter', 'web');
      url.searchParams.set('text_decorations', 'false');
      const country = location?.country;
      if (country && COUNTRIES.has(country)) url.searchParams.set('country', country);
      const headers = { 'x-subscription-token': settings.apiKey, ...placeHeaders(location) };
      const answer = await askProvider({ url, headers }, Answer, signal);
      return (answer.web?.results ?? []).flatMap((item) => resultOf(item));
    },
  };
}

function fits(query: string): boolean {
  return query.length <= QUERY_MAX_CHARS && query.split(/\s+/).length <= QUERY_MAX_WORDS;
}

function resultOf(item: unknown): SearchResult[] {
  const parsed = Item.safeParse(item);
  if (!parsed.success) return [];
  const { url, title, description, page_age, age } = parsed.data;
  return [{ url, title: pageText(title ?? '', url), snippet: pageText(description ?? '', url), page_age: page_age ?? age ?? null }];
}

function placeHeaders(location: SearchQuery['location']): Record<string, string> {
  const wanted = {
    'x-loc-city': location?.city,
    'x-loc-state-name': location?.region,
    'x-loc-country': location?.country,
    'x-loc-timezone': location?.timezone,
  };
  return Object.fromEntries(
    Object.entries(wanted).flatMap(([name, value]) => {
      const text = headerText(value ?? '');
      return text === '' ? [] : [[name, text]];
    }),
  );
}

/** A header carries ASCII only: accents are left off, and what is left of other scripts is no name. */
function headerText(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[^\x20-\x7e]/g, '')
    .trim();
}
