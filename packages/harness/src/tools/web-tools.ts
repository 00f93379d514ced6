/**
 * Tools that run on the server, not in the sandbox. Egress does the work: it checks every address and every domain, and it alone holds the key of
 * the search provider (DESIGN 6, I7). What only the conversation knows is checked here: which URLs it has shown.
 */
import { hasCode, type Messaging } from '@manyhands/base';
import {
  type BuiltinToolContent,
  type BuiltinToolResult,
  DOCUMENT_MAX_BYTES,
  EGRESS_FETCH_SUBJECT,
  EGRESS_SEARCH_SUBJECT,
  FETCH_MAX_BYTES,
  FETCH_PART_BYTES,
  FetchPartReply,
  FetchReply,
  type FetchRequest,
  SEARCH_QUERY_MAX_CHARS,
  SEARCH_RESULTS_MAX,
  SearchReply,
  type SearchRequest,
  type SearchResult,
  TOOL_INPUT,
  type Tool,
  toolConfig,
} from '@manyhands/contract';
import { type SeenUrls, sourcesInWords, wasShown } from '../context/seen-urls.ts';

/** Of text, where the agent says nothing. */
const FETCH_DEFAULT_BYTES = 96 * 1024;
/** `max_content_tokens` is said to be approximate. Four bytes are about a token of English as of Chinese; of characters that could not be said. */
const BYTES_PER_TOKEN = 4;
const FETCH_TIMEOUT_MS = 30_000;
const PART_TIMEOUT_MS = 10_000;
const SEARCH_TIMEOUT_MS = 25_000;
const NO_PROVIDER =
  'no search provider is configured on this server; its operator sets MANYHANDS_SEARCH_PROVIDER. ' +
  'Use web_fetch with a known URL, or switch the tool off in the agent.';

export interface WebToolContext {
  messaging: Messaging;
  sessionId: string;
  tools: readonly Tool[];
  seen: SeenUrls;
}

function failure(text: string): BuiltinToolResult {
  return { is_error: true, content: [{ type: 'text', text }] };
}

/** The lists that are set. */
function domainLists(config: Pick<FetchRequest, 'allowed_domains' | 'blocked_domains'> | null) {
  const { allowed_domains, blocked_domains } = config ?? {};
  return { ...(allowed_domains ? { allowed_domains } : {}), ...(blocked_domains ? { blocked_domains } : {}) };
}

export async function webFetch({ messaging, sessionId, tools, seen }: WebToolContext, input: unknown): Promise<BuiltinToolResult> {
  const parsed = TOOL_INPUT.web_fetch.safeParse(input);
  if (!parsed.success) return failure('web_fetch: url must be an http or https URL');
  const { url } = parsed.data;
  const config = toolConfig(tools, 'web_fetch');
  const sources = config?.url_sources ?? null;
  if (sources !== null && !wasShown(seen, sources, url))
    return failure(
      'web_fetch: url_not_allowed: the conversation has not shown this URL. ' +
        `This agent may fetch only URLs that stand, as they are, in ${sourcesInWords(sources)}.`,
    );
  const request: FetchRequest = {
    session_id: sessionId,
    url,
    max_bytes: config?.max_content_tokens ? Math.min(FETCH_MAX_BYTES, config.max_content_tokens * BYTES_PER_TOKEN) : FETCH_DEFAULT_BYTES,
    ...domainLists(config),
  };
  try {
    const reply = await messaging.request(EGRESS_FETCH_SUBJECT, request, FetchReply, FETCH_TIMEOUT_MS);
    if (!reply.ok) return failure(`web_fetch: ${reply.code}: ${reply.message}`);
    const head = `${reply.final_url}\nstatus ${reply.status}, ${reply.content_type}${reply.truncated ? ', truncated' : ''}`;
    const content: BuiltinToolContent = [{ type: 'text', text: reply.body === '' ? head : `${head}\n\n${reply.body}` }];
    if (reply.document) {
      const data = await readDocument(messaging, reply.document);
      if (data === null) return failure('web_fetch: unreachable: the document was lost on the way; try again');
      content.push({ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data } });
    }
    return { is_error: reply.status >= 400, content };
  } catch (error) {
    if (hasCode(error, 'timeout', 'unavailable')) return failure('web_fetch: unreachable: the egress service did not answer; try again');
    throw error;
  }
}

/** As base64; null if it did not come whole. */
async function readDocument(messaging: Messaging, { subject, bytes }: { subject: string; bytes: number }): Promise<string | null> {
  if (bytes > DOCUMENT_MAX_BYTES) return null;
  const parts: Buffer[] = [];
  for (let offset = 0; offset < bytes; offset += FETCH_PART_BYTES) {
    const { data } = await messaging.request(subject, { offset }, FetchPartReply, PART_TIMEOUT_MS);
    const part = Buffer.from(data, 'base64');
    if (part.length !== Math.min(FETCH_PART_BYTES, bytes - offset)) return null;
    parts.push(part);
  }
  return Buffer.concat(parts).toString('base64');
}

export async function webSearch({ messaging, sessionId, tools }: WebToolContext, input: unknown): Promise<BuiltinToolResult> {
  const parsed = TOOL_INPUT.web_search.safeParse(input);
  if (!parsed.success) return failure(`web_search: query must be text of 1 to ${SEARCH_QUERY_MAX_CHARS} characters`);
  const config = toolConfig(tools, 'web_search');
  const request: SearchRequest = {
    session_id: sessionId,
    query: parsed.data.query,
    max_results: SEARCH_RESULTS_MAX,
    ...domainLists(config),
    ...(config?.user_location ? { user_location: config.user_location } : {}),
  };
  try {
    const reply = await messaging.request(EGRESS_SEARCH_SUBJECT, request, SearchReply, SEARCH_TIMEOUT_MS);
    if (!reply.ok) return failure(`web_search: ${reply.code}: ${reply.message}`);
    return {
      is_error: false,
      content: reply.results.length > 0 ? reply.results.map(resultBlock) : [{ type: 'text', text: 'No results.' }],
    };
  } catch (error) {
    if (hasCode(error, 'timeout')) return failure('web_search: unreachable: the egress service did not answer; try again');
    // Where nobody has a provider, nobody serves the subject.
    if (hasCode(error, 'unavailable')) return failure(`web_search: ${NO_PROVIDER}`);
    throw error;
  }
}

function resultBlock({ url, title, snippet, page_age }: SearchResult): BuiltinToolContent[number] {
  const text = [snippet, page_age === null ? '' : `Page age: ${page_age}`].filter((line) => line !== '').join('\n');
  return {
    type: 'search_result',
    source: url,
    title,
    content: [{ type: 'text', text: text || '(no description)' }],
    citations: { enabled: false },
  };
}
