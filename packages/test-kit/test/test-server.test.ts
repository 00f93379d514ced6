import { existsSync } from 'node:fs';
import { createRedis } from '@manyhands/base';
import { expect, test } from 'vitest';
import { leftovers, silentLogger, startTestNats, startTestRedis, until } from '../src/index.ts';

test('a Redis that was killed comes back on the same port with everything it had acknowledged', async () => {
  await using server = await startTestRedis({ password: 'secret' });
  const { url, pid } = server;
  const redis = createRedis(url, 'patient', silentLogger, 'test');
  try {
    await redis.set('kept', 'yes');
    await server.kill();
    await server.restart();
    expect(server.url).toBe(url);
    expect(server.pid).not.toBe(pid);
    expect(await redis.get('kept')).toBe('yes');
  } finally {
    redis.disconnect();
  }
});

test('a paused Redis answers nothing until it is resumed', async () => {
  await using server = await startTestRedis();
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  try {
    await redis.ping();
    server.pause();
    const answer = redis.ping();
    expect(await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 200, 'nothing'))])).toBe('nothing');
    server.resume();
    expect(await answer).toBe('PONG');
  } finally {
    redis.disconnect();
  }
});

test('a disposed server leaves neither a process nor a directory', async () => {
  let directory: string;
  {
    await using nats = await startTestNats({ user: 'u', password: 'p' });
    directory = nats.directory;
    expect(leftovers(directory)).not.toEqual([]);
    expect(nats.log()).toContain('Server is ready');
  }
  await until(() => leftovers(directory).length === 0, { what: 'the NATS server is gone' });
  expect(existsSync(directory)).toBe(false);
});
