/**
 * Egress on NATS: `open` and `close` for the sandboxes of this host, `fetch` and `search` for everybody. All may be repeated. Without a search
 * provider nothing is served there: another host may have one.
 */
import { ensureError, type Logger, type Messaging } from '@manyhands/base';
import {
  EGRESS_FETCH_SUBJECT,
  EGRESS_QUEUE_GROUP,
  EGRESS_SEARCH_SUBJECT,
  EgressOpenRequest,
  type EgressReply,
  egressSubject,
  type FetchReply,
  FetchRequest,
  type SearchReply,
  SearchRequest,
} from '@manyhands/contract';
import type { EgressSockets } from './proxy/egress-sockets.ts';
import type { WebSearch } from './search/web-search.ts';
import type { PageFetch } from './web/page-fetch.ts';

/** Serves until `stop`, which waits for what is under way. */
export function serveEgress(deps: {
  messaging: Messaging;
  hostId: string;
  sockets: EgressSockets;
  pages: PageFetch;
  search: WebSearch | null;
  log: Logger;
}): { stop(): Promise<void> } {
  const { messaging, hostId, sockets, pages, search, log } = deps;

  const onSandbox =
    (act: (sandboxId: string) => Promise<void>) =>
    async (body: unknown): Promise<EgressReply> => {
      const request = EgressOpenRequest.safeParse(body);
      if (!request.success) return { ok: false, message: 'a request is {"sandbox_id": "sbx_…"}' };
      try {
        await act(request.data.sandbox_id);
        return { ok: true };
      } catch (error) {
        const { message } = ensureError(error);
        log.warn({ op: 'egress', sandboxId: request.data.sandbox_id.slice(0, 80), reason: message }, 'sandbox request failed');
        return { ok: false, message };
      }
    };
  async function onFetch(body: unknown): Promise<FetchReply> {
    const request = FetchRequest.safeParse(body);
    if (!request.success) return { ok: false, code: 'url_not_allowed', message: 'a request is {"session_id", "url", "max_bytes"}' };
    return pages.fetch(request.data);
  }
  async function onSearch(search: WebSearch, body: unknown): Promise<SearchReply> {
    const request = SearchRequest.safeParse(body);
    if (!request.success) return { ok: false, code: 'invalid_query', message: 'a request is {"session_id", "query", "max_results"}' };
    return search.search(request.data);
  }

  const serving = [
    messaging.serve(egressSubject(hostId, 'open'), onSandbox(sockets.open)),
    messaging.serve(egressSubject(hostId, 'close'), onSandbox(sockets.close)),
    messaging.serve(EGRESS_FETCH_SUBJECT, onFetch, { queue: EGRESS_QUEUE_GROUP }),
    ...(search ? [messaging.serve(EGRESS_SEARCH_SUBJECT, (body) => onSearch(search, body), { queue: EGRESS_QUEUE_GROUP })] : []),
  ];
  return {
    async stop() {
      await Promise.all(serving.map((one) => one.stop()));
    },
  };
}
