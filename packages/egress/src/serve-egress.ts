/** Egress on NATS: `open` and `close` for the sandboxes of this host, `fetch` for everybody. All three may be repeated. */
import { ensureError, type Logger, type Messaging } from '@manyhands/base';
import {
  EGRESS_FETCH_SUBJECT,
  EGRESS_QUEUE_GROUP,
  EgressOpenRequest,
  type EgressReply,
  egressSubject,
  type FetchReply,
  FetchRequest,
} from '@manyhands/contract';
import type { EgressSockets } from './egress-sockets.ts';
import type { PageFetch } from './page-fetch.ts';

/** Serves until `stop`, which waits for what is under way. */
export function serveEgress(deps: { messaging: Messaging; hostId: string; sockets: EgressSockets; pages: PageFetch; log: Logger }): {
  stop(): Promise<void>;
} {
  const { messaging, hostId, sockets, pages, log } = deps;

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

  const serving = [
    messaging.serve(egressSubject(hostId, 'open'), onSandbox(sockets.open)),
    messaging.serve(egressSubject(hostId, 'close'), onSandbox(sockets.close)),
    messaging.serve(EGRESS_FETCH_SUBJECT, onFetch, { queue: EGRESS_QUEUE_GROUP }),
  ];
  return {
    async stop() {
      await Promise.all(serving.map((one) => one.stop()));
    },
  };
}
