/**
 * `web_search`: one search on behalf of a session, whoever the provider is (BEHAVIOUR 9). The rules of the agent's domain lists bind every
 * result here, whatever the provider made of them; more is asked for than is shown, so that the rest still has something to choose from.
 */
import type { Clock, Logger } from '@manyhands/base';
import type { SearchReply, SearchRequest } from '@manyhands/contract';
import type { EgressMetrics } from '../metrics.ts';
import { hasRules } from '../web/domain-rules.ts';
import { cleanResults } from './clean-results.ts';
import { SearchFailure, type SearchProvider } from './search-provider.ts';

const TOTAL_TIMEOUT_MS = 15_000;
const SEARCHES_AT_ONCE = 32;
/** What every provider gives at most for one search. */
const PROVIDER_RESULTS_MAX = 20;

type Failure = Extract<SearchReply, { ok: false }>;

export interface WebSearch {
  /** Never rejects. */
  search(request: SearchRequest): Promise<SearchReply>;
}

export interface WebSearchDeps {
  provider: SearchProvider;
  log: Logger;
  clock: Clock;
  metrics: EgressMetrics;
  timeoutMs?: number;
}

export function createWebSearch({ provider, log, clock, metrics, timeoutMs = TOTAL_TIMEOUT_MS }: WebSearchDeps): WebSearch {
  let underWay = 0;

  async function run(request: SearchRequest): Promise<SearchReply> {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const query = {
        text: request.query,
        count: hasRules(request) ? PROVIDER_RESULTS_MAX : request.max_results,
        rules: request,
        location: request.user_location,
      };
      const found = await provider.search(query, signal);
      return { ok: true, results: cleanResults(found, request, request.max_results) };
    } catch (error) {
      if (error instanceof SearchFailure) return failed(error.code, error.message);
      if (signal.aborted) return failed('unreachable', `the search service did not answer within ${Math.round(timeoutMs / 1000)} s`);
      log.warn({ op: 'egress.search', provider: provider.name, err: error }, 'search failed');
      return failed('unreachable', 'the search service could not be reached');
    }
  }

  return {
    async search(request) {
      const startedAt = clock.now();
      let reply: SearchReply;
      if (underWay >= SEARCHES_AT_ONCE) reply = failed('rate_limited', 'too many searches are under way; try again in a moment');
      else {
        underWay += 1;
        reply = await run(request).finally(() => {
          underWay -= 1;
        });
      }
      const durationMs = clock.now() - startedAt;
      metrics.search.observe(durationMs / 1000, { outcome: reply.ok ? 'ok' : reply.code });
      const outcome = reply.ok ? { results: reply.results.length } : { code: reply.code };
      log.info(
        { op: 'egress.search', sessionId: request.session_id, provider: provider.name, ok: reply.ok, ...outcome, durationMs },
        'web searched',
      );
      return reply;
    },
  };
}

function failed(code: Failure['code'], message: string): Failure {
  return { ok: false, code, message };
}
