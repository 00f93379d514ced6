/** The metrics port of each process: consecutive loopback ports in the order of the ready file. */
import { UsageError } from '../../usage-error.ts';

const PORT_MAX = 65_535;

export type MetricsPorts = ReadonlyMap<string, number>;

/** `first` null: no metrics are served. */
export function metricsPorts(first: number | null, counts: { gateways: number; workers: number }): MetricsPorts {
  if (first === null) return new Map();
  const names = [...numbered('gateway', counts.gateways), ...numbered('harness', counts.workers), 'sandbox-pool-1', 'egress-1'];
  return new Map(names.map((name, index) => [name, first + index]));
}

/** Refuses a first port that has no room behind it, or a range that holds the port of the API. */
export function checkMetricsPorts(first: number, counts: { gateways: number; workers: number }, apiPort: number): void {
  const last = Math.max(...metricsPorts(first, counts).values());
  if (last > PORT_MAX)
    throw new UsageError(
      `--metrics-port: ${last - first + 1} ports are needed from ${first} on, and ${PORT_MAX} is the last one. Give a lower one.`,
    );
  if (apiPort >= first && apiPort <= last)
    throw new UsageError(`--metrics-port: ports ${first} to ${last} are needed, and ${apiPort} is the port of the API. Give another one.`);
}

/** One line for people; null when no metrics are served. */
export function metricsLine(ports: MetricsPorts): string | null {
  if (ports.size === 0) return null;
  return `http://127.0.0.1:PORT/metrics   (${[...ports].map(([name, port]) => `${name} ${port}`).join(', ')})`;
}

function numbered(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${kind}-${index + 1}`);
}
