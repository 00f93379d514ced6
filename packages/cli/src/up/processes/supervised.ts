/**
 * Keeps one process running: when it ends unasked it is restarted, at once the first time, then with a backoff of up to 2 s.
 * A process that never became ready and printed a startup error (a bad setting), or that ended too often, is not restarted: the start has failed.
 */
import type { Exit, LaunchedProcess, Recipe } from './launched-process.ts';
import { describeExit } from './launched-process.ts';

/** A process that ran this long after it was ready counts as healthy, and its failures are counted anew. */
const HEALTHY_MS = 10_000;
const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 2_000;
const FIRST_START_ATTEMPTS = 5;
/** Of a process that keeps ending, only some of the ends are logged. */
const LOGGED_AT_FIRST = 3;
const LOGGED_EVERY = 30;

export interface SupervisedOptions {
  /** Called whenever `pid` changed. */
  onChange: () => void;
  log: (line: string) => void;
  healthyMs?: number;
}

export interface Supervised {
  readonly name: string;
  /** Null while there is none. */
  readonly pid: number | null;
  /** Resolves when it was ready for the first time; rejects when the start has failed. */
  readonly started: Promise<void>;
  /** No more restarts; asks for an orderly end. Resolves when it is gone. Safe to repeat. */
  stop(): Promise<void>;
  /** Kills it at once; used when an orderly stop takes too long. */
  kill(): void;
}

/** Milliseconds before the next start; `failures` counts ends in a row, from 1. */
export function restartDelayMs(failures: number): number {
  return failures <= 1 ? 0 : Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (failures - 2));
}

export function supervise(recipe: Recipe, { onChange, log, healthyMs = HEALTHY_MS }: SupervisedOptions): Supervised {
  const { name } = recipe;
  let current: LaunchedProcess | null = null;
  /** True between the decision to start it and its pid, for instance while a server of ours is being downloaded. */
  let launching = false;
  let stopping = false;
  let everReady = false;
  let failures = 0;
  let wake: () => void = () => {};
  let reportReady: () => void = () => {};
  let reportFailure: (error: Error) => void = () => {};
  const started = new Promise<void>((resolve, reject) => {
    reportReady = resolve;
    reportFailure = reject;
  });
  started.catch(() => {}); // Waiters get the rejection; there may be none.

  function change(next: LaunchedProcess | null): void {
    current = next;
    onChange();
  }

  /** Runs it once, to its end. */
  async function runOnce(): Promise<{ how: string; startupError: string; stderrTail: string; healthy: boolean; bySignal: boolean }> {
    let launched: LaunchedProcess;
    launching = true;
    try {
      launched = await recipe.launch();
    } catch (error) {
      const startupError = error instanceof Error ? error.message : String(error);
      return { how: 'it did not come up', startupError, stderrTail: startupError, healthy: false, bySignal: false };
    } finally {
      launching = false;
    }
    change(launched);
    // `stop` was called while it was launching.
    if (stopping) launched.kill();
    let readyAtMs: number | null = null;
    void launched.ready.then(() => {
      readyAtMs = performance.now();
      everReady = true;
      reportReady();
    });
    const exit: Exit = await launched.exited;
    const healthy = readyAtMs !== null && performance.now() - readyAtMs > healthyMs;
    change(null);
    return {
      how: describeExit(exit),
      startupError: launched.startupError(),
      stderrTail: launched.stderrTail(),
      healthy,
      bySignal: exit.signal !== null,
    };
  }

  async function run(): Promise<void> {
    while (!stopping) {
      const end = await runOnce();
      if (stopping) return;
      failures = end.healthy ? 1 : failures + 1;
      // An exit by signal was caused from outside; any other exit at the first start, with a startup error, is final.
      const hasVerdict = !end.bySignal && end.startupError !== '';
      if (!everReady && (hasVerdict || failures >= FIRST_START_ATTEMPTS)) {
        const reason = hasVerdict ? end.startupError : end.stderrTail;
        reportFailure(new Error(`${name} does not start (${end.how})${reason === '' ? '.' : `:\n${reason}`}`));
        return;
      }
      if (failures <= LOGGED_AT_FIRST || failures % LOGGED_EVERY === 0) {
        const tail = failures >= LOGGED_AT_FIRST && end.stderrTail !== '' ? `. Its last words:\n${end.stderrTail}` : '';
        log(`${name} ended (${end.how}); starting it again${tail}`);
      }
      await pause(restartDelayMs(failures));
    }
  }

  function pause(ms: number): Promise<void> {
    if (ms === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  const done = run();
  return {
    name,
    get pid() {
      return current?.pid ?? null;
    },
    started,
    stop() {
      stopping = true;
      wake();
      current?.stop();
      // A process without a pid has no state that needs an orderly end; it is killed once it is launched, or with this process.
      return launching ? Promise.resolve() : done;
    },
    kill() {
      stopping = true;
      wake();
      current?.kill();
    },
  };
}
