/**
 * A process of ours, started as `up` starts it: readiness on file descriptor 3, a held stdin that tells it when its parent is gone, an
 * environment with nothing in it but what it needs. It dies with the test process.
 */
import { once } from 'node:events';
import { spawnTied } from '@manyhands/infra';

/** What a Node process needs from its surroundings; everything else is passed by name. */
const INHERITED = [
  'PATH',
  'HOME',
  'TMPDIR',
  'LANG',
  'XDG_CACHE_HOME',
  'XDG_RUNTIME_DIR',
  'LD_LIBRARY_PATH',
  'NODE_EXTRA_CA_CERTS',
  'MANYHANDS_TEST_RUN',
];
const READY_MS = 30_000;
const DISPOSE_MS = 10_000;
/** Of the output the end is kept. */
const OUTPUT_CHARACTERS = 2_000_000;

export interface ServiceOptions {
  name: string;
  /** Absolute path of the script, such as a package's dist/main.js. */
  entry: string;
  env?: Record<string, string>;
  args?: readonly string[];
  cwd?: string;
  readyTimeoutMs?: number;
  /** Options of node itself. */
  nodeArgs?: readonly string[];
  /** A command that becomes the process, such as `nsenter --net=<file>`. */
  prefix?: readonly string[];
}

export interface ServiceExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Service extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** The facts it gave when it became ready. */
  readonly ready: Record<string, unknown>;
  readonly exited: Promise<ServiceExit>;
  /** stdout and stderr so far. */
  output(): string;
  /** Sends the signal (SIGKILL if not given) and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<ServiceExit>;
  pause(): void;
  resume(): void;
  /** Closes its stdin: to the process, its parent is gone. */
  orphan(): void;
}

/** Starts the process and waits until it is ready. An early end or a time-out is an error with the end of its output. */
export async function spawnService(options: ServiceOptions): Promise<Service> {
  const { name, entry, env = {}, args = [], nodeArgs = [], prefix = [], readyTimeoutMs = READY_MS } = options;
  const inherited = Object.fromEntries(INHERITED.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]])));
  const [command = '', ...rest] = [...prefix, process.execPath, ...nodeArgs, entry, ...args];
  const child = spawnTied(command, rest, {
    env: { ...inherited, MANYHANDS_WATCH_PARENT: '1', MANYHANDS_READY_FD: '3', ...env },
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_CHARACTERS);
    });
  }
  child.stdin?.on('error', () => {});
  let running = true;
  const exited = new Promise<ServiceExit>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
    child.once('exit', () => {
      running = false;
    });
    child.once('error', (error) => {
      running = false;
      output += error.message;
      resolve({ code: null, signal: null });
    });
  });
  function signal(which: NodeJS.Signals): void {
    if (running) child.kill(which);
  }

  const ready = await Promise.race([
    readyLine(child.stdio[3] as NodeJS.ReadableStream),
    exited.then(({ code, signal: by }) => `ended with code ${code}, signal ${by}`),
    timeout(readyTimeoutMs),
  ]);
  if (typeof ready === 'string') {
    signal('SIGKILL');
    await exited;
    throw new Error(`${name} did not become ready: ${ready}. Its output ended:\n${output.slice(-4000)}`);
  }
  return {
    name,
    pid: child.pid ?? 0,
    ready,
    exited,
    output: () => output,
    kill(which = 'SIGKILL') {
      signal(which);
      return exited;
    },
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    orphan: () => void child.stdin?.end(),
    async [Symbol.asyncDispose]() {
      signal('SIGTERM');
      signal('SIGCONT');
      const timer = setTimeout(() => signal('SIGKILL'), DISPOSE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

async function readyLine(stream: NodeJS.ReadableStream): Promise<Record<string, unknown>> {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (part: string) => {
    text += part;
  });
  while (!text.includes('\n')) await once(stream, 'data');
  return JSON.parse(text.slice(0, text.indexOf('\n'))) as Record<string, unknown>;
}

function timeout(ms: number): Promise<string> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(`nothing within ${ms} ms`), ms).unref();
  });
}
