/** The gateway as a process: its environment, its listening socket, its end. Runs the build. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { loadEnv } from '@manyhands/base';
import { spawnService, startTestRedis, type TestServer, temporaryDirectory, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gatewayEnv } from '../src/index.ts';

const ENTRY = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const OPERATOR_KEY = 'operator-key-of-this-test';
let redis: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  redis = await startTestRedis();
  directory = await temporaryDirectory('gateway-process');
});
afterAll(async () => {
  await redis[Symbol.asyncDispose]();
  await directory.remove();
});
const environment = (more: Record<string, string> = {}) => ({
  REDIS_URL: redis.url,
  MANYHANDS_DATA: directory.path,
  MANYHANDS_PORT: '0',
  MANYHANDS_API_KEY: OPERATOR_KEY,
  ...more,
});
const start = (more: Record<string, string> = {}) => spawnService({ name: 'gateway', entry: ENTRY, env: environment(more) });
const authorization = `Bearer ${OPERATOR_KEY}`;

describe('the process', () => {
  test('says when it is ready, serves with the key from its environment, and ends on SIGTERM with its streams', async () => {
    await using gateway = await start({ MANYHANDS_MODELS: '["one","two"]' });
    const url = `http://127.0.0.1:${gateway.ready['port']}`;
    const models = (await (await fetch(`${url}/v1/models`, { headers: { authorization } })).json()) as { data: { id: string }[] };
    expect(models.data.map(({ id }) => id)).toEqual(['one', 'two']);
    const post = async (path: string, body: unknown) => {
      const response = await fetch(url + path, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      return ((await response.json()) as { id: string }).id;
    };
    const agent = await post('/v1/agents', { name: 'a', model: 'm' });
    const environment_id = await post('/v1/environments', { name: 'e' });
    const session = await post('/v1/sessions', { agent, environment_id });
    const stream = await fetch(`${url}/v1/sessions/${session}/events/stream`, { headers: { authorization } });
    const ended = gateway.kill('SIGTERM');
    expect(await stream.text()).toBe('');
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(gateway.output()).not.toContain(OPERATOR_KEY);
  });

  test('ends when its parent is gone', async () => {
    await using gateway = await start();
    gateway.orphan();
    expect((await gateway.exited).code).toBe(0);
  });

  test('several listen on one inherited socket; when one is killed the others refuse nobody', async () => {
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as { port: number };
    const handle = (listener as unknown as { _handle: { fd: number } })._handle;
    const children = [0, 1].map(() => {
      const env = {
        PATH: process.env['PATH'] ?? '',
        ...environment({ MANYHANDS_LISTEN_FD: '4', MANYHANDS_READY_FD: '3', MANYHANDS_LOG_LEVEL: 'silent' }),
      };
      return spawn(process.execPath, [ENTRY], { env, stdio: ['ignore', 'ignore', 'inherit', 'pipe', handle.fd] });
    });
    try {
      const [first, second] = children;
      await Promise.all(children.map((child) => once(child.stdio[3] as NodeJS.ReadableStream, 'data')));
      // This process held the socket for them only; from here on it must not take connections itself.
      await new Promise((resolve) => listener.close(resolve));
      const ask = async () => (await fetch(`http://127.0.0.1:${port}/readyz`, { headers: { connection: 'close' } })).status;
      expect(await Promise.all(Array.from({ length: 10 }, ask))).toEqual(Array.from({ length: 10 }, () => 200));
      const gone = once(first!, 'exit');
      first?.kill('SIGTERM');
      await gone;
      expect(await Promise.all(Array.from({ length: 10 }, ask))).toEqual(Array.from({ length: 10 }, () => 200));
      expect(second?.exitCode).toBeNull();
    } finally {
      for (const child of children) child.kill('SIGKILL');
      await until(() => children.every((child) => child.exitCode !== null || child.signalCode !== null), { what: 'the gateways end' });
      listener.close();
    }
  });

  test('refuses a port that is taken and settings that make no sense, in one line', async () => {
    await using running = await start();
    await expect(start({ MANYHANDS_PORT: String(running.ready['port']) })).rejects.toThrow(/EADDRINUSE/);
    await expect(start({ MANYHANDS_RATE_LIMITS: 'on' })).rejects.toThrow(/MANYHANDS_RATE_LIMITS: must be off or hosted/);
    await expect(start({ MANYHANDS_API_KEY: 'has spaces' })).rejects.toThrow(/MANYHANDS_API_KEY/);
  });
});

describe('the environment', () => {
  const load = (values: Record<string, string>) => loadEnv(gatewayEnv, values);
  test('has defaults for everything', () => {
    expect(load({})).toMatchObject({
      MANYHANDS_HOST: '127.0.0.1',
      MANYHANDS_PORT: 8400,
      MANYHANDS_ADMIN_WRITABLE: false,
      MANYHANDS_RATE_LIMITS: 'off',
    });
    expect(load({}).MANYHANDS_MODELS).toContain('claude-opus-4-8');
  });
  test('takes models as a list or as JSON, and nothing else', () => {
    expect(load({ MANYHANDS_MODELS: 'a, b ,a' }).MANYHANDS_MODELS).toEqual(['a', 'b']);
    expect(load({ MANYHANDS_MODELS: '["a","b"]' }).MANYHANDS_MODELS).toEqual(['a', 'b']);
    for (const text of ['[', '[]', '[1]', 'a,,b', 'a b']) expect(() => load({ MANYHANDS_MODELS: text })).toThrow(/MANYHANDS_MODELS/);
  });
  test('names every variable that is wrong', () => {
    expect(() => load({ MANYHANDS_PORT: '70000', MANYHANDS_LISTEN_FD: 'x', MANYHANDS_ADMIN_WRITABLE: 'yes' })).toThrow(
      /MANYHANDS_PORT.*MANYHANDS_LISTEN_FD.*MANYHANDS_ADMIN_WRITABLE/s,
    );
  });
});
