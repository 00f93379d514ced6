/** Every way in which an engine cannot be used has a name and a remedy. Real sockets throughout. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createPlainServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { findEngine, type UnusableEngine } from '../src/engine/find-engine.js';

const FIND_ENGINE = fileURLToPath(new URL('../src/engine/find-engine.js', import.meta.url));
const GOOD = { Version: '27.1.2', ApiVersion: '1.46', Os: 'linux' };
const at = (host: string, deadlineMs?: number) =>
  findEngine({ environment: { DOCKER_HOST: host }, ...(deadlineMs === undefined ? {} : { deadlineMs }) });

/** A server on a Unix socket that speaks as an engine would. */
async function engine(listener: RequestListener) {
  const directory = await temporaryDirectory('find');
  const path = join(directory.path, 'e.sock');
  const server = createServer(listener).listen(path);
  await once(server, 'listening');
  return {
    path,
    host: `unix://${path}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await directory.remove();
    },
  };
}

function answering(version: object, info: object): RequestListener {
  return (request, response) => response.end(JSON.stringify(request.url === '/version' ? version : info));
}

test('an engine that can be used is told with its version and runtimes', async () => {
  await using fake = await engine(answering(GOOD, { OSType: 'linux', Runtimes: { runsc: {}, runc: {} } }));
  expect(await at(fake.host)).toEqual({ state: 'ok', host: fake.host, version: '27.1.2', apiVersion: '1.46', runtimes: ['runc', 'runsc'] });
});

test('an engine on a TCP port is asked there', async () => {
  const server = createServer(answering(GOOD, {})).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  expect(await at(host)).toMatchObject({ state: 'ok', host });
  server.close();
});

test('an engine that takes the call and never answers is given up at the deadline', async () => {
  await using fake = await engine(() => {});
  const startedMs = performance.now();
  expect(await at(fake.host, 300)).toMatchObject({ state: 'slow', problem: `the engine at ${fake.host} does not answer within 0.3 s` });
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});

test('an engine that begins its answer and does not end it is given up at the deadline', async () => {
  await using fake = await engine((_, response) => void response.write('{"Version":'));
  expect(await at(fake.host, 300)).toMatchObject({ state: 'slow' });
});

test('an engine older than Docker 20.10 is refused with its version', async () => {
  await using fake = await engine(answering({ Version: '19.03.9', ApiVersion: '1.40' }, { OSType: 'linux' }));
  expect(await at(fake.host)).toMatchObject({
    state: 'too-old',
    problem: `the engine at ${fake.host} is Docker 19.03.9 (API 1.40), and 20.10 (API 1.41) is needed`,
    remedy: 'Update Docker.',
  });
});

test('an engine that runs Windows containers is refused', async () => {
  await using fake = await engine(answering(GOOD, { OSType: 'windows' }));
  expect(await at(fake.host)).toMatchObject({ state: 'not-linux', remedy: 'Switch it to Linux containers.' });
});

test.each([
  ['another page', ((_, response) => response.end('<html>')) as RequestListener],
  ['other JSON', answering({ hello: 'world' }, {})],
  ['an error', ((_, response) => response.writeHead(500).end('{}')) as RequestListener],
])('a server that answers with %s is no engine', async (_, listener) => {
  await using fake = await engine(listener);
  expect(await at(fake.host)).toMatchObject({ state: 'not-docker', remedy: 'Set DOCKER_HOST to one that is.' });
});

test('something on the socket that does not speak HTTP is no engine', async () => {
  await using directory = await temporaryDirectory('find');
  const path = join(directory.path, 'e.sock');
  const server = createPlainServer((socket) => socket.on('error', () => {}).end('220 hello\r\n')).listen(path);
  await once(server, 'listening');
  expect(await at(`unix://${path}`)).toMatchObject({ state: 'not-docker' });
  server.close();
});

test('a socket that is not there, and one that nobody listens at, mean that there is no engine', async () => {
  await using directory = await temporaryDirectory('find');
  const path = join(directory.path, 'gone.sock');
  expect(await at(`unix://${path}`)).toMatchObject({
    state: 'none',
    chosen: true,
    problem: `no Docker engine answers at unix://${path} (ENOENT)`,
  });
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', script]), 'exit');
  expect(await at(`unix://${path}`)).toMatchObject({ state: 'none', remedy: expect.stringContaining('Start it') });
});

test('a socket path that no system takes is told with its length', async () => {
  const path = `/${'a'.repeat(120)}/docker.sock`;
  expect(await at(`unix://${path}`)).toMatchObject({
    state: 'path-too-long',
    problem: `the path of its socket has 133 bytes, and the system takes 107 at most: ${path}`,
    remedy: expect.stringContaining('short link'),
  });
});

test.each([
  ['ssh://me@far', 'an engine behind ssh is not supported'],
  ['npipe:////./pipe/docker_engine', 'npipe:// is not supported'],
  ['http://127.0.0.1:2375', 'http:// is not supported'],
  ['docker.sock', '"docker.sock" is no address of an engine'],
  ['unix://docker.sock', 'unix://docker.sock does not hold a whole path'],
])('DOCKER_HOST=%s is refused by name', async (host, words) => {
  const finding = (await at(host)) as UnusableEngine;
  expect(finding).toMatchObject({ state: 'unsupported-address', remedy: expect.stringContaining('unix:///path/of/docker.sock') });
  expect(finding.problem).toContain(`DOCKER_HOST: ${words}`);
});

test('certificates that are not there are named', async () => {
  const environment = { DOCKER_HOST: 'tcp://127.0.0.1:2376', DOCKER_CERT_PATH: '/nonexistent' };
  expect(await findEngine({ environment })).toMatchObject({ problem: 'DOCKER_CERT_PATH: there is no file /nonexistent/ca.pem' });
});

test('without DOCKER_HOST the usual socket is asked', async () => {
  expect(await findEngine({ environment: {} })).toMatchObject({ host: 'unix:///var/run/docker.sock' });
});

test('a socket that this user may not use comes with what to type', async () => {
  await using fake = await engine(answering(GOOD, {}));
  chmodSync(fake.path, 0o600);
  chmodSync(join(fake.path, '..'), 0o755);
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) chmodSync(fake.path, 0o000);
  // Root may everything, so another user asks.
  const script = `
    const { findEngine } = await import(${JSON.stringify(FIND_ENGINE)});
    ${isRoot ? 'process.setgroups([]); process.setgid(65534); process.setuid(65534);' : ''}
    console.log(JSON.stringify(await findEngine({ environment: { DOCKER_HOST: ${JSON.stringify(fake.host)} } })));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  const finding = JSON.parse(text.toString()) as UnusableEngine;
  expect(finding).toMatchObject({ state: 'no-permission', problem: `this user may not use the engine at ${fake.host}` });
  expect(finding.remedy).toMatch(/^Type: sudo usermod -aG docker \S+ {3}and log in again\./);
});
