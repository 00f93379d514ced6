/**
 * The URLs that a conversation has shown the model, for agents whose `web_fetch` may fetch no others (`url_sources`, CONTRACT 4.2).
 *
 * - They are noted as the log is folded, for every session: an agent's tools may change later, and a compaction takes texts away.
 * - Kept are fingerprints, the newest of each source, so that a long session costs no more than a short one (I14). What was shown too long
 *   ago counts as never shown.
 * - A failed call of a web tool shows nothing: its text may repeat the very URL that was refused. Nor does a sandbox, whose output the model
 *   can choose.
 */
import { createHash } from 'node:crypto';
import type { BuiltinToolContent, ClientToolContent, UrlSourceFilter, UrlSources, UserContent } from '@manyhands/contract';

const KEPT_PER_SOURCE = 4_000;
/** 96 bits: nobody finds a second URL for one of them. */
const FINGERPRINT_CHARS = 16;
const URL_MAX_CHARS = 8_000;

/** Plain JSON, a part of checkpoints: per source fingerprints, behind those of tools the tool's name; newest last. */
export type SeenUrls = Record<keyof UrlSources, string[]>;

export function nothingSeen(): SeenUrls {
  return { user_input: [], client_tool_results: [], server_tool_results: [] };
}

/** A URL in running text ends at white space, quotes, angle brackets, or where the next one of a list begins. */
const IN_TEXT = /https?:\/\/(?:(?![,;|]https?:\/\/)[^\s<>"`\\^{}|\u0000-\u001f\u007f-\u009f])+/gi;
const TRAILING = /[.,:;!?*_~'\]”’»…。，、；：！？）」』】]$/;

/** The URLs in a text, without the punctuation that follows them. */
export function urlsIn(text: string): string[] {
  return [...text.matchAll(IN_TEXT)].map(([found]) => {
    let end = found.length;
    let unopened = found.split(')').length - found.split('(').length;
    for (; ; end--) {
      const last = found[end - 1]!;
      // A closing bracket belongs to the URL if it was opened inside.
      if (last === ')' && unopened > 0) unopened--;
      else if (!TRAILING.test(last)) return found.slice(0, end);
    }
  });
}

function fingerprint(text: string): string | null {
  if (text.length > URL_MAX_CHARS || !URL.canParse(text)) return null;
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  url.hash = '';
  return createHash('sha256').update(url.href).digest('base64url').slice(0, FINGERPRINT_CHARS);
}

function textsOf(content: UserContent | ClientToolContent | BuiltinToolContent, withDocuments: boolean): string[] {
  return content.flatMap((block) => {
    if (block.type === 'text') return [block.text];
    if (block.type === 'search_result') return [block.source, block.title, ...block.content.map(({ text }) => text)];
    return withDocuments && block.type === 'document' && block.source.type === 'text' ? [block.source.data] : [];
  });
}

function note(seen: SeenUrls, source: keyof UrlSources, texts: string[], tool?: string): void {
  const urls = texts.flatMap(urlsIn);
  if (urls.length === 0) return;
  const suffix = tool === undefined ? '' : ` ${tool}`;
  const kept = new Set(seen[source]);
  for (const url of urls) {
    const print = fingerprint(url);
    if (print === null) continue;
    const entry = print + suffix;
    // Shown again is shown anew.
    kept.delete(entry);
    kept.add(entry);
  }
  seen[source] = [...kept].slice(-KEPT_PER_SOURCE);
}

export function noteMessage(seen: SeenUrls, content: UserContent): void {
  note(seen, 'user_input', textsOf(content, false));
}
export function noteClientResult(seen: SeenUrls, tool: string, content: ClientToolContent): void {
  note(seen, 'client_tool_results', textsOf(content, true), tool);
}
/** A result of `web_search` or `web_fetch`. */
export function noteServerResult(seen: SeenUrls, tool: string, content: BuiltinToolContent): void {
  note(seen, 'server_tool_results', textsOf(content, true), tool);
}

/** Whether the URL was shown by a source that counts. Redirects that it leads to are another matter. */
export function wasShown(seen: SeenUrls, sources: UrlSources, url: string): boolean {
  const print = fingerprint(url);
  if (print === null) return false;
  return (['user_input', 'client_tool_results', 'server_tool_results'] as const).some((source) =>
    seen[source].some((entry) => entry.startsWith(print) && counts(sources[source], entry.slice(print.length + 1))),
  );
}

function counts(filter: UrlSourceFilter | null, tool: string): boolean {
  if (filter === null || filter.type === 'all') return true;
  if (filter.type === 'none' || !('tools' in filter)) return false;
  return filter.tools.some(({ name }) => name === tool) === (filter.type === 'only');
}

/** Where a URL has to stand to count. */
export function sourcesInWords({ user_input, client_tool_results, server_tool_results }: UrlSources): string {
  const places = [
    user_input?.type === 'none' ? '' : 'messages of the user',
    resultsInWords('custom tools', client_tool_results),
    resultsInWords('web_search and web_fetch', server_tool_results),
  ];
  return places.filter((place) => place !== '').join(', or in ');
}

function resultsInWords(all: string, filter: UrlSourceFilter | null): string {
  if (filter?.type === 'none') return '';
  if (filter === null || !('tools' in filter)) return `results of ${all}`;
  const names = filter.tools.map(({ name }) => name).join(', ');
  return filter.type === 'only' ? `results of ${names}` : `results of ${all} other than ${names}`;
}
