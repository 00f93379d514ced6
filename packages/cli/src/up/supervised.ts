/**
 * Keeps one process running: when it ends unasked it is started again, at once the first time, then after up to 2 s while it keeps ending.
 * One that never became ready and says why (a bad setting), or ends again and again, is given up: the start has failed.
 */
import type { Exit, LaunchedProcess, Recipe } from './launched-process.ts';
import { describeExit } from './launched-process.ts';

/** One that ran this long after it was ready was healthy. */
const HEALTHY_MS = 10_000;
const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 2_000;
const FIRST_START_ATTEMPTS = 5;
/** Of a process that keeps ending, only some of the ends are told. */
const TOLD_AT_FIRST = 3;
const TOLD_EVERY = 30;

export interface SupervisedOptions {
  /** Told whenever `pid` changed. */
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
  /** Ends it at once; with `stop`, for the impatient. */
  kill(): void;
}

/** Milliseconds before the next start; `failures` counts ends in a row, from 1. */
export function restartDelayMs(failures: number): number {
  return failures <= 1 ? 0 : Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (failures - 2));
}

export function supervise(recipe: Recipe, { onChange, log, healthyMs = HEALTHY_MS }: SupervisedOptions): Supervised {
  const { name } = recipe;
  let current: LaunchedProcess | null = null;
  /** Between the decision to start it and its pid: a server of ours may be fetched just now. */
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
  started.catch(() => {}); // Whoever waits is told; nobody may be waiting.

  function change(next: LaunchedProcess | null): void {
    current = next;
    onChange();
  }

  /** Runs it once, to its end. */
  async function runOnce(): Promise<{ how: string; complaint: string; lastWords: string; healthy: boolean; bySignal: boolean }> {
    let launched: LaunchedProcess;
    launching = true;
    try {
      launched = await recipe.launch();
    } catch (error) {
      const complaint = error instanceof Error ? error.message : String(error);
      return { how: 'it did not come up', complaint, lastWords: complaint, healthy: false, bySignal: false };
    } finally {
      launching = false;
    }
    change(launched);
    // Nobody waits for it any more.
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
      complaint: launched.complaint(),
      lastWords: launched.lastWords(),
      healthy,
      bySignal: exit.signal !== null,
    };
  }

  async function run(): Promise<void> {
    while (!stopping) {
      const end = await runOnce();
      if (stopping) return;
      failures = end.healthy ? 1 : failures + 1;
      // A signal is somebody else's doing; everything else at the first start is the process's own verdict.
      const verdict = !end.bySignal && end.complaint !== '';
      if (!everReady && (verdict || failures >= FIRST_START_ATTEMPTS)) {
        const words = verdict ? end.complaint : end.lastWords;
        reportFailure(new Error(`${name} does not start (${end.how})${words === '' ? '.' : `:\n${words}`}`));
        return;
      }
      if (failures <= TOLD_AT_FIRST || failures % TOLD_EVERY === 0) {
        const words = failures >= TOLD_AT_FIRST && end.lastWords !== '' ? `. Its last words:\n${end.lastWords}` : '';
        log(`${name} ended (${end.how}); starting it again${words}`);
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
      // What has no pid yet has done nothing that must be ended in order; it is killed as it comes, or with this process.
      return launching ? Promise.resolve() : done;
    },
    kill() {
      stopping = true;
      wake();
      current?.kill();
    },
  };
}
