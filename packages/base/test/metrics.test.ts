import { describe, expect, test } from 'vitest';
import { createMetrics, OTHER_VALUE } from '../src/index.ts';

/** The lines of one metric, without comments. */
async function samples(metrics: ReturnType<typeof createMetrics>, name: string): Promise<string[]> {
  return (await metrics.text()).split('\n').filter((line) => line.startsWith(name));
}

describe('names and labels', () => {
  test('a name without our prefix, a counter without _total or a histogram without its unit is refused', () => {
    const metrics = createMetrics('test');
    expect(() => metrics.counter('requests_total', 'x')).toThrow(/manyhands_/);
    expect(() => metrics.counter('manyhands_requests', 'x')).toThrow(/_total/);
    expect(() => metrics.gauge('manyhands_jobs_total', 'x')).toThrow(/manyhands_jobs_total/);
    expect(() => metrics.histogram('manyhands_duration', 'x', [1])).toThrow(/unit/);
    expect(() => metrics.gauge('manyhands_Jobs', 'x')).toThrow(/manyhands_Jobs/);
  });

  test('a counter with closed labels shows every series from the first scrape on', async () => {
    const metrics = createMetrics('test');
    const counter = metrics.counter('manyhands_calls_total', 'x', { outcome: ['ok', 'failed'], kind: ['a', 'b'] });
    expect(await samples(metrics, 'manyhands_calls_total')).toHaveLength(4);
    counter.add(2, { outcome: 'ok', kind: 'b' });
    expect(await samples(metrics, 'manyhands_calls_total')).toContain('manyhands_calls_total{outcome="ok",kind="b",service="test"} 2');
  });

  test('an open label never has more values than its bound, and what comes later is told together', async () => {
    const metrics = createMetrics('test');
    const counter = metrics.counter('manyhands_asked_total', 'x', { model: { atMost: 3, of: 'a model id' } });
    for (let n = 0; n < 1_000; n++) counter.add(1, { model: `model-${n}` });
    counter.add(1, { model: 'model-1' });
    const lines = await samples(metrics, 'manyhands_asked_total');
    expect(lines).toHaveLength(4);
    expect(lines).toContain(`manyhands_asked_total{model="${OTHER_VALUE}",service="test"} 997`);
    expect(lines).toContain('manyhands_asked_total{model="model-1",service="test"} 2');
  });

  test('a stopwatch observes seconds under the labels known at its end', async () => {
    const metrics = createMetrics('test');
    const histogram = metrics.histogram('manyhands_work_seconds', 'x', [0.001, 60], { outcome: ['ok', 'failed'] });
    const stop = histogram.start();
    const startMs = performance.now();
    while (performance.now() - startMs < 3);
    stop({ outcome: 'ok' });
    const lines = await samples(metrics, 'manyhands_work_seconds');
    expect(lines).toContain('manyhands_work_seconds_bucket{le="0.001",service="test",outcome="ok"} 0');
    expect(lines).toContain('manyhands_work_seconds_bucket{le="60",service="test",outcome="ok"} 1');
  });
});

describe('readings at scrape time', () => {
  function reader() {
    const metrics = createMetrics('test');
    const jobs = metrics.gauge('manyhands_jobs', 'x', { state: ['waiting', 'active'] });
    const plain = metrics.gauge('manyhands_plain', 'x');
    return { metrics, jobs, plain };
  }

  test('a reading that fails leaves its gauges out, is counted, and comes back with the next one', async () => {
    const { metrics, jobs, plain } = reader();
    let broken = false;
    metrics.onScrape('jobs', [jobs, plain], async () => {
      if (broken) throw new Error('away');
      return () => {
        jobs.set(7, { state: 'waiting' });
        plain.set(5);
      };
    });
    expect(await samples(metrics, 'manyhands_jobs')).toEqual(['manyhands_jobs{state="waiting",service="test"} 7']);
    broken = true;
    expect(await samples(metrics, 'manyhands_jobs')).toEqual([]);
    expect(await samples(metrics, 'manyhands_plain')).toEqual([]);
    expect(await samples(metrics, 'manyhands_scrape_failures_total')).toEqual([
      'manyhands_scrape_failures_total{source="jobs",service="test"} 3',
    ]);
    broken = false;
    expect(await samples(metrics, 'manyhands_jobs')).toEqual(['manyhands_jobs{state="waiting",service="test"} 7']);
    expect(await samples(metrics, 'manyhands_plain')).toEqual(['manyhands_plain{service="test"} 5']);
  });

  test('a reading that hangs holds a scrape up for its deadline only, and further scrapes wait for the same one', async () => {
    const { metrics, jobs } = reader();
    let readings = 0;
    let answer = () => {};
    metrics.onScrape('jobs', [jobs], () => {
      readings++;
      return new Promise((resolve) => {
        answer = () => resolve(() => jobs.set(1, { state: 'active' }));
      });
    });
    const startMs = performance.now();
    const texts = await Promise.all([metrics.text(), metrics.text()]);
    expect(performance.now() - startMs).toBeGreaterThan(1_900);
    for (const text of texts) expect(text).not.toContain('manyhands_jobs{');
    const third = metrics.text();
    expect(readings).toBe(1);
    answer();
    expect(await third).toContain('manyhands_jobs{state="active",service="test"} 1');
  });

  test('metrics of the process itself are there once they are asked for', async () => {
    const metrics = createMetrics('test');
    expect(await metrics.text()).not.toContain('nodejs_eventloop_lag_seconds');
    metrics.watchProcess();
    metrics.watchProcess();
    expect(await metrics.text()).toContain('nodejs_eventloop_lag_seconds{service="test"}');
    expect(metrics.list().map(({ name }) => name)).toEqual(['manyhands_scrape_failures_total']);
  });
});
