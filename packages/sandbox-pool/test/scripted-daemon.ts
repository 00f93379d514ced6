/** A sandbox daemon that says what a test wants it to say, on a real socket. */
import { mkdir } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import type { HandRequest } from '@manyhands/contract';
import { temporaryDirectory } from '@manyhands/test-kit';
import { connectDaemon } from '../src/drivers/daemon-channel.ts';
import type { RunningSandbox } from '../src/drivers/driver.ts';
import { sandboxDirectory } from '../src/index.ts';

export function frame(message: unknown): Buffer {
  const body = typeof message === 'string' ? Buffer.from(message) : Buffer.from(JSON.stringify(message));
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

export interface ScriptedDaemon extends AsyncDisposable {
  sandbox: RunningSandbox;
  scratch: string;
  connections: () => number;
}

/** `answer` gets each request and a way to send frames or raw bytes. */
export async function scriptedDaemon(
  answer: (request: HandRequest, send: (message: unknown) => void, socket: net.Socket) => void,
): Promise<ScriptedDaemon> {
  const temporary = await temporaryDirectory('scripted-daemon');
  const directory = sandboxDirectory(temporary.path, 'sbx_scriptedhand');
  for (const name of [directory.run, directory.exchange, directory.driver]) await mkdir(name, { recursive: true });
  const sockets = new Set<net.Socket>();
  let connections = 0;
  const server = net.createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    let held = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
        const end = 4 + held.readUInt32BE(0);
        const request = JSON.parse(held.toString('utf8', 4, end)) as HandRequest;
        held = held.subarray(end);
        answer(request, (message) => socket.write(frame(message)), socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path.join(directory.run, 'hand.sock'), resolve));
  const channel = await connectDaemon(directory.run);
  return {
    sandbox: { directory, channel },
    scratch: temporary.path,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      channel.close('test over');
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await temporary.remove();
    },
  };
}
