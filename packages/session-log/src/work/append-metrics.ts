/** How many events are appended and how long that takes until they are durable. Gateways and workers tell it under the same names. */
import { type Counter, type Histogram, hasCode, type Metrics } from '@manyhands/base';
import type { SessionLog } from '../log-port.ts';
import type { SessionWriter } from '../work-port.ts';

const APPEND_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10];
const OPERATIONS = ['create', 'send', 'turn'] as const;
const OUTCOMES = ['applied', 'refused', 'fenced', 'failed'] as const;

type Operation = (typeof OPERATIONS)[number];

export interface AppendMetrics {
  seconds: Histogram<{ op: typeof OPERATIONS; outcome: typeof OUTCOMES }>;
  events: Counter<{ op: typeof OPERATIONS }>;
}

export function createAppendMetrics(metrics: Metrics): AppendMetrics {
  return {
    seconds: metrics.histogram(
      'manyhands_append_seconds',
      'Appends to session logs, from the call until they are durable; op: create and send are of clients, turn is of a worker',
      APPEND_SECONDS,
      { op: OPERATIONS, outcome: OUTCOMES },
    ),
    events: metrics.counter('manyhands_events_appended_total', 'Events that were appended to session logs', { op: OPERATIONS }),
  };
}

async function measured<T>(
  metrics: AppendMetrics,
  op: Operation,
  append: () => Promise<T>,
  eventsOf: (result: T) => number | null,
): Promise<T> {
  const stop = metrics.seconds.start();
  try {
    const result = await append();
    const events = eventsOf(result);
    stop({ op, outcome: events === null ? 'refused' : 'applied' });
    if (events !== null) metrics.events.add(events, { op });
    return result;
  } catch (error) {
    stop({ op, outcome: hasCode(error, 'fenced') ? 'fenced' : 'failed' });
    throw error;
  }
}

export function measureSessionLog(log: SessionLog, metrics: AppendMetrics): SessionLog {
  return {
    ...log,
    create: (session) =>
      measured(
        metrics,
        'create',
        () => log.create(session),
        () => session.initialEvents.length,
      ),
    send: (request) =>
      measured(
        metrics,
        'send',
        () => log.send(request),
        // What was stored before is a success that appends nothing.
        (result) => (result.outcome === 'stored' ? result.events.length : result.outcome === 'repeated' ? 0 : null),
      ),
  };
}

export function measureSessionWriter(writer: SessionWriter, metrics: AppendMetrics): SessionWriter {
  return {
    ...writer,
    append: (lease, n, batch) =>
      measured(
        metrics,
        'turn',
        () => writer.append(lease, n, batch),
        (result) => (result.outcome === 'applied' ? batch.entries.length : null),
      ),
  };
}
