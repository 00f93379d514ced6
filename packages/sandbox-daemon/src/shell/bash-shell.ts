/**
 * One persistent /bin/bash. It reads commands from a pipe and has no terminal.
 *
 * - The command is given to `eval` as one quoted word: unbalanced quotes or a missing `done` are an error of that command, and the
 *   shell goes on.
 * - stdout and stderr of every command are one FIFO, a true pipe (a socket pair, which Node makes, cannot be opened as /dev/stdout).
 * - The end of a command is a line on descriptor 3, which no command inherits, with a random sentinel of that command: output can neither
 *   fake nor hide it, and a background child that keeps the output open does not delay it.
 * - When that line arrives, the FIFO is read empty at once, so that everything written before the end is in the result.
 * - What background jobs write between two commands is read and dropped.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Spills } from '../limits/spill.ts';
import { type CommandOutput, createCommandOutput, type OutputEnd } from './command-output.ts';
import { killFamily } from './process-tree.ts';

/** Reading the FIFO empty stops here, for the case that a background job fills it as fast as it is read; the largest pipe Linux allows. */
const DRAIN_MAX_BYTES = 1024 * 1024;

/** The highest. Anybody may raise it; what the daemon itself got from its pool is lower. */
const OOM_SCORE_ADJUSTMENT = 1000;

export interface ShellOptions {
  cwd: string;
  env: Record<string, string>;
  /** Where the FIFO is made, a directory that tools do not fill up; it is unlinked as soon as both ends are open. */
  fifoDirectory: string;
  /** For output above what is kept in memory. */
  spills: Spills;
}

/** How a command ended. `exited`: the shell itself ended, by `exit`, by `exec` or by a signal, and is of no more use. */
export type ShellEnd =
  | { kind: 'finished'; status: number }
  | { kind: 'exited'; status: number | null; signal: string | null }
  | { kind: 'timed out' }
  | { kind: 'interrupted' };

export interface ShellResult extends OutputEnd {
  end: ShellEnd;
}

export interface Shell {
  readonly alive: boolean;
  /** Runs one command; one at a time. A timeout or the signal kills the shell and all it started. */
  run(command: string, timeoutMs: number, signal: AbortSignal): Promise<ShellResult>;
  kill(): void;
}

function openFifo({ fifoDirectory, env }: ShellOptions): { readFd: number; writeFd: number } {
  const directory = mkdtempSync(join(fifoDirectory, '.hand-'));
  try {
    const path = join(directory, 'out');
    execFileSync('mkfifo', ['-m', '600', path], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    // The reader first and without blocking: a writer alone would wait for it.
    const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writeFd = openSync(path, constants.O_WRONLY);
    return { readFd, writeFd };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Any text as one word of bash. */
export function quoteForBash(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Starts a shell. Throws when bash or mkfifo is missing or no process can be made. */
export function startShell(options: ShellOptions): Promise<Shell> {
  const { readFd, writeFd } = openFifo(options);
  let child: ChildProcess;
  try {
    // Descriptor 4 is the output. bash's own stderr goes nowhere: only what a command writes is output.
    child = spawn('/bin/bash', ['--noprofile', '--norc'], {
      cwd: options.cwd,
      env: options.env,
      stdio: ['pipe', 'ignore', 'ignore', 'pipe', writeFd],
      detached: true,
    });
  } catch (error) {
    closeSync(readFd);
    throw error;
  } finally {
    closeSync(writeFd);
  }
  return new Promise((resolve, reject) => {
    child.once('error', (error) => {
      closeSync(readFd);
      reject(error);
    });
    child.once('spawn', () => resolve(wrapShell(child, readFd, options.spills)));
  });
}

interface Running {
  /** The sentinel that ends this command. */
  sentinel: string;
  output: CommandOutput;
  settle(end: ShellEnd): void;
}

function wrapShell(child: ChildProcess, readFd: number, spills: Spills): Shell {
  const commands = child.stdin as Writable;
  const control = child.stdio[3] as Readable;
  // The socket owns readFd from here on.
  const output = new Socket({ fd: readFd, readable: true, writable: false });
  let alive = true;
  let running: Running | null = null;
  let controlText = '';

  // When memory runs out, what a command started is killed before the daemon is. Children inherit it.
  commands.write(`builtin printf ${OOM_SCORE_ADJUSTMENT} >/proc/self/oom_score_adj\n`);

  function drain(): void {
    const chunk = Buffer.allocUnsafe(64 * 1024);
    for (let drained = 0; !output.destroyed && drained < DRAIN_MAX_BYTES; ) {
      let bytes: number;
      try {
        bytes = readSync(readFd, chunk, 0, chunk.length, null);
      } catch {
        // EAGAIN: empty, though somebody still holds it open.
        return;
      }
      if (bytes === 0) return;
      running?.output.push(Buffer.from(chunk.subarray(0, bytes)));
      drained += bytes;
    }
  }
  function settle(end: ShellEnd): void {
    if (!running) return;
    drain();
    const { settle: done } = running;
    done(end);
    running = null;
  }

  output.on('data', (chunk: Buffer) => running?.output.push(chunk));
  output.on('error', () => undefined);
  commands.on('error', () => undefined);
  control.on('error', () => undefined);
  control.setEncoding('utf8');
  control.on('data', (text: string) => {
    controlText = (controlText + text).slice(-4096);
    const lines = controlText.split('\n');
    controlText = lines.pop() ?? '';
    for (const line of lines) {
      const [sentinel, status] = line.split(' ');
      if (running && sentinel === running.sentinel) settle({ kind: 'finished', status: Number(status) });
    }
  });
  child.once('exit', (status, signal) => {
    alive = false;
    settle({ kind: 'exited', status, signal });
    // Background jobs may hold the other end for ever.
    output.destroy();
    control.destroy();
    commands.destroy();
  });

  function killAll(): void {
    if (alive && child.pid !== undefined) killFamily(child.pid);
  }

  return {
    get alive() {
      return alive;
    },
    kill: killAll,
    run(command, timeoutMs, signal) {
      return new Promise((resolve) => {
        const commandOutput = createCommandOutput(spills);
        const sentinel = randomBytes(16).toString('hex');
        const stop = (end: ShellEnd) => {
          settle(end);
          killAll();
          alive = false;
        };
        const timer = setTimeout(() => stop({ kind: 'timed out' }), timeoutMs);
        const onAbort = () => stop({ kind: 'interrupted' });
        signal.addEventListener('abort', onAbort, { once: true });
        running = {
          sentinel,
          output: commandOutput,
          settle(end) {
            clearTimeout(timer);
            signal.removeEventListener('abort', onAbort);
            resolve({ end, ...commandOutput.end() });
          },
        };
        if (signal.aborted) return onAbort();
        if (!alive) return settle({ kind: 'exited', status: null, signal: null });
        // `command printf` and `command eval` would not be found if redefined; builtin names the real ones.
        commands.write(
          `builtin eval ${quoteForBash(command)} </dev/null >&4 2>&4 3>&- 4>&-; builtin printf '%s %d\\n' ${sentinel} "$?" >&3 2>/dev/null\n`,
        );
      });
    },
  };
}
