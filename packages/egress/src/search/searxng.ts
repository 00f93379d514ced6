/**
 * SearXNG: GET /search?format=json of an instance of one's own, which has to have that format switched on. It asks other engines; domain rules
 * are said in the query, and it has no parameter for a place. A key is sent as bearer token, for instances behind a proxy that asks for one.
 */
import { SEARCH_QUERY_MAX_CHARS, type SearchResult } from '@manyhands/contract';
import { z } from 'zod';
import { askProvider } from './provider-request.ts';
import type { SearchProvider } from './search-provider.ts';
import { withSiteOperators } from './site-operators.ts';

/** What the engines behind it take. */
const fits = (query: string) => query.length <= SEARCH_QUERY_MAX_CHARS;
/** "!" before a word chooses engines there, or leads to another site; that is not for a model to decide. */
const COMMANDS = /(?<=^|\s)!+(?=\S)/g;

const Answer = z.object({ results: z.array(z.unknown()) });
const Item = z.object({
  url: z.string(),
  title: z.string().nullish(),
  content: z.string().nullish(),
  publishedDate: z.string().nullish(),
});

export function createSearxng(settings: { baseUrl: string; apiKey: string | undefined }): SearchProvider {
  return {
    name: 'searxng',
    async search({ text, rules }, signal) {
      const url = new URL('search', settings.baseUrl);
      url.searchParams.set('q', withSiteOperators(text.replace(COMMANDS, ''), rules, fits));
      url.searchParams.set('format', 'json');
      const headers: Record<string, string> = settings.apiKey === undefined ? {} : { authorization: `Bearer ${settings.apiKey}` };
      const answer = await askProvider({ url, headers }, Answer, signal);
      return answer.results.flatMap((item) => resultOf(item));
    },
  };
}

function resultOf(item: unknown): SearchResult[] {
  const parsed = Item.safeParse(item);
  if (!parsed.success) return [];
  const { url, title, content, publishedDate } = parsed.data;
  return [{ url, title: title ?? '', snippet: content ?? '', page_age: publishedDate ?? null }];
}
