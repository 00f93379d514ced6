/**
 * What a search service found, as it may be shown: pages of the web only, each once, within the domain rules, their texts bounded and without
 * what does not show. The texts are other people's words all the same.
 */
import type { SearchResult } from '@manyhands/contract';
import { allowedByDomains, type DomainRules } from '../web/domain-rules.ts';

const URL_MAX_CHARS = 2_000;
const TITLE_MAX_CHARS = 300;
const SNIPPET_MAX_CHARS = 2_000;
const AGE_MAX_CHARS = 60;
/** Control characters, marks that turn the direction of text, tag characters, which can hide words, and halves of characters. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff\u{e0000}-\u{e007f}\p{Cs}]/gu;

export function cleanResults(found: readonly SearchResult[], rules: DomainRules, max: number): SearchResult[] {
  const shown = new Map<string, SearchResult>();
  for (const { url: text, title, snippet, page_age } of found) {
    if (shown.size >= max) break;
    const url = webUrl(text);
    if (!url || shown.has(url.href) || !allowedByDomains(rules, url)) continue;
    shown.set(url.href, {
      url: url.href,
      title: line(title, TITLE_MAX_CHARS) || url.hostname,
      snippet: clipped(seen(snippet).trim(), SNIPPET_MAX_CHARS),
      page_age: line(page_age ?? '', AGE_MAX_CHARS) || null,
    });
  }
  return [...shown.values()];
}

function webUrl(text: string): URL | null {
  if (text.length > URL_MAX_CHARS || !URL.canParse(text)) return null;
  const url = new URL(text);
  const isWeb = url.protocol === 'http:' || url.protocol === 'https:';
  return isWeb && url.username + url.password === '' && url.href.length <= URL_MAX_CHARS ? url : null;
}

function seen(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(UNSEEN, '');
}
function line(text: string, max: number): string {
  return clipped(seen(text).replace(/\s+/g, ' ').trim(), max);
}
/** Never between the halves of a character. */
function clipped(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}
