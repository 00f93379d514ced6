/**
 * The life of a process: it says when it is ready, it ends on SIGTERM or SIGINT by running its closers in reverse order, and it ends
 * when the process that started it is gone.
 *
 * Readiness is one JSON line on file descriptor 3, if the parent opened one. The parent's death is seen as the end of stdin, which `up`
 * holds open as a pipe (MANYHANDS_WATCH_PARENT=1); no signal is needed, so kill -9 of the parent works too.
 */
import { writeSync } from 'node:fs';
import type { Logger } from './log.ts';

/** A process that cannot end its work in this time is ended anyway. */
export const SHUTDOWN_DEADLINE_MS = 25_000;
/** What an end takes beyond the time that work under way is given (MANYHANDS_DRAIN_MS): snapshots, last answers, connections. */
const AFTER_DRAIN_MS = 15_000;
const STDERR = 2;

/** The deadline of a process that gives its work `drainMs` to finish. */
export function shutdownDeadlineMs(drainMs: number): number {
  return drainMs + AFTER_DRAIN_MS;
}

export type LifePhase = 'starting' | 'ready' | 'ending';

export interface Lifecycle {
  readonly phase: LifePhase;
  /** Registers work to be done at the end; run last-registered first. */
  onShutdown(name: string, close: () => Promise<void> | void): void;
  ready(facts: Record<string, unknown>): void;
  /** Ends the process: closers, then exit. With an exit code that tells of a failure, the reason is one line on stderr, as from `runMain`. */
  shutdown(reason: string, exitCode?: number): Promise<void>;
}

export function createLifecycle(log: Logger, env: Record<string, string | undefined>, deadlineMs = SHUTDOWN_DEADLINE_MS): Lifecycle {
  const closers: { name: string; close: () => Promise<void> | void }[] = [];
  let ending: Promise<void> | null = null;
  let phase: LifePhase = 'starting';

  async function end(reason: string, exitCode: number): Promise<void> {
    phase = 'ending';
    log.info({ reason }, 'shutting down');
    if (exitCode !== 0) tell(reason);
    const deadline = setTimeout(() => {
      log.error('shutdown deadline passed');
      process.exit(1);
    }, deadlineMs);
    deadline.unref();
    for (const { name, close } of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        log.warn({ err: error, closer: name }, 'closer failed');
      }
    }
    process.exit(exitCode);
  }

  const lifecycle: Lifecycle = {
    get phase() {
      return phase;
    },
    onShutdown: (name, close) => void closers.push({ name, close }),
    ready(facts) {
      if (phase === 'starting') phase = 'ready';
      log.info(facts, 'ready');
      if (env['MANYHANDS_READY_FD']) {
        try {
          writeSync(Number(env['MANYHANDS_READY_FD']), `${JSON.stringify({ ready: true, pid: process.pid, ...facts })}\n`);
        } catch (error) {
          log.warn({ err: error }, 'nobody waits for readiness');
        }
      }
    },
    shutdown(reason, exitCode = 0) {
      ending ??= end(reason, exitCode);
      return ending;
    },
  };
  process.once('SIGTERM', () => void lifecycle.shutdown('SIGTERM'));
  process.once('SIGINT', () => void lifecycle.shutdown('SIGINT'));
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught exception');
    void lifecycle.shutdown('uncaught exception', 1);
  });
  process.on('unhandledRejection', (reason) => {
    log.fatal({ err: reason }, 'unhandled rejection');
    void lifecycle.shutdown('unhandled rejection', 1);
  });
  if (env['MANYHANDS_WATCH_PARENT'] === '1') {
    process.stdin.on('end', () => void lifecycle.shutdown('parent ended'));
    process.stdin.on('error', () => void lifecycle.shutdown('parent ended'));
    process.stdin.resume();
  }
  return lifecycle;
}

/** The frame of every main.ts: a start that fails says why in one line and exits 1. */
export function runMain(start: () => Promise<void>): void {
  start().catch((error: unknown) => {
    tell(error instanceof Error ? error.message : String(error));
    process.exit(1);
  });
}

/** One line to whoever started the process, written before it ends. */
function tell(line: string): void {
  try {
    writeSync(STDERR, `${line}\n`);
  } catch {
    // Nobody reads any more.
  }
}
