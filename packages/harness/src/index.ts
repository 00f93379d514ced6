/** What others may know of the harness: what it tells Prometheus. The process itself is main.ts. */
export { createHarnessMetrics, type HarnessMetrics } from './metrics.ts';
