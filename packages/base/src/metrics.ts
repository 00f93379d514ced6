/**
 * Prometheus metrics of one process, thin over prom-client: an own registry, names checked, labels bounded.
 *
 * - Names are `manyhands_…` with the unit at the end; counters end in `_total`.
 * - A label has a closed list of values, or is open with a bound that is enforced here: what comes beyond it is told as `other`. So no label
 *   can carry an id per session, and a scrape has a size that can be counted beforehand.
 * - What is read from elsewhere is read when somebody scrapes, with a deadline. A reading that fails leaves its gauges out of that scrape
 *   and is counted; an old number would be a lie.
 */
import { type Counter as PromCounter, type Gauge as PromGauge, type Histogram as PromHistogram, default as prometheus } from 'prom-client';
import { withinMs } from './deadline.ts';

/** How long a scrape waits for one reading. */
export const READING_DEADLINE_MS = 2_000;
/** Told instead of a value that an open label has no room for. */
export const OTHER_VALUE = 'other';

export interface OpenLabel {
  readonly atMost: number;
  /** What the values are, for the documentation. */
  readonly of: string;
}
export type LabelValues = readonly string[] | OpenLabel;
export type LabelSet = Readonly<Record<string, LabelValues>>;
/** One value per label. */
export type LabelsOf<L extends LabelSet> = { [K in keyof L]: L[K] extends readonly (infer V)[] ? V : string };
type LabelArgument<L extends LabelSet> = keyof L extends never ? [] : [labels: LabelsOf<L>];

export interface Counter<L extends LabelSet> {
  add(value: number, ...labels: LabelArgument<L>): void;
}
export interface Gauge<L extends LabelSet> {
  set(value: number, ...labels: LabelArgument<L>): void;
  add(value: number, ...labels: LabelArgument<L>): void;
}
export interface Histogram<L extends LabelSet> {
  observe(value: number, ...labels: LabelArgument<L>): void;
  /** Starts a stopwatch; the function stops it and observes the seconds. */
  start(): (...labels: LabelArgument<L>) => void;
}

export type MetricType = 'counter' | 'gauge' | 'histogram';
/** What the documentation says about a metric. */
export interface MetricFacts {
  name: string;
  type: MetricType;
  help: string;
  labels: LabelSet;
}

export interface Metrics {
  readonly service: string;
  counter<const L extends LabelSet = Record<never, never>>(name: string, help: string, labels?: L): Counter<L>;
  gauge<const L extends LabelSet = Record<never, never>>(name: string, help: string, labels?: L): Gauge<L>;
  histogram<const L extends LabelSet = Record<never, never>>(
    name: string,
    help: string,
    buckets: readonly number[],
    labels?: L,
  ): Histogram<L>;
  /**
   * Before each scrape `read` asks for the present values and returns what sets them. Scrapes that overlap share one reading. `gauges` are
   * emptied first, and stay empty when the reading failed or came late.
   */
  onScrape(source: string, gauges: readonly Gauge<never>[], read: () => Promise<() => void> | (() => void)): void;
  /** Adds the usual metrics of a Node process (processor, memory, event loop, garbage collection). */
  watchProcess(): void;
  readonly contentType: string;
  /** The exposition: everything, as it is now. */
  text(): Promise<string>;
  /** Our own metrics in the order of their making. */
  list(): readonly MetricFacts[];
}

