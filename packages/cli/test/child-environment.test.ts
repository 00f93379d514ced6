/** Each process gets only the environment it needs (DESIGN 7). */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { childEnvironment, engineEnvironment, narrowEnvironment, type ServiceKind } from '../src/up/processes/child-environment.ts';

const KINDS: ServiceKind[] = ['gateway', 'harness', 'sandbox-pool', 'egress', 'fake-model'];
const EVERYTHING = {
  PATH: '/bin',
  HOME: '/home/me',
  NODE_EXTRA_CA_CERTS: '/ca.pem',
  AWS_SECRET_ACCESS_KEY: 'secret-aws',
  ANTHROPIC_API_KEY: 'secret-anthropic',
  MANYHANDS_MODEL_API_KEY: 'secret-model',
  MANYHANDS_MODEL_API_KEY_FILE: '/secret-model-file',
  MANYHANDS_MODEL_BASE_URL: 'https://model.example',
  MANYHANDS_API_KEY: 'secret-api',
  MANYHANDS_POOL_WARM: '4',
  MANYHANDS_EGRESS_EXTRA_DENY: '10.0.0.0/8',
  MANYHANDS_SEARCH_PROVIDER: 'brave',
  MANYHANDS_SEARCH_API_KEY: 'secret-search',
  MANYHANDS_SEARCH_API_KEY_FILE: '/secret-search-file',
  MANYHANDS_SEARCH_BASE_URL: 'https://search.example',
  REDIS_URL: 'redis://:secret-redis@127.0.0.1',
  NATS_URL: 'nats://secret-nats@127.0.0.1',
  EMPTY: '',
};
const holders = (secret: string) =>
  KINDS.filter((kind) => Object.values(childEnvironment(kind, EVERYTHING, {})).some((value) => value.includes(secret)));

test('the model key reaches the harness and nobody else', () => {
  for (const secret of ['secret-anthropic', 'secret-model', '/secret-model-file']) expect(holders(secret)).toEqual(['harness']);
});

test('what is said of the search provider reaches egress and nobody else', () => {
  for (const value of ['brave', 'secret-search', '/secret-search-file', 'https://search.example'])
    expect(holders(value)).toEqual(['egress']);
});

test('keys that model routes name reach the harness and nobody else, from the text and from a file', async () => {
  const routes = JSON.stringify({ upstreams: { a: { api_key_env: 'KEY_A' }, b: {}, c: { api_key_env: 7 } } });
  await using directory = await temporaryDirectory('routes');
  const file = path.join(directory.path, 'routes.json');
  writeFileSync(file, routes);
  for (const given of [{ MANYHANDS_MODEL_ROUTES: routes }, { MANYHANDS_MODEL_ROUTES_FILE: file }, { MANYHANDS_MODEL_ROUTES: '{' }]) {
    const known = KINDS.filter((kind) => childEnvironment(kind, { ...given, KEY_A: 'secret-a', KEY_B: 'secret-b' }, {})['KEY_A']);
    expect(known).toEqual('MANYHANDS_MODEL_ROUTES' in given && given.MANYHANDS_MODEL_ROUTES === '{' ? [] : ['harness']);
    expect(childEnvironment('harness', { ...given, KEY_B: 'secret-b' }, {})).not.toHaveProperty('KEY_B');
  }
});

test('addresses and API keys reach nobody by inheritance, only by being given', () => {
  for (const secret of ['secret-api', 'secret-redis', 'secret-nats', 'secret-aws']) expect(holders(secret)).toEqual([]);
  expect(childEnvironment('gateway', EVERYTHING, { MANYHANDS_API_KEY: 'given' })['MANYHANDS_API_KEY']).toBe('given');
});

test('settings reach the process that reads them', () => {
  expect(childEnvironment('sandbox-pool', EVERYTHING, {})['MANYHANDS_POOL_WARM']).toBe('4');
  expect(childEnvironment('egress', EVERYTHING, {})['MANYHANDS_EGRESS_EXTRA_DENY']).toBe('10.0.0.0/8');
});

test('how to speak to the Docker engine reaches the pool and the program that makes its image; the address is only given', () => {
  const user = {
    DOCKER_HOST: 'tcp://engine:2376',
    DOCKER_TLS_VERIFY: '1',
    DOCKER_CERT_PATH: '/certificates',
    MANYHANDS_SANDBOX_RUNTIME: 'runsc',
  };
  for (const kind of KINDS) {
    const { DOCKER_HOST: host, DOCKER_CERT_PATH: path, MANYHANDS_SANDBOX_RUNTIME: runtime } = childEnvironment(kind, user, {});
    expect({ kind, host, path, runtime }).toEqual({
      kind,
      ...(kind === 'sandbox-pool' ? { path: '/certificates', runtime: 'runsc' } : {}),
    });
  }
  expect(engineEnvironment(user)).toEqual({ DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: '/certificates' });
});

test('the fake model gets its surroundings and nothing of the user', () => {
  expect(childEnvironment('fake-model', EVERYTHING, {})).toEqual({
    PATH: '/bin',
    HOME: '/home/me',
    NODE_EXTRA_CA_CERTS: '/ca.pem',
    MANYHANDS_WATCH_PARENT: '1',
    MANYHANDS_READY_FD: '3',
  });
});

test('what the command itself keeps, and with it Redis, NATS and tools, holds no key and no address', () => {
  const environment: Record<string, string | undefined> = { ...EVERYTHING, http_proxy: 'http://proxy' };
  const before = narrowEnvironment(environment);
  expect(before).toMatchObject(EVERYTHING);
  expect(environment).toEqual({ PATH: '/bin', HOME: '/home/me', NODE_EXTRA_CA_CERTS: '/ca.pem', http_proxy: 'http://proxy' });
});
