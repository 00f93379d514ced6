/**
 * The socket of the sandbox daemon. Any number of pools may be connected (one that restarts connects anew while its old connection dies); an
 * answer goes to the connection that asked. A connection that breaks the protocol is closed, a request that is not usable is answered. When nobody was
 * connected for `orphanMs`, `onOrphaned` is called: no daemon outlives its pool.
 */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { type HandReply, HandRequest } from '@manyhands/contract';
import type { Archiver } from '../files/archive.ts';
import type { Calls } from './calls.ts';
import { createFrameDecoder, encodeFrame } from './frames.ts';

/** What is known of an answer before its request's id is put on it. */
type Answer = { ok: true } & Omit<Extract<HandReply, { ok: true }>, 'id' | 'ok'>;

export interface ServerOptions {
  socketPath: string;
  orphanMs: number;
  calls: Calls;
  archiver: Archiver;
  onOrphaned: () => void;
}

/** Listens; a socket file left by a daemon that died is removed. Rejects when the path cannot be listened on. */
export function startServer(options: ServerOptions): Promise<Server> {
  const { calls, archiver } = options;
  const connections = new Set<Socket>();
  let orphanTimer: NodeJS.Timeout | undefined;
  const watchForOrphan = () => {
    clearTimeout(orphanTimer);
    if (connections.size === 0) orphanTimer = setTimeout(options.onOrphaned, options.orphanMs);
  };

  async function answer(request: HandRequest): Promise<Answer> {
    switch (request.op) {
      case 'ping':
        return { ok: true };
      case 'start':
        return { ok: true, call: calls.start(request.key, request.tool, request.input, request.thread) };
      case 'wait':
        return { ok: true, call: await calls.wait(request.key, request.wait_ms) };
      case 'cancel':
        return { ok: true, call: await calls.cancel(request.key) };
      case 'ack':
        calls.acknowledge(request.keys);
        return { ok: true };
      case 'snapshot':
        return { ok: true, bytes: await archiver.snapshot(request.name, request.exclude) };
      case 'restore':
        await archiver.restore(request.name);
        return { ok: true };
    }
  }

  function serve(socket: Socket): void {
    connections.add(socket);
    watchForOrphan();
    socket.setNoDelay(true);
    const send = (reply: HandReply) => {
      if (socket.writable) socket.write(encodeFrame(reply));
    };
    const decode = createFrameDecoder((message) => {
      const parsed = HandRequest.safeParse(message);
      if (!parsed.success) {
        const id = (message as { id?: unknown } | null)?.id;
        if (!Number.isSafeInteger(id)) throw new Error('a request without an id');
        const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
        return send({ id: id as number, ok: false, error: `the request is not usable: ${problems.join('; ')}` });
      }
      const { id } = parsed.data;
      answer(parsed.data)
        .catch((error: unknown) => ({ ok: false as const, error: error instanceof Error ? error.message : String(error) }))
        .then((reply) => send({ id, ...reply }))
        .catch(() => socket.destroy());
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        decode(chunk);
      } catch {
        socket.destroy();
      }
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      connections.delete(socket);
      watchForOrphan();
    });
  }

  return new Promise((resolve, reject) => {
    const server = createServer(serve);
    rmSync(options.socketPath, { force: true });
    server.once('error', reject);
    server.listen(options.socketPath, () => {
      server.off('error', reject);
      watchForOrphan();
      resolve(server);
    });
  });
}
