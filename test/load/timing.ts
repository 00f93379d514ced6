/** Times of repeated work, as the floors report them. */
export interface Timing {
  p50: number;
  p95: number;
  n: number;
}

export function summarise(samplesMs: number[]): Timing {
  const sorted = samplesMs.toSorted((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95), n: sorted.length };
}

export async function measure(n: number, work: (i: number) => Promise<unknown>): Promise<Timing> {
  for (let i = 0; i < Math.min(10, n); i++) await work(-1 - i);
  const samples: number[] = [];
  for (let i = 0; i < n; i++) {
    const start = performance.now();
    const own = await work(i);
    samples.push(typeof own === 'number' ? own : performance.now() - start);
  }
  return summarise(samples);
}

export function row(name: string, value: Timing, floor: Timing, target: string): string {
  const ms = (timing: Timing) => `${timing.p50.toFixed(2)} / ${timing.p95.toFixed(2)} (n=${timing.n})`;
  return `| ${name} | ${ms(value)} | ${ms(floor)} | ${(value.p50 / floor.p50).toFixed(2)} | ${target} |`;
}
