/**
 * The `bash` tool of one thread: a shell that lives from call to call, one command at a time. A shell that was killed, or that ended by itself,
 * is replaced at the next call; the result that ended it says so, or else the first one of the new shell.
 */
import type { ToolInput, ToolResult } from '@manyhands/contract';
import type { Spills } from '../limits/spill.ts';
import { cleanOutput, decodeTail } from '../tools/clean-text.ts';
import { failure, INLINE_TEXT_MAX_CHARS, INTERRUPTED, success, ToolFailure } from '../tools/tool-result.ts';
import { type Shell, type ShellEnd, type ShellOptions, type ShellResult, startShell } from './bash-shell.ts';

export const BASH_DEFAULT_TIMEOUT_MS = 120_000;
const TRUNCATED = '[output truncated]';
/** Room for what is said around the output. */
const NOTES_MAX_CHARS = 1_000;
const NEW_SHELL = '[the shell had ended since the last call; this is a new one]\n';
const NEXT_SHELL = 'the next call starts a new shell, without the directory, variables and jobs of this one';

/** The right to have a shell. */
export interface ShellPlace {
  /** Resolves when a shell may be started; false if the signal fired first. */
  take(signal: AbortSignal): Promise<boolean>;
  /** The shell is gone, or none could be started. */
  give(): void;
}

export interface BashTool {
  run(input: ToolInput<'bash'>, signal: AbortSignal): Promise<ToolResult>;
  /** A shell that ended by itself counts until somebody looks. */
  readonly hasShell: boolean;
  /** Ends the shell while nothing runs or waits; the next result says so. */
  retire(): void;
  /** Kills the shell and all it started. */
  close(): void;
}

export function createBashTool(options: ShellOptions, place: ShellPlace): BashTool {
  let shell: Shell | null = null;
  /** The last shell ended, and no result has said so yet. */
  let endedUntold = false;
  let tail: Promise<unknown> = Promise.resolve();

  async function start(): Promise<Shell> {
    try {
      return await startShell(options);
    } catch (error) {
      place.give();
      throw new ToolFailure(`bash: no shell could be started: ${(error as Error).message}`);
    }
  }
  function end(): void {
    if (!shell) return;
    shell.kill();
    shell = null;
    place.give();
  }
  function retire(): void {
    if (shell) endedUntold = true;
    end();
  }

  async function runNow(input: ToolInput<'bash'>, signal: AbortSignal): Promise<ToolResult> {
    if (signal.aborted) return failure(INTERRUPTED);
    if (input.restart) {
      end();
      endedUntold = false;
    }
    if (!input.command) return success('bash session restarted');
    if (input.command.includes('\0')) throw new ToolFailure('bash: command holds a NUL character, which no shell can take');
    if (shell && !shell.alive) retire();
    if (!shell && !(await place.take(signal))) return failure(INTERRUPTED);
    shell ??= await start();
    const note = endedUntold ? NEW_SHELL : '';
    endedUntold = false;
    const timeoutMs = input.timeout_ms ?? BASH_DEFAULT_TIMEOUT_MS;
    const result = await shell.run(input.command, timeoutMs, signal);
    if (result.end.kind !== 'finished') end();
    return describeResult(result, timeoutMs, note, options.spills);
  }

  return {
    run(input, signal) {
      const turn = tail.then(() => runNow(input, signal));
      tail = turn.catch(() => undefined);
      return turn;
    },
    get hasShell() {
      return shell !== null;
    },
    retire,
    close: end,
  };
}

/**
 * The result of a command: its output, and what the model has to know about the shell. More than an answer holds is cut at its start, since
 * what matters about a command mostly stands at its end.
 */
function describeResult(result: ShellResult, timeoutMs: number, note: string, spills: Spills): ToolResult {
  const text = cleanOutput(result.truncated ? decodeTail(result.bytes) : result.bytes.toString('utf8')).replace(/\n+$/, '');
  const ending = describeEnd(result.end, timeoutMs);
  const parts = ending === null ? [] : [ending];
  const room = INLINE_TEXT_MAX_CHARS - NOTES_MAX_CHARS;
  if (result.truncated || text.length > room) {
    const where = result.where ?? spills.keep(text);
    // Not through the middle of a surrogate pair.
    parts.unshift(TRUNCATED, `[${where}; its end:]`, `${note}${text.slice(-room).replace(/^[\udc00-\udfff]/, '')}`);
  } else if (note + text !== '') parts.unshift(note + text);
  const failed = result.end.kind === 'timed out' || result.end.kind === 'interrupted' || result.end.status !== 0;
  if (parts.length > 0) return failed ? failure(parts.join('\n')) : success(parts.join('\n'));
  return failed ? failure(`exit ${(result.end as { status: number }).status}`) : success('(no output)');
}

/** What is said after the output; null for a command that just finished. */
function describeEnd(end: ShellEnd, timeoutMs: number): string | null {
  switch (end.kind) {
    case 'finished':
      return null;
    case 'exited':
      if (end.signal !== null) return `[the shell was killed by ${end.signal}; ${NEXT_SHELL}]`;
      return `[the shell ended: exit ${end.status ?? 'unknown'}; ${NEXT_SHELL}]`;
    case 'timed out':
      return `bash: the command timed out after ${timeoutMs} ms and was killed with all it started; ${NEXT_SHELL}`;
    case 'interrupted':
      return INTERRUPTED;
  }
}
