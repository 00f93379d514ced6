import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { processTable, temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { ask } from '../src/servers/ask.js';
import { freePort } from '../src/servers/free-port.js';
import { startNats } from '../src/servers/nats.js';
import { startRedis } from '../src/servers/redis.js';

/** Sends one command to Redis and answers whether the reply matches. */
function redisSays(port: number, command: string, reply: RegExp): Promise<boolean> {
  let sent = false;
  return ask(port, (received) => {
    if (sent) return reply.test(received);
    sent = true;
    return command;
  });
}

test('Redis refuses callers without its password, and the password is in no command line', async () => {
  await using directory = await temporaryDirectory('redis');
  const server = await startRedis({ dir: directory.path, password: 'top-secret-1', appendfsync: 'always' });
  try {
    expect(await redisSays(server.port, 'PING\r\n', /^-NOAUTH/)).toBe(true);
    expect(await redisSays(server.port, 'AUTH top-secret-1\r\nPING\r\n', /\+PONG/)).toBe(true);
    expect(processTable().filter(({ command }) => command.includes('top-secret-1'))).toEqual([]);
    expect(await redisSays(server.port, 'AUTH top-secret-1\r\nCONFIG GET stream-node-max-bytes\r\n', /65536/)).toBe(true);
    expect(await redisSays(server.port, 'AUTH top-secret-1\r\nCONFIG GET appendfsync\r\n', /always/)).toBe(true);
  } finally {
    await server.kill();
  }
});

test('NATS refuses callers without its user and password', async () => {
  await using directory = await temporaryDirectory('nats');
  const server = await startNats({ dir: directory.path, user: 'up', password: 'top-secret-2' });
  try {
    const greet = (options: object) => {
      let sent = false;
      return ask(server.port, (received) => {
        if (sent) return received.includes('PONG');
        if (!received.startsWith('INFO')) return false;
        sent = true;
        return `CONNECT ${JSON.stringify({ verbose: false, ...options })}\r\nPING\r\n`;
      });
    };
    expect(await greet({})).toBe(false);
    expect(await greet({ user: 'up', pass: 'top-secret-2' })).toBe(true);
    expect(server.url).toBe(`nats://up:top-secret-2@127.0.0.1:${server.port}`);
    expect(processTable().filter(({ command }) => command.includes('top-secret-2'))).toEqual([]);
  } finally {
    await server.stop();
  }
});

test('a port that another program holds is refused by number', { timeout: 30_000 }, async () => {
  await using directory = await temporaryDirectory('busy');
  const port = await freePort();
  const other = createServer().listen(port, '127.0.0.1');
  await once(other, 'listening');
  try {
    await expect(startNats({ dir: directory.path, port })).rejects.toThrow(`port ${port} on 127.0.0.1 is in use`);
  } finally {
    other.close();
  }
});

test('a server that does not come up says why', async () => {
  await using directory = await temporaryDirectory('broken');
  mkdirSync(`${directory.path}/appendonlydir`);
  writeFileSync(`${directory.path}/appendonlydir/appendonly.aof.manifest`, 'nonsense\n');
  const failure = await startRedis({ dir: directory.path, appendfsync: 'always' }).catch((error: unknown) => error);
  expect((failure as Error).message).toContain('redis did not come up');
  expect((failure as Error).message).toContain('manifest');
});

test('stopping twice, and after a kill, is safe; a paused server is stopped too', async () => {
  await using directory = await temporaryDirectory('stop');
  const paused = await startRedis({ dir: directory.path, appendfsync: 'everysec' });
  paused.pause();
  await Promise.all([paused.stop(), paused.stop()]);
  expect(await paused.exited).toEqual({ code: 0, signal: null });
  const killed = await startRedis({ dir: directory.path, appendfsync: 'everysec' });
  await killed.kill();
  await killed.stop();
  expect(await killed.exited).toEqual({ code: null, signal: 'SIGKILL' });
  expect(readFileSync(killed.logFile, 'utf8')).toContain('Ready to accept connections');
});

test('a password that would need quoting is refused by name', async () => {
  await expect(startRedis({ dir: '/nonexistent', password: 'a b', appendfsync: 'always' })).rejects.toThrow('password: use 1 to 256');
  await expect(startNats({ dir: '/nonexistent', user: 'only' })).rejects.toThrow('give both or neither');
});
