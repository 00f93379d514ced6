/**
 * The shells of a sandbox, one for each thread of the session. A thread's commands run one after the other, those of several threads side by
 * side; what one shell does is nothing to the others.
 *
 * At most `max` shells are there. When one more is wanted, the idle one that was used least recently is closed, and its thread's next command
 * has a new shell and says so. While all are busy, whoever wants one waits for the first that is not; a thread waits once, whatever it has to run.
 */
import type { ToolInput, ToolResult } from '@manyhands/contract';
import type { ShellOptions } from './bash-shell.ts';
import { type BashTool, createBashTool, type ShellPlace } from './bash-tool.ts';

export const SHELLS_MAX = 32;
/** Threads of which it is known that they once had a shell. */
const REMEMBERED_MAX = 1_000;

export interface ThreadShells {
  run(thread: string, input: ToolInput<'bash'>, signal: AbortSignal): Promise<ToolResult>;
  /** Kills all shells and all they started. */
  close(): void;
}

interface ThreadShell {
  tool: BashTool;
  /** Commands that run or wait; without any the shell is idle. */
  commands: number;
}

export function createThreadShells(optionsFor: (thread: string) => ShellOptions, max = SHELLS_MAX): ThreadShells {
  /** The least recently used first. */
  const threads = new Map<string, ThreadShell>();
  let free = max;
  /** Threads that want a shell while there is no place for one. */
  const waiting = new Set<() => void>();

  const place: ShellPlace = {
    take(signal) {
      if (signal.aborted) return Promise.resolve(false);
      if (free === 0) closeIdle();
      if (free > 0) {
        free--;
        return Promise.resolve(true);
      }
      return new Promise((resolve) => {
        const given = () => {
          signal.removeEventListener('abort', onAbort);
          resolve(true);
        };
        const onAbort = () => {
          waiting.delete(given);
          resolve(false);
        };
        signal.addEventListener('abort', onAbort, { once: true });
        waiting.add(given);
      });
    },
    give() {
      const [next] = waiting;
      if (!next) {
        free++;
        return;
      }
      waiting.delete(next);
      next();
    },
  };

  /** Closes the idle shell that was used least recently, if there is one. */
  function closeIdle(): void {
    const idle = [...threads.values()].find(({ tool, commands }) => commands === 0 && tool.hasShell);
    idle?.tool.retire();
  }
  function forgetSome(): void {
    for (const [thread, { tool, commands }] of threads) {
      if (threads.size <= REMEMBERED_MAX) return;
      if (commands === 0 && !tool.hasShell) threads.delete(thread);
    }
  }
  function used(thread: string, shell: ThreadShell): void {
    threads.delete(thread);
    threads.set(thread, shell);
  }

  return {
    async run(thread, input, signal) {
      const shell = threads.get(thread) ?? { tool: createBashTool(optionsFor(thread), place), commands: 0 };
      used(thread, shell);
      forgetSome();
      shell.commands++;
      try {
        return await shell.tool.run(input, signal);
      } finally {
        shell.commands--;
        used(thread, shell);
        if (shell.commands === 0 && waiting.size > 0) closeIdle();
      }
    },
    close() {
      for (const { tool } of threads.values()) tool.close();
    },
  };
}
