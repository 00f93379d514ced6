/**
 * A service of ours as a child process. Readiness is a JSON line on descriptor 3; stdin is a pipe held open, whose end tells the child that
 * `up` is gone. Each has a process group of its own, so that Ctrl-C at the terminal reaches `up` alone and the end stays in order.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { spawnTied } from '@manyhands/infra';
import type { Exit, LaunchedProcess, Recipe } from './launched-process.ts';
import { openLog, rotateLog, startupErrorOf, stderrTail } from './log-file.ts';

export interface ServiceOptions {
  name: string;
  /** Path of the script. */
  entry: string;
  env: Readonly<Record<string, string>>;
  /** Directory of logs. */
  logs: string;
  /** Inherited as descriptor 4. */
  listenFd?: number;
  /**
   * `kernel`: it is killed when `up` is. `pipe`: it only sees its stdin end, and may take its time for an orderly end (the sandbox pool,
   * whose sandboxes must go with it).
   */
  tie: 'kernel' | 'pipe';
}

export function serviceRecipe(options: ServiceOptions): Recipe {
  const logFile = join(options.logs, `${options.name}.log`);
  rotateLog(logFile);
  return { name: options.name, endsOthers: options.tie === 'pipe', launch: async () => launch(options, logFile) };
}

function launch({ name, entry, env, listenFd, tie }: ServiceOptions, logFile: string): LaunchedProcess {
  const log = openLog(logFile);
  const stdio: StdioOptions = ['pipe', log.fd, log.fd, 'pipe', ...(listenFd === undefined ? [] : [listenFd])];
  const start = tie === 'kernel' ? spawnTied : spawn;
  const child = start(process.execPath, [entry], { env: { ...env }, stdio, detached: true });
  log.close();
  child.stdin?.on('error', () => {}); // The child has ended; `exited` resolves.
  const exited = exitOf(child);
  if (child.pid === undefined) throw new Error(`${name}: ${process.execPath} cannot be started`);
  let running = true;
  void exited.then(() => {
    running = false;
  });
  const signal = (which: NodeJS.Signals) => {
    if (running) child.kill(which);
  };
  return {
    pid: child.pid,
    ready: readyLine(child.stdio[3] as Readable),
    exited,
    stop() {
      signal('SIGTERM');
      signal('SIGCONT');
    },
    kill: () => signal('SIGKILL'),
    startupError: () => startupErrorOf(log.lines()),
    stderrTail: () => stderrTail(log.lines()),
  };
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
}

function readyLine(stream: Readable): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    let text = '';
    stream.setEncoding('utf8');
    stream.on('error', () => {});
    stream.on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\n');
      if (end === -1) return;
      try {
        resolve(JSON.parse(text.slice(0, end)) as Record<string, unknown>);
      } catch {
        // Not a ready line; the next one may be.
        text = text.slice(end + 1);
      }
    });
  });
}
