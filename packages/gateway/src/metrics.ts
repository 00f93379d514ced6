/** Prometheus metrics of a gateway: requests by route template, open streams, appends, and the queues. */
import type { Clock, Metrics } from '@manyhands/base';
import { type AppendMetrics, createAppendMetrics } from '@manyhands/session-log';
import { type TurnQueue, watchQueues } from '@manyhands/turn-queue';
import { ADMIN_PREFIX } from './http/auth.ts';

const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const METHODS = ['GET', 'POST', 'DELETE', 'other'] as const;
const STATUSES = ['2xx', '3xx', '4xx', '5xx', 'aborted'] as const;
/** More than there are; a bound for all that. */
const ROUTES_MAX = 100;
const ROUTES = { atMost: ROUTES_MAX, of: 'the path template, such as /v1/sessions/:session_id' };
const STREAM_ROUTE = /\/stream$/;

type Method = (typeof METHODS)[number];
type Status = (typeof STATUSES)[number];

export interface EndedRequest {
  method: string;
  /** The template of the path; undefined for one that does not exist. */
  route: string | undefined;
  status: number;
  /** Whether the whole answer went out. */
  complete: boolean;
  seconds: number;
}
export interface GatewayMetrics {
  appends: AppendMetrics;
  requestEnded(request: EndedRequest): void;
  /** Tells at scrape time how many streams are open. */
  watchStreams(count: () => number): void;
}

export function createGatewayMetrics(metrics: Metrics, queues: { turnQueue: Pick<TurnQueue, 'queues'>; clock: Clock }): GatewayMetrics {
  const requests = metrics.histogram(
    'manyhands_http_request_seconds',
    'Requests, from their first byte to the end of the answer; without event streams that were opened',
    REQUEST_SECONDS,
    { method: METHODS, route: ROUTES, status: STATUSES },
  );
  const ended = metrics.counter('manyhands_event_streams_ended_total', 'Event streams that were open and ended');
  const open = metrics.gauge('manyhands_event_streams_open', 'Event streams that are open');
  watchQueues(metrics, queues.turnQueue, queues.clock);
  return {
    appends: createAppendMetrics(metrics),
    requestEnded({ method, route, status, complete, seconds }) {
      if (route !== undefined && STREAM_ROUTE.test(route) && status === 200) {
        ended.add(1);
        return;
      }
      const labels = { method: methodOf(method), route: routeOf(route), status: complete ? statusOf(status) : ('aborted' as const) };
      requests.observe(seconds, labels);
    },
    watchStreams: (count) => metrics.onScrape('streams', [open], () => () => open.set(count())),
  };
}

function methodOf(method: string): Method {
  return METHODS.find((known) => known === method) ?? 'other';
}
function statusOf(status: number): Status {
  return STATUSES.find((known) => known.startsWith(String(status)[0] ?? '')) ?? '5xx';
}
/** The board has many pages, none of which matters by itself. */
function routeOf(route: string | undefined): string {
  if (route === undefined) return 'unknown';
  return route.startsWith(`${ADMIN_PREFIX}/`) ? ADMIN_PREFIX : route;
}
