/** What egress tells Prometheus: what was let through and what was not, connections and bytes, page fetches, searches. */
import type { Socket } from 'node:net';
import type { Histogram, Metrics } from '@manyhands/base';

const FETCH_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20];
const KINDS = ['connect', 'request'] as const;
const DECISIONS = ['allowed', 'blocked', 'unreachable', 'invalid'] as const;
const FETCH_OUTCOMES = ['ok', 'url_not_allowed', 'unreachable', 'too_many_redirects', 'unsupported_content', 'too_large'] as const;
const SEARCH_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15];
const SEARCH_OUTCOMES = ['ok', 'invalid_query', 'rate_limited', 'refused', 'unreachable'] as const;

export type ProxyKind = (typeof KINDS)[number];
export type Decision = (typeof DECISIONS)[number];

export interface EgressMetrics {
  decided(kind: ProxyKind, decision: Decision): void;
  /** Counts the bytes of an upstream connection until it is closed. */
  watchUpstream(socket: Socket): void;
  dropped(): void;
  fetch: Histogram<{ outcome: typeof FETCH_OUTCOMES }>;
  search: Histogram<{ outcome: typeof SEARCH_OUTCOMES }>;
  /** Tells at scrape time how many sandboxes have a way out. */
  watchSandboxes(count: () => number): void;
}

export function createEgressMetrics(metrics: Metrics): EgressMetrics {
  const requests = metrics.counter('manyhands_egress_requests_total', 'What sandboxes asked the proxy for, by its decision', {
    kind: KINDS,
    decision: DECISIONS,
  });
  const dropped = metrics.counter('manyhands_egress_dropped_total', 'Connections that a sandbox had too many of');
  const bytes = metrics.counter('manyhands_egress_bytes_total', 'Bytes on upstream connections of sandboxes', {
    direction: ['sent', 'received'],
  });
  const open = metrics.gauge('manyhands_egress_connections_open', 'Upstream connections of sandboxes that are open');
  const sandboxes = metrics.gauge('manyhands_egress_sandboxes', 'Sandboxes whose way out is open');
  /** What was counted so far of each open connection. */
  const upstreams = new Map<Socket, { sent: number; received: number }>();

  function count(socket: Socket): void {
    const before = upstreams.get(socket);
    if (!before) return;
    const { bytesWritten: sent, bytesRead: received } = socket;
    bytes.add(Math.max(0, sent - before.sent), { direction: 'sent' });
    bytes.add(Math.max(0, received - before.received), { direction: 'received' });
    upstreams.set(socket, { sent, received });
  }
  // Long tunnels are counted as they go on, not when they end.
  metrics.onScrape('connections', [open], () => () => {
    for (const socket of upstreams.keys()) count(socket);
    open.set(upstreams.size);
  });

  return {
    decided: (kind, decision) => requests.add(1, { kind, decision }),
    watchUpstream(socket) {
      upstreams.set(socket, { sent: 0, received: 0 });
      socket.once('close', () => {
        count(socket);
        upstreams.delete(socket);
      });
    },
    dropped: () => dropped.add(1),
    fetch: metrics.histogram('manyhands_egress_fetch_seconds', 'Page fetches of web_fetch, by how they ended', FETCH_SECONDS, {
      outcome: FETCH_OUTCOMES,
    }),
    search: metrics.histogram('manyhands_egress_search_seconds', 'Searches of web_search, by how they ended', SEARCH_SECONDS, {
      outcome: SEARCH_OUTCOMES,
    }),
    watchSandboxes: (count) => metrics.onScrape('sandboxes', [sandboxes], () => () => sandboxes.set(count())),
  };
}
