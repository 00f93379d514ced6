/**
 * The `grep` tool: ripgrep where it is installed, otherwise a walk of our own on a worker thread (a regex that takes for ever can then be
 * ended). Both end after GREP_TIMEOUT_MS and keep GREP_OUTPUT_MAX_BYTES; more than that is not read.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, realpath, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { ToolInput, ToolResult } from '@manyhands/contract';
import { type Confinement, fileFailure } from '../files/confine.ts';
import { createSemaphore } from '../limits/semaphore.ts';
import { cleanContents } from './clean-text.ts';
import type { GrepJob, GrepReport } from './grep-worker.ts';
import { quoted, success, ToolFailure } from './tool-result.ts';

const GREP_OUTPUT_MAX_BYTES = 100 * 1024;
const GREP_TIMEOUT_MS = 60_000;
const STDERR_MAX_CHARS = 2_000;

/** Each search without ripgrep has a thread of this process; more of them wait for their turn. */
const GREP_MAX_THREADS = 4;

/** The matches as text, and why there may be more of them. */
interface Found {
  text: string;
  cut: 'none' | 'size' | 'time';
}

export async function runGrep(
  confinement: Confinement,
  env: Record<string, string>,
  input: ToolInput<'grep'>,
  signal: AbortSignal,
  thread: string,
): Promise<ToolResult> {
  const shown = input.path || confinement.workspace;
  const root = await confinement.resolve('grep', shown);
  const found = await stat(root).catch((error: unknown) => {
    throw fileFailure('grep', shown, error);
  });
  // A search in a FIFO or a device would wait for ever.
  if (!found.isFile() && !found.isDirectory())
    throw new ToolFailure(`grep: path ${quoted(shown)} is neither a regular file nor a directory`);
  if (input.pattern.includes('\0')) throw new ToolFailure('grep: pattern holds a NUL character');
  const ripgrep = await findProgram('rg', env['PATH'] ?? '', confinement);
  const matches =
    ripgrep === null
      ? await searches.run(thread, () => searchInWorker(input.pattern, root, signal))
      : await searchWithRipgrep(ripgrep, env, input.pattern, root, signal);
  const text = cleanContents(matches.text).replace(/\n+$/, '');
  if (matches.cut === 'time') {
    if (text === '') throw new ToolFailure(`grep: timed out after ${GREP_TIMEOUT_MS / 1000}s; give a path or a simpler pattern`);
    return success(`${text}\n[the search was cut short after ${GREP_TIMEOUT_MS} ms]`);
  }
  if (matches.cut === 'size') return success(`${text}\n[output truncated at ${GREP_OUTPUT_MAX_BYTES} bytes]`);
  return success(text === '' ? 'no matches' : text);
}

/** The first such program on the search path that is not a file of the session's own making. */
async function findProgram(name: string, searchPath: string, confinement: Confinement): Promise<string | null> {
  for (const directory of searchPath.split(delimiter).filter((entry) => isAbsolute(entry))) {
    try {
      const path = await realpath(join(directory, name));
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile() && !(await confinement.isReachable(path))) return path;
    } catch {
      // Not here.
    }
  }
  return null;
}

const searches = createSemaphore(GREP_MAX_THREADS);

function searchWithRipgrep(
  program: string,
  env: Record<string, string>,
  pattern: string,
  root: string,
  signal: AbortSignal,
): Promise<Found> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['--no-config', '--color=never', '-n', '-H', '--no-heading', '-e', pattern, '--', root], {
      // A link called rg may lead to a program that goes by the name it was started under.
      argv0: 'rg',
      env,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    let stderr = '';
    let cut: Found['cut'] = 'none';
    const end = (why: Found['cut']) => {
      cut = why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => end('time'), GREP_TIMEOUT_MS);
    const onAbort = () => child.kill('SIGKILL');
    signal.addEventListener('abort', onAbort, { once: true });
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    child.stdout.on('data', (chunk: Buffer) => {
      if (bytes >= GREP_OUTPUT_MAX_BYTES) return;
      const piece = chunk.subarray(0, GREP_OUTPUT_MAX_BYTES - bytes);
      chunks.push(piece);
      bytes += piece.length;
      if (piece.length < chunk.length) end('size');
    });
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => {
      if (stderr.length < STDERR_MAX_CHARS) stderr = (stderr + text).slice(0, STDERR_MAX_CHARS);
    });
    child.once('error', (error) => {
      over();
      reject(new ToolFailure(`grep: rg failed: ${error.message}`));
    });
    child.once('close', (status) => {
      over();
      if (signal.aborted) return reject(new ToolFailure('grep: interrupted'));
      // Status 2 with matches: some file could not be read, which does not make the others wrong.
      if (cut !== 'none' || status === 0 || status === 1 || bytes > 0)
        return resolve({ text: Buffer.concat(chunks).toString('utf8'), cut });
      reject(new ToolFailure(`grep: rg failed: ${cleanContents(stderr).trim() || `exit ${status}`}`));
    });
  });
}

/** The worker is this very program, told by its `workerData` to search (see main.ts). */
function searchInWorker(pattern: string, root: string, signal: AbortSignal): Promise<Found> {
  try {
    new RegExp(pattern);
  } catch (error) {
    return Promise.reject(new ToolFailure(`grep: invalid regex: ${(error as Error).message}`));
  }
  // It may have waited for its turn.
  if (signal.aborted) return Promise.reject(new ToolFailure('grep: interrupted'));
  return new Promise((resolve, reject) => {
    const job: GrepJob = { role: 'grep', pattern, root, maxBytes: GREP_OUTPUT_MAX_BYTES };
    const worker = new Worker(fileURLToPath(import.meta.url), {
      workerData: job,
      env: {},
      // The default stack is smaller than the main thread's, and compiling a deeply nested regex needs it.
      resourceLimits: { stackSizeMb: 8, maxOldGenerationSizeMb: 64 },
    });
    let text = '';
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      void worker.terminate();
      settle();
    };
    const timer = setTimeout(() => finish(() => resolve({ text, cut: 'time' })), GREP_TIMEOUT_MS);
    const onAbort = () => finish(() => reject(new ToolFailure('grep: interrupted')));
    signal.addEventListener('abort', onAbort, { once: true });
    worker.on('message', (report: GrepReport) => {
      text += report.text;
      if (report.end !== null) finish(() => resolve({ text, cut: report.end === 'size' ? 'size' : 'none' }));
    });
    worker.once('error', (error) => finish(() => reject(new ToolFailure(`grep: the search failed: ${error.message}`))));
    worker.once('exit', (code) => finish(() => reject(new ToolFailure(`grep: the search ended with code ${code}`))));
  });
}
