/** Every metric of every process, as the processes themselves register them, and the rows of docs/METRICS.md that say so. */
import { createMetrics, type MetricFacts, systemClock } from '@manyhands/base';
import { createEgressMetrics } from '@manyhands/egress';
import { createGatewayMetrics } from '@manyhands/gateway';
import { createHarnessMetrics } from '@manyhands/harness';
import { createPoolMetrics } from '@manyhands/sandbox-pool';

export type ServiceName = 'gateway' | 'harness' | 'sandbox-pool' | 'egress';

export function registeredMetrics(): Record<ServiceName, readonly MetricFacts[]> {
  const gateway = createMetrics('gateway');
  createGatewayMetrics(gateway, { turnQueue: { queues: [] }, clock: systemClock });
  const harness = createMetrics('harness');
  createHarnessMetrics(harness);
  const pool = createMetrics('sandbox-pool');
  createPoolMetrics(pool);
  const egress = createMetrics('egress');
  createEgressMetrics(egress);
  return { gateway: gateway.list(), harness: harness.list(), 'sandbox-pool': pool.list(), egress: egress.list() };
}

/** The columns that the registry knows: name, type, labels, meaning. What to alert on is for people to say. */
export function tableColumns({ name, type, labels, help }: MetricFacts): [string, string, string, string] {
  const told = Object.entries(labels).map(([label, values]) =>
    'atMost' in values ? `\`${label}\`: ${values.of}; ${values.atMost} at most` : `\`${label}\`: ${values.join(', ')}`,
  );
  return [`\`${name}\``, type, told.join('<br>') || '–', help];
}

/** Sample names that a query may use. */
export function sampleNames({ name, type }: MetricFacts): string[] {
  return type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
}
