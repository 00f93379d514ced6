/**
 * The persistent channel to the daemon inside one sandbox (packages/sandbox-daemon). The pool sends requests, the daemon answers by request id.
 *
 * Everything that arrives is hostile: a frame above the limit, text that is no JSON, an answer that does not parse or that nobody asked for
 * ends the channel, and with it the sandbox. A closed channel is the first sign that a sandbox died, so it is never opened twice.
 *
 * The socket is in a directory the sandbox writes to. It is opened as a file without following links and must be a socket, and the connection
 * goes to that very file through /proc/self/fd: a sandbox cannot lead the pool elsewhere, and paths longer than 107 bytes work.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { AppError, ensureError } from '@manyhands/base';
import { HAND_MAX_FRAME_BYTES, HandReply, type HandRequest, SANDBOX_PATHS } from '@manyhands/contract';

const HEADER_BYTES = 4;
const CONNECT_DEADLINE_MS = 5_000;
/** Linux; not among Node's constants. The same on x86_64 and arm64. */
const O_PATH = 0o10000000;

type WithoutId<T> = T extends { id: number } ? Omit<T, 'id'> : never;
export type DaemonCommand = WithoutId<HandRequest>;
export type DaemonAnswer = Extract<HandReply, { ok: true }>;

export interface DaemonChannel {
  /**
   * Rejects with `wire`-free AppErrors: `unavailable` when the channel is or gets closed, `timeout` when the daemon did not answer in time,
   * `internal` when the daemon answered with an error, whose text is the message.
   */
  request(command: DaemonCommand, deadlineMs: number): Promise<DaemonAnswer>;
  /** Resolves once, with the reason, when the channel is closed by whomever. */
  readonly closed: Promise<string>;
  readonly isOpen: boolean;
  close(reason: string): void;
}

interface Pending {
  resolve: (answer: DaemonAnswer) => void;
  reject: (error: AppError) => void;
  timer: NodeJS.Timeout;
}

/** Connects to the daemon whose socket is in `runDirectory`. Throws `unavailable` if there is none, or something that is no socket. */
export async function connectDaemon(runDirectory: string): Promise<DaemonChannel> {
  let handle: FileHandle;
  try {
    handle = await open(path.join(runDirectory, path.basename(SANDBOX_PATHS.handSocket)), O_PATH | constants.O_NOFOLLOW);
  } catch (error) {
    throw new AppError('unavailable', 'the daemon has no socket', { cause: error });
  }
  try {
    if (!(await handle.stat()).isSocket()) throw new AppError('unavailable', 'the socket of the daemon is not a socket');
    return createDaemonChannel(await connectTo(`/proc/self/fd/${handle.fd}`));
  } finally {
    await handle.close();
  }
}

function connectTo(socketPath: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path: socketPath });
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), CONNECT_DEADLINE_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(new AppError('unavailable', 'the daemon does not take connections', { cause: error }));
    });
  });
}

/** Over a connection that is made already; whoever made it knows whom it leads to. */
export function createDaemonChannel(socket: Duplex): DaemonChannel {
  const pending = new Map<number, Pending>();
  let lastId = 0;
  let open = true;
  let tellClosed: (reason: string) => void = () => {};
  const closed = new Promise<string>((resolve) => {
    tellClosed = resolve;
  });

  function close(reason: string): void {
    if (!open) return;
    open = false;
    socket.destroy();
    for (const { reject, timer } of pending.values()) {
      clearTimeout(timer);
      reject(new AppError('unavailable', reason));
    }
    pending.clear();
    tellClosed(reason);
  }

  function receive(message: unknown): void {
    const reply = HandReply.safeParse(message);
    const waiting = reply.success ? pending.get(reply.data.id) : undefined;
    if (!reply.success || !waiting) {
      // An answer that came after its deadline is no offence.
      if (reply.success && reply.data.id > 0 && reply.data.id <= lastId) return;
      close('the daemon broke the protocol');
      return;
    }
    pending.delete(reply.data.id);
    clearTimeout(waiting.timer);
    if (reply.data.ok) waiting.resolve(reply.data);
    else waiting.reject(new AppError('internal', reply.data.error.slice(0, 2_000)));
  }

  const decode = createDecoder(receive);
  socket.on('data', (chunk: Buffer) => {
    try {
      if (open) decode(chunk);
    } catch (error) {
      close(`the daemon broke the protocol: ${ensureError(error).message}`);
    }
  });
  socket.on('error', (error) => close(`the connection to the daemon failed: ${error.message}`));
  socket.on('close', () => close('the daemon closed its connection'));

  return {
    closed,
    get isOpen() {
      return open;
    },
    close,
    request(command, deadlineMs) {
      return new Promise((resolve, reject) => {
        if (!open) return reject(new AppError('unavailable', 'the daemon is gone'));
        const id = ++lastId;
        const body = Buffer.from(JSON.stringify({ id, ...command }), 'utf8');
        if (body.length > HAND_MAX_FRAME_BYTES)
          return reject(new AppError('internal', `the request has ${body.length} bytes; a sandbox takes at most ${HAND_MAX_FRAME_BYTES}`));
        const timer = setTimeout(() => {
          pending.delete(id);
          reject(new AppError('timeout', `the daemon did not answer ${command.op} within ${deadlineMs} ms`));
        }, deadlineMs);
        pending.set(id, { resolve, reject, timer });
        const header = Buffer.allocUnsafe(HEADER_BYTES);
        header.writeUInt32BE(body.length, 0);
        socket.cork();
        socket.write(header);
        socket.write(body);
        socket.uncork();
      });
    },
  };
}

/** Cuts the byte stream into messages; throws on what is no frame. */
function createDecoder(onMessage: (message: unknown) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let held = 0;
  let needed = HEADER_BYTES;
  return (chunk) => {
    chunks.push(chunk);
    held += chunk.length;
    while (held >= needed) {
      // Joined only when something can be taken out: a large frame in small pieces is copied once.
      const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, held);
      chunks = [bytes];
      const length = bytes.readUInt32BE(0);
      if (length > HAND_MAX_FRAME_BYTES) throw new Error(`a frame of ${length} bytes`);
      needed = HEADER_BYTES + length;
      if (held < needed) return;
      onMessage(JSON.parse(bytes.toString('utf8', HEADER_BYTES, needed)));
      chunks = [bytes.subarray(needed)];
      held -= needed;
      needed = HEADER_BYTES;
    }
  };
}
