/** The built daemon as a child process in a temporary root, and a client that speaks the protocol as a pool does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CallState, HandReply, type HandRequest, type ToolResult, toolText } from '@manyhands/contract';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { createFrameDecoder, encodeFrame } from '../src/server/frames.ts';
import { type DaemonPaths, pathsUnder } from '../src/settings.ts';

const PROGRAM = fileURLToPath(new URL('../dist/hand.mjs', import.meta.url));

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type DaemonQuestion = DistributiveOmit<HandRequest, 'id'>;

export interface DaemonClient {
  socket: Socket;
  ask(question: DaemonQuestion): Promise<HandReply>;
  /** Starts a call and waits for its end. */
  call(tool: string, input: Record<string, unknown>, key?: string, thread?: string): Promise<ToolResult>;
  /** The text of a call that must succeed. */
  text(tool: string, input: Record<string, unknown>): Promise<string>;
  /** The text of a call that must be an error. */
  error(tool: string, input: Record<string, unknown>): Promise<string>;
  close(): void;
}

export interface DaemonProcess extends AsyncDisposable {
  root: string;
  paths: DaemonPaths;
  child: ChildProcess;
  proxyPort: number;
  client: DaemonClient;
  connect(): Promise<DaemonClient>;
  /** Milliseconds from the start to the first answer. */
  startMs: number;
  exited: Promise<number | null>;
}

let lastKey = 0;

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function startDaemon(env: Record<string, string> = {}): Promise<DaemonProcess> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: build the daemon first (npm run build)`);
  const directory = await temporaryDirectory('daemon');
  const root = directory.path;
  const paths = pathsUnder(root);
  for (const path of [
    paths.workspace,
    paths.outputs,
    paths.uploads,
    paths.tmp,
    paths.exchange,
    dirname(paths.handSocket),
    dirname(paths.egressSocket),
  ])
    await mkdir(path, { recursive: true });
  const proxyPort = await freePort();
  const startedAt = performance.now();
  const child = spawn(process.execPath, [PROGRAM], {
    env: { PATH: process.env['PATH'] ?? '', MANYHANDS_HAND_ROOT: root, MANYHANDS_HAND_PROXY_PORT: String(proxyPort), ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', (status) => resolve(status)));
  const connectNow = () => connectClient(paths.handSocket);
  const client = await until<DaemonClient | 'ended'>(async () => (child.exitCode === null ? await connectNow() : 'ended'), {
    what: 'the daemon listens',
    intervalMs: 5,
  });
  if (client === 'ended') {
    await directory.remove();
    throw new Error(`the daemon ended: ${stderr}`);
  }
  await client.ask({ op: 'ping' });
  return {
    root,
    paths,
    child,
    proxyPort,
    client,
    connect: connectNow,
    startMs: performance.now() - startedAt,
    exited,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exited;
      await directory.remove();
    },
  };
}

async function connectClient(path: string): Promise<DaemonClient> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => undefined);
  const waiting = new Map<number, { resolve: (reply: HandReply) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  socket.on(
    'data',
    createFrameDecoder((message) => {
      const reply = HandReply.parse(message);
      waiting.get(reply.id)?.resolve(reply);
      waiting.delete(reply.id);
    }),
  );
  socket.on('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the daemon closed the connection'));
    waiting.clear();
  });
  const ask = (question: DaemonQuestion) =>
    new Promise<HandReply>((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      socket.write(encodeFrame({ id, ...question }));
    });
  const call = async (tool: string, input: Record<string, unknown>, key = `key-${++lastKey}`, thread?: string) => {
    callOf(await ask({ op: 'start', key, tool, input, ...(thread === undefined ? {} : { thread }) }));
    const state = callOf(await ask({ op: 'wait', key, wait_ms: 25_000 }));
    if (state.state !== 'done') throw new Error(`the call is ${state.state}`);
    return state.outcome;
  };
  const told = async (tool: string, input: Record<string, unknown>, isError: boolean) => {
    const outcome = await call(tool, input);
    const text = toolText(outcome.content);
    if (outcome.is_error !== isError) throw new Error(`${tool} was ${isError ? 'not ' : ''}an error: ${text.slice(0, 500)}`);
    return text;
  };
  return {
    socket,
    ask,
    call,
    text: (tool, input) => told(tool, input, false),
    error: (tool, input) => told(tool, input, true),
    close: () => socket.destroy(),
  };
}

/** The call state in a reply; throws the error of a refusal. */
export function callOf(reply: HandReply): CallState {
  if (!reply.ok) throw new Error(reply.error);
  if (!reply.call) throw new Error('the reply has no call');
  return reply.call;
}

/** Whether a process runs. A zombie that nobody has collected yet does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
