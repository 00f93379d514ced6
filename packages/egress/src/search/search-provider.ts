/** The port to a web search service: one search, or a SearchFailure. Drivers speak the wire; what holds of every service is in web-search.ts. */
import type { SearchReply, SearchRequest, SearchResult } from '@manyhands/contract';
import type { DomainRules } from '../web/domain-rules.ts';

export interface SearchQuery {
  text: string;
  /** Results wanted, at most 20. */
  count: number;
  /** Passed on where the service can narrow by them; whatever comes back is filtered again. */
  rules: DomainRules;
  location: SearchRequest['user_location'];
}

export interface SearchProvider {
  readonly name: string;
  /** What the service found, in its order and in its own words. Throws a SearchFailure. */
  search(query: SearchQuery, signal: AbortSignal): Promise<SearchResult[]>;
}

type Code = Extract<SearchReply, { ok: false }>['code'];

/** The message is for the model: never a text of the service. */
export class SearchFailure extends Error {
  readonly code: Code;
  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
  }
}