export function createMetrics(service: string): Metrics {
  const registry = new prometheus.Registry();
  registry.setDefaultLabels({ service });
  const facts: MetricFacts[] = [];
  const native = new WeakMap<object, { gauge: PromGauge; labelled: boolean }>();
  const readings: (() => Promise<void>)[] = [];
  let watched = false;

  function note(type: MetricType, name: string, help: string, labels: LabelSet) {
    checkName(type, name);
    facts.push({ name, type, help, labels });
    return { name, help, labelNames: Object.keys(labels), registers: [registry] };
  }

  const metrics: Metrics = {
    service,
    counter(name, help, labels) {
      const set = labels ?? {};
      const counter: PromCounter = new prometheus.Counter(note('counter', name, help, set));
      // A series that begins at 0 shows its first increase; one that appears with 1 does not.
      for (const values of closedCombinations(set)) counter.inc(values, 0);
      const bound = bounded(set);
      return { add: (value, ...given) => counter.inc(bound(given[0]), value) };
    },
    gauge(name, help, labels) {
      const gauge: PromGauge = new prometheus.Gauge(note('gauge', name, help, labels ?? {}));
      const bound = bounded(labels ?? {});
      const handle = {
        set: (value: number, ...given: unknown[]) => gauge.set(bound(given[0]), value),
        add: (value: number, ...given: unknown[]) => gauge.inc(bound(given[0]), value),
      };
      native.set(handle, { gauge, labelled: Object.keys(labels ?? {}).length > 0 });
      return handle;
    },
    histogram(name, help, buckets, labels) {
      const histogram: PromHistogram = new prometheus.Histogram({ ...note('histogram', name, help, labels ?? {}), buckets: [...buckets] });
      const bound = bounded(labels ?? {});
      const observe = (value: number, ...given: unknown[]) => histogram.observe(bound(given[0]), value);
      return {
        observe,
        start() {
          const startMs = performance.now();
          return (...given) => observe((performance.now() - startMs) / 1000, ...given);
        },
      };
    },

    onScrape(source, gauges, read) {
      let underWay: Promise<() => void> | null = null;
      failures.add(0, { source });
      const empty = () => {
        for (const handle of gauges) {
          const { gauge, labelled } = native.get(handle)!;
          // Without labels, a reset gauge would say 0.
          if (labelled) gauge.reset();
          else gauge.remove();
        }
      };
      readings.push(async () => {
        underWay ??= Promise.resolve()
          .then(read)
          .finally(() => {
            underWay = null;
          });
        try {
          const apply = await withinMs(underWay, READING_DEADLINE_MS);
          empty();
          apply();
        } catch {
          empty();
          failures.add(1, { source });
        }
      });
    },

    watchProcess() {
      if (watched) return;
      watched = true;
      prometheus.collectDefaultMetrics({ register: registry });
    },
    contentType: registry.contentType,
    async text() {
      await Promise.all(readings.map((read) => read()));
      return registry.metrics();
    },
    list: () => facts,
  };
  const failures = metrics.counter(
    'manyhands_scrape_failures_total',
    'Readings that a scrape had to leave out: they failed or took too long',
    {
      source: { atMost: 8, of: 'what is read at scrape time' },
    },
  );
  return metrics;
}

const UNITS = /_(seconds|bytes)$/;
function checkName(type: MetricType, name: string): void {
  const good = /^manyhands_[a-z][a-z_]*[a-z]$/.test(name) && (type === 'counter') === name.endsWith('_total');
  if (!good || (type === 'histogram' && !UNITS.test(name)))
    throw new Error(`${name}: a metric is named manyhands_…, a counter …_total, a histogram with its unit`);
}

/** Every combination of closed labels; none if a label is open. */
function closedCombinations(labels: LabelSet): Record<string, string>[] {
  let combinations: Record<string, string>[] = [{}];
  for (const [name, values] of Object.entries(labels)) {
    if ('atMost' in values) return [];
    combinations = combinations.flatMap((before) => values.map((value) => ({ ...before, [name]: value })));
  }
  return combinations;
}

/** Keeps values inside what the labels allow. */
function bounded(labels: LabelSet): (given: unknown) => Record<string, string> {
  const seen = new Map(Object.entries(labels).map(([name, values]) => [name, new Set('atMost' in values ? [] : values)]));
  return (given) => {
    const values: Record<string, string> = {};
    for (const [name, allowed] of Object.entries(labels)) {
      const value = (given as Record<string, string> | undefined)?.[name] ?? OTHER_VALUE;
      const known = seen.get(name)!;
      if ('atMost' in allowed && known.size < allowed.atMost && value !== OTHER_VALUE) known.add(value);
      values[name] = known.has(value) ? value : OTHER_VALUE;
    }
    return values;
  };
}
