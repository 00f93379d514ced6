/** Tools that run on the server, not in the sandbox. Fetching goes through egress, which checks every address (DESIGN 6). */
import { hasCode, type Messaging } from '@manyhands/base';
import { EGRESS_FETCH_SUBJECT, FetchReply, TOOL_INPUT, type ToolOutcome } from '@manyhands/contract';

const FETCH_MAX_BYTES = 96 * 1024;
const FETCH_TIMEOUT_MS = 30_000;

function failure(text: string): ToolOutcome {
  return { is_error: true, content: [{ type: 'text', text }] };
}

export async function webFetch(messaging: Messaging, sessionId: string, input: unknown): Promise<ToolOutcome> {
  const parsed = TOOL_INPUT.web_fetch.safeParse(input);
  if (!parsed.success) return failure('web_fetch: url must be an http or https URL');
  try {
    const reply = await messaging.request(
      EGRESS_FETCH_SUBJECT,
      { session_id: sessionId, url: parsed.data.url, max_bytes: FETCH_MAX_BYTES },
      FetchReply,
      FETCH_TIMEOUT_MS,
    );
    if (!reply.ok) return failure(`web_fetch: ${reply.code}: ${reply.message}`);
    const text = `${reply.final_url}\nstatus ${reply.status}, ${reply.content_type}${reply.truncated ? ', truncated' : ''}\n\n${reply.body}`;
    return { is_error: reply.status >= 400, content: [{ type: 'text', text }] };
  } catch (error) {
    if (hasCode(error, 'timeout', 'unavailable')) return failure('web_fetch: unreachable: the egress service did not answer; try again');
    throw error;
  }
}

export function webSearch(): ToolOutcome {
  return failure(
    'web_search: no search provider is configured on this server. Use web_fetch with a known URL, or switch the tool off in the agent.',
  );
}
