/** A whole instance as a user starts it: `manyhands up` on a private data directory, with handles to end each of its processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { processTable, temporaryDirectory, until } from '@manyhands/test-kit';

export const ROOT = path.resolve(import.meta.dirname, '..', '..');
const READY_MS = 170_000;
const STOP_MS = 60_000;

export interface ReadyFile {
  url: string;
  api_key: string;
  console_url: string | null;
  processes: { name: string; pid: number }[];
}

export interface Instance extends AsyncDisposable {
  readonly client: Anthropic;
  readonly url: string;
  readonly apiKey: string;
  readonly data: string;
  readonly up: { pid: number };
  /** The ready file as it is now. */
  ready(): ReadyFile;
  pid(name: string): number;
  /** kill -9 of one process of the instance; resolves when it is gone. */
  kill(name: string): Promise<number>;
  /** Waits until a process runs under another pid than `before`. */
  restarted(name: string, before: number): Promise<void>;
  /** The id of the worker that runs a turn of the session, and its pid, as Bull Board shows it. */
  workerOf(sessionId: string): Promise<{ pid: number }>;
  output(): string;
  /** SIGTERM to `up`; resolves with its exit code. */
  stop(): Promise<number | null>;
  /** kill -9 of `up` itself. */
  killUp(): Promise<void>;
}

export interface InstanceOptions {
  workers?: number;
  gateways?: number;
  env?: Record<string, string>;
  /** Docker: the engine of this machine, or one that `up` brings. */
  sandbox?: 'bubblewrap' | 'docker';
  /** More options of `up`. */
  args?: string[];
  /** A data directory to go on with; the instance does not remove it. */
  data?: string;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return processTable().some((entry) => entry.pid === pid);
  } catch {
    return false;
  }
}

export async function startInstance(options: InstanceOptions = {}): Promise<Instance> {
  const directory = options.data === undefined ? await temporaryDirectory('instance') : null;
  const data = options.data ?? path.join(directory!.path, 'data');
  const readyFile = path.join(path.dirname(data), `ready-${process.hrtime.bigint()}.json`);
  const { ANTHROPIC_API_KEY: _key, MANYHANDS_MODEL_API_KEY: _modelKey, MANYHANDS_API_KEY: _apiKey, ...env } = process.env;
  const child = spawn(
    process.execPath,
    [
      path.join(ROOT, 'packages/cli/dist/main.js'),
      'up',
      ...['--port', '0', '--data', data, '--ready-file', readyFile],
      ...['--workers', String(options.workers ?? 2), '--gateways', String(options.gateways ?? 1)],
      ...['--sandbox', options.sandbox ?? 'bubblewrap'],
      ...(options.args ?? []),
    ],
    {
      cwd: ROOT,
      env: { ...env, MANYHANDS_MODEL_RETRY_BASE_MS: '100', MANYHANDS_MODEL_RETRY_CAP_MS: '500', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  let ended = false;
  void exited.then(() => {
    ended = true;
  });
  await until(() => ended || existsSync(readyFile), { timeoutMs: READY_MS, what: 'the ready file' });
  if (ended) throw new Error(`up ended before it was ready:\n${output}`);

  const ready = () => JSON.parse(readFileSync(readyFile, 'utf8')) as ReadyFile;
  const { url, api_key: apiKey } = ready();
  const pid = (name: string) => {
    const found = ready().processes.find((entry) => entry.name === name);
    if (!found) throw new Error(`no process ${name} in the ready file`);
    return found.pid;
  };

  const instance: Instance = {
    client: new Anthropic({ baseURL: url, apiKey, maxRetries: 5 }),
    url,
    apiKey,
    data,
    up: { pid: child.pid! },
    ready,
    pid,
    async kill(name) {
      const victim = pid(name);
      process.kill(victim, 'SIGKILL');
      await until(() => !isAlive(victim), { timeoutMs: 10_000, what: `${name} to be gone` });
      return victim;
    },
    async restarted(name, before) {
      await until(() => pid(name) !== before && isAlive(pid(name)), { timeoutMs: 30_000, what: `${name} to be restarted` });
    },
    async workerOf(sessionId) {
      let worker = '';
      await until(
        async () => {
          const response = await fetch(`${url}/admin/queues/api/queues?activeQueue=turns&status=active&page=1&jobsPerPage=1000`, {
            headers: { authorization: `Bearer ${apiKey}` },
          });
          const body = (await response.json()) as {
            queues: { name: string; jobs: { data: { session_id: string }; progress: { worker?: string } | number }[] }[];
          };
          const job = body.queues.find((queue) => queue.name === 'turns')?.jobs.find((one) => one.data.session_id === sessionId);
          worker = typeof job?.progress === 'object' ? (job.progress.worker ?? '') : '';
          return worker !== '';
        },
        { timeoutMs: 20_000, what: 'the board to show the worker' },
      );
      return { pid: Number(worker.split('-').at(-2)) };
    },
    output: () => output,
    async stop() {
      if (ended) return exited;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      const code = await exited;
      clearTimeout(timer);
      return code;
    },
    async killUp() {
      child.kill('SIGKILL');
      await exited;
    },
    async [Symbol.asyncDispose]() {
      await instance.stop();
      await directory?.[Symbol.asyncDispose]();
    },
  };
  return instance;
}
