/** The compose file, read without an engine: what it refuses, and that it fits the processes. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { contextFiles } from './build-context.ts';
import { readComposeFile, readEnvFile } from './compose-file.ts';
import { readVariables } from './read-variables.ts';

const ROOT = path.resolve(import.meta.dirname, '..', '..');
const FILE = path.join(ROOT, 'deploy/compose.yaml');
const ENV = {
  REDIS_PASSWORD: 'r1',
  NATS_PASSWORD: 'n1',
  MANYHANDS_API_KEY: 'k',
  MANYHANDS_MODEL_API_KEY: 'none',
  DOCKER_GID: '999',
};

test.each(Object.keys(ENV))('without %s it refuses to start and says what to do', (name) => {
  expect(() => readComposeFile(FILE, { ...ENV, [name]: '' })).toThrow(new RegExp(`${name} is missing a value: \\w+`));
});

test('new-env.sh prints all that the file needs, with passwords that NATS takes for text, and other ones each time', async () => {
  await using directory = await temporaryDirectory('env');
  const socket = path.join(directory.path, 'docker.sock');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const print = () =>
    readEnvFile(
      execFileSync('sh', [path.join(ROOT, 'deploy/new-env.sh')], {
        encoding: 'utf8',
        env: { PATH: process.env['PATH'], DOCKER_SOCKET: socket, MANYHANDS_MODEL_API_KEY: 'none' },
      }),
    );
  const [one, other] = [print(), print()];
  server.close();
  expect(readComposeFile(FILE, one).services['sandbox-pool']!.group_add).toEqual([String(process.getgid!())]);
  expect(one['NATS_PASSWORD']).toMatch(/^[a-z][0-9a-f]{48}$/);
  for (const name of ['REDIS_PASSWORD', 'NATS_PASSWORD', 'MANYHANDS_API_KEY']) expect(one[name]).not.toBe(other[name]);
});

test('new-env.sh says what is missing where there is no engine', () => {
  const run = () =>
    execFileSync('sh', [path.join(ROOT, 'deploy/new-env.sh')], {
      encoding: 'utf8',
      stdio: 'pipe',
      env: { PATH: process.env['PATH'], DOCKER_SOCKET: '/nowhere/docker.sock' },
    });
  expect(run).toThrow(/no Docker socket at \/nowhere\/docker.sock/);
});

test('every variable that it sets is one that the process reads', () => {
  const { services } = readComposeFile(FILE, ENV);
  const own = Object.entries(services).filter(([name]) => !['prepare', 'redis', 'nats'].includes(name));
  const unknown = own.flatMap(([name, { environment }]) => {
    const known = readVariables(name);
    return Object.keys(environment).flatMap((variable) => (known.has(variable) ? [] : [`${name}: ${variable}`]));
  });
  expect(own.map(([name]) => name).sort()).toEqual(['egress', 'fake-model', 'gateway', 'harness', 'sandbox-pool']);
  expect(unknown).toEqual([]);
});

test('only the gateway publishes a port, and only to this machine; Redis and NATS are in a network without a way in or out', () => {
  const { services, networks } = readComposeFile(FILE, ENV);
  const published = Object.entries(services).flatMap(([name, { ports }]) => ports.map(({ address }) => `${name} ${address}`));
  expect(published).toEqual(['gateway 127.0.0.1']);
  for (const name of ['redis', 'nats', 'sandbox-pool']) expect(services[name]!.networks).toEqual(['backend']);
  expect(networks['backend']!.internal).toBe(true);
});

test('the secrets of one process are not given to another', () => {
  const env = {
    ...ENV,
    REDIS_PASSWORD: 'rsecret',
    NATS_PASSWORD: 'nsecret',
    MANYHANDS_API_KEY: 'ksecret',
    MANYHANDS_MODEL_API_KEY: 'msecret',
    MANYHANDS_SEARCH_API_KEY: 'ssecret',
  };
  const { services } = readComposeFile(FILE, env);
  const holders = (secret: string) =>
    Object.keys(services)
      .filter((name) => JSON.stringify(services[name]!.environment).includes(secret))
      .sort();
  expect(holders('rsecret')).toEqual(['gateway', 'harness', 'redis']);
  expect(holders('nsecret')).toEqual(['egress', 'harness', 'nats', 'sandbox-pool']);
  expect(holders('ksecret')).toEqual(['gateway']);
  expect(holders('msecret')).toEqual(['harness']);
  expect(holders('ssecret')).toEqual(['egress']);
});

test('the file of a further sandbox host has the pool and egress of the main file, and nothing else', () => {
  const main = readComposeFile(FILE, ENV);
  const host = readComposeFile(path.join(ROOT, 'deploy/compose.sandbox-host.yaml'), {
    ...ENV,
    MANYHANDS_HOST_ID: 'host-2',
    MANYHANDS_NATS_URL: 'nats://manyhands:n1@10.0.0.1:4222',
    MANYHANDS_BLOBS: '/mnt/blobs',
  });
  expect(Object.keys(host.services).sort()).toEqual(['egress', 'prepare', 'sandbox-pool']);
  for (const name of ['egress', 'sandbox-pool']) {
    const [here, there] = [host.services[name]!, main.services[name]!];
    expect(Object.keys(here.environment).sort()).toEqual(Object.keys(there.environment).sort());
    expect(here.environment).toMatchObject({ MANYHANDS_HOST_ID: 'host-2', NATS_URL: 'nats://manyhands:n1@10.0.0.1:4222' });
    expect(here.volumes.map(({ target }) => target)).toEqual(there.volumes.map(({ target }) => target));
  }
});

test('NATS is published for further hosts only by the file for that, and only at the address that was given', () => {
  const files = [FILE, path.join(ROOT, 'deploy/compose.shared.yaml')];
  expect(() => readComposeFile(files, ENV)).toThrow(/MANYHANDS_PRIVATE_ADDRESS is missing a value/);
  const { services } = readComposeFile(files, { ...ENV, MANYHANDS_PRIVATE_ADDRESS: '10.0.0.1' });
  expect(services['nats']).toMatchObject({
    networks: ['backend', 'outside'],
    ports: [{ address: '10.0.0.1', published: '4222', target: '4222' }],
  });
  expect(services['redis']!.ports).toEqual([]);
});

test('what is not understood is refused by the reader of these tests', async () => {
  await using directory = await temporaryDirectory('compose');
  const write = (text: string) => {
    const file = path.join(directory.path, 'compose.yaml');
    writeFileSync(file, text);
    return () => readComposeFile(file, {});
  };
  const service = 'image: a, restart: "no", networks: [n], logging: { driver: none, options: {} }';
  const rest = 'networks: { n: {} }';
  expect(write(`name: x\nservices: { a: { ${service} } }\n${rest}`)).not.toThrow();
  expect(write(`name: x\nservices: { a: { ${service}, privileged: true } }\n${rest}`)).toThrow(/privileged/);
  expect(write(`name: x\nservices: { a: { ${service}, environment: { A: "\${B-c}" } } }\n${rest}`)).toThrow(/not understood/);
  expect(write(`name: x\nservices: { a: { ${service}, depends_on: { b: { condition: service_started } } } }\n${rest}`)).toThrow(/b/);
});

test('no test, secret, dependency or build of this machine goes into the image', () => {
  const files = contextFiles(ROOT);
  expect(
    files.filter((file) => /(^|\/)(node_modules|dist|test|\.git|\.env|docs)(\/|$)/.test(file) && file !== 'test/package.json'),
  ).toEqual([]);
  expect(files).toEqual(expect.arrayContaining(['package-lock.json', 'deploy/image/service.js', 'deploy/sandbox/Dockerfile']));
});
