/** Private Redis and NATS servers with fault handles: real servers, each with its own port and directory, gone at the end. */
import { readFileSync } from 'node:fs';
import { type ServerHandle, startNats, startRedis } from '@manyhands/infra';
import { temporaryDirectory } from './temporary-directory.ts';

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Of the server that runs now; another one after `restart`. */
  readonly pid: number;
  /** Its data directory, removed at the end. */
  readonly directory: string;
  /** Orderly end; data stays for `restart`. */
  stop(): Promise<void>;
  /** kill -9; data stays for `restart`. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  resume(): void;
  /** Starts it again on the same port and data; ends it in order first if it still runs. */
  restart(): Promise<void>;
  /** What the server wrote so far. */
  log(): string;
}

export interface TestRedisOptions {
  password?: string;
  /** `always`, as in production, unless a test is about the other one. */
  appendfsync?: 'always' | 'everysec';
  /** More lines of its configuration. */
  settings?: readonly string[];
}

export interface TestNatsOptions {
  user?: string;
  password?: string;
}

export async function startTestRedis(options: TestRedisOptions = {}): Promise<TestServer> {
  return startTestServer('redis', (dir, port) =>
    startRedis({ appendfsync: 'always', ...options, dir, log: announce, ...(port === undefined ? {} : { port }) }),
  );
}

export async function startTestNats(options: TestNatsOptions = {}): Promise<TestServer> {
  return startTestServer('nats', (dir, port) => startNats({ ...options, dir, log: announce, ...(port === undefined ? {} : { port }) }));
}

/** For servers that have replicas: neither a first copy nor an orderly end waits for anything. */
export const REPLICATION = ['repl-diskless-sync-delay 0', 'shutdown-timeout 0'];

/** Starts several; if one does not start, none stays. */
export async function startAll<T extends AsyncDisposable>(starts: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results = await Promise.allSettled(starts.map((start) => start()));
  const started = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed === undefined) return started;
  await endAll(started);
  throw failed.reason;
}

export async function endAll(servers: readonly AsyncDisposable[]): Promise<void> {
  await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
}

/** Only a first download says something; a silent minute would look like a hang. */
export function announce(line: string): void {
  process.stderr.write(`${line}\n`);
}

export async function startTestServer(name: string, start: (dir: string, port?: number) => Promise<ServerHandle>): Promise<TestServer> {
  const directory = await temporaryDirectory(name);
  let server: ServerHandle;
  try {
    server = await start(directory.path);
  } catch (error) {
    await directory.remove();
    throw error;
  }
  return {
    get url() {
      return server.url;
    },
    get port() {
      return server.port;
    },
    get pid() {
      return server.pid;
    },
    directory: directory.path,
    stop: () => server.stop(),
    kill: () => server.kill(),
    pause: () => server.pause(),
    resume: () => server.resume(),
    async restart() {
      await server.stop();
      server = await start(directory.path, server.port);
    },
    log: () => readFileSync(server.logFile, 'utf8'),
    async [Symbol.asyncDispose]() {
      // Nothing of it is needed any more, so it need not end in order.
      await server.kill();
      await directory.remove();
    },
  };
}
