/**
 * Stop signals. The first SIGINT, SIGTERM or SIGHUP asks for an orderly end, a second one for an end at once. npm forwards a Ctrl-C
 * that the terminal has already sent to this process, so a signal within a second of the first is the same Ctrl-C.
 */
const SAME_KEY_MS = 1_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function watchStopSignals(onAgain: () => void): { stop: AbortSignal; stopNow: AbortSignal } {
  const stop = new AbortController();
  const stopNow = new AbortController();
  let firstMs: number | null = null;
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (firstMs === null) {
        firstMs = performance.now();
        stop.abort();
      } else if (performance.now() - firstMs > SAME_KEY_MS && !stopNow.signal.aborted) {
        onAgain();
        stopNow.abort();
      }
    });
  }
  return { stop: stop.signal, stopNow: stopNow.signal };
}
