/** The socket that outlives gateways. */
import http from 'node:http';
import { join } from 'node:path';
import { temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import type { LaunchedProcess } from '../src/up/processes/launched-process.ts';
import { serviceRecipe } from '../src/up/processes/service.ts';
import { bindListenSocket, type ListenSocket } from '../src/up/servers/listen-socket.ts';

const LISTENER = join(import.meta.dirname, 'fixtures', 'listener.js');

/** The pid of who answered; every request on a connection of its own. */
function ask(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve(Number(text)));
    });
    request.once('error', reject);
  });
}

async function listener(name: string, socket: ListenSocket, logs: string): Promise<LaunchedProcess> {
  const env = { PATH: process.env['PATH'] ?? '' };
  const launched = await serviceRecipe({ name, entry: LISTENER, env, logs, listenFd: socket.fd, tie: 'kernel' }).launch();
  await launched.ready;
  return launched;
}

test('two processes serve one socket, and killing one of them refuses nobody', async () => {
  await using directory = await temporaryDirectory('listen');
  const socket = await bindListenSocket('127.0.0.1', 0);
  const first = await listener('first', socket, directory.path);
  const second = await listener('second', socket, directory.path);
  try {
    const seen = new Set<number>();
    // Many at once, so that both get to accept.
    await until(
      async () => {
        for (const pid of await Promise.all(Array.from({ length: 30 }, () => ask(socket.url)))) seen.add(pid);
        return seen.size === 2;
      },
      { what: 'both processes answer' },
    );
    expect(seen).toEqual(new Set([first.pid, second.pid]));
    first.kill();
    await first.exited;
    const after = await Promise.all(Array.from({ length: 100 }, () => ask(socket.url)));
    expect(new Set(after)).toEqual(new Set([second.pid]));
  } finally {
    first.kill();
    second.kill();
    await Promise.all([first.exited, second.exited]);
    socket.close();
  }
});

test('while no process serves the socket, connections wait instead of being refused', async () => {
  await using directory = await temporaryDirectory('listen');
  const socket = await bindListenSocket('127.0.0.1', 0);
  const first = await listener('first', socket, directory.path);
  first.kill();
  await first.exited;
  const waiting = ask(socket.url);
  let settled = false;
  const outcome = waiting.finally(() => {
    settled = true;
  });
  expect(settled).toBe(false);
  const second = await listener('second', socket, directory.path);
  try {
    await expect(outcome).resolves.toBe(second.pid);
  } finally {
    second.kill();
    await second.exited;
    socket.close();
  }
});

test('a port in use is told with the port and what to do', async () => {
  const server = http.createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  await expect(bindListenSocket('127.0.0.1', port)).rejects.toThrow(`--port: port ${port} on 127.0.0.1 is in use by another program`);
  server.close();
});

test('an address that is not of this machine is told', async () => {
  await expect(bindListenSocket('192.0.2.1', 0)).rejects.toThrow('--host: 192.0.2.1 is not an address of this machine');
});

test('a socket on every address is reached through the loopback address', async () => {
  const socket = await bindListenSocket('0.0.0.0', 0);
  expect(socket.url).toBe(`http://127.0.0.1:${socket.port}`);
  socket.close();
});
