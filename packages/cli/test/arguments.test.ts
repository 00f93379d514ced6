/** What the command says to arguments, right and wrong. */
import { PassThrough } from 'node:stream';
import { temporaryDirectory } from '@manyhands/test-kit';
import { expect, test } from 'vitest';
import { runProgram } from '../src/program.ts';
import type { Surroundings } from '../src/surroundings.ts';

async function run(args: string[], environment: Record<string, string> = {}) {
  await using directory = await temporaryDirectory('arguments');
  let out = '';
  let err = '';
  const collect = (add: (text: string) => void) => {
    const stream = new PassThrough();
    stream.setEncoding('utf8').on('data', add);
    return stream as unknown as NodeJS.WriteStream;
  };
  const stdin = new PassThrough();
  stdin.end();
  const surroundings: Surroundings = {
    environment,
    cwd: directory.path,
    stdin: stdin as unknown as NodeJS.ReadStream,
    stdout: collect((text) => {
      out += text;
    }),
    stderr: collect((text) => {
      err += text;
    }),
  };
  const code = await runProgram(['node', 'manyhands', ...args], surroundings);
  return { code, out, err };
}

test.each([
  [['--frobnicate'], "unknown option '--frobnicate'"],
  [['up', '--frobnicate'], "unknown option '--frobnicate'"],
  [['dance'], "unknown command 'dance'"],
  [['up', 'here'], 'too many arguments'],
  [['keys', 'create'], "missing required argument 'name'"],
  [['up', '--port', '65536'], '--port: give a whole number from 0 to 65535, not "65536".'],
  [['up', '--port', '-1'], '--port: give a whole number'],
  [['up', '--port', '1e3'], '--port: give a whole number'],
  [['up', '--workers', '0'], '--workers: give a whole number from 1 to 64, not "0".'],
  [['up', '--gateways', 'two'], '--gateways: give a whole number'],
  [['up', '--sandbox', 'vm'], '--sandbox: give one of auto, docker, bubblewrap, not "vm".'],
  [['up', '--rate-limits', 'on'], '--rate-limits: give one of off, hosted, not "on".'],
  [['up', '--fsync', 'never'], '--fsync: give one of always, everysec, not "never".'],
  [['up', '--log-level', 'loud'], '--log-level: give one of trace, debug, info, warn, error, silent, not "loud".'],
  [['up', '--metrics-port', '0'], '--metrics-port: give a whole number from 1 to 65535, not "0".'],
  [['up', '--metrics-port', '65533'], '--metrics-port: 5 ports are needed from 65533 on, and 65535 is the last one. Give a lower one.'],
  [['up', '--metrics-port', '8398'], '--metrics-port: ports 8398 to 8402 are needed, and 8400 is the port of the API. Give another one.'],
  [['up', '--data', ''], '--data: give a directory.'],
  [['up', '--ready-file', '/proc/nowhere/ready.json'], '--ready-file: /proc/nowhere/ready.json cannot be written'],
  [['up', '--host', '192.0.2.1', '--port', '0'], '--host: 192.0.2.1 is not an address of this machine.'],
  [['chat'], 'No instance runs in '],
  [['chat', '--url', 'localhost:8400'], '--url: give a URL such as http://127.0.0.1:8400.'],
  [['chat', '--url', 'http://127.0.0.1:8400'], '--api-key: give the key of that server, or set MANYHANDS_API_KEY.'],
  [['chat', '--session', 'sesn_1', '--model', 'm'], '--session: the session has its own model and system prompt.'],
  [['keys', 'revoke', 'a/b', '--url', 'http://127.0.0.1:1', '--api-key', 'k'], 'id: give the id of a key'],
])('%j is refused with exit code 2 and a remedy', async (args, message) => {
  const { code, out, err } = await run(args);
  expect(err).toContain(message);
  expect(code).toBe(2);
  expect(out).toBe('');
});

test('a server of the user that does not answer is told before anything is started, without its password', async () => {
  const redis = await run(['up', '--port', '0'], { REDIS_URL: 'redis://:hidden@127.0.0.1:65000' });
  expect(redis).toMatchObject({ code: 2, err: expect.stringContaining('REDIS_URL: nothing answers at 127.0.0.1:65000 (ECONNREFUSED).') });
  expect(redis.err).not.toContain('hidden');
  const nats = await run(['up', '--port', '0'], { REDIS_URL: 'redis://127.0.0.1:65000', NATS_URL: 'localhost:4222' });
  expect(nats.code).toBe(2);
});

test.each([
  [
    'redis+cluster://:hidden@127.0.0.1:65001,127.0.0.1:65002',
    'nothing answers at 127.0.0.1:65001 (ECONNREFUSED); nothing answers at 127.0.0.1:65002',
  ],
  [
    'redis+sentinel://:hidden@127.0.0.1:65001,[::1]:65002/main',
    'nothing answers at 127.0.0.1:65001 (ECONNREFUSED); nothing answers at ::1:65002',
  ],
  ['redis+sentinel://:hidden@127.0.0.1:65001', 'the name of the master is missing'],
  ['redis+cluster://', 'give a URL such as redis://127.0.0.1:6379, redis+cluster://127.0.0.1:7000,127.0.0.1:7001 or redis+sentinel://'],
  ['redis+cluster://:hidden@127.0.0.1:65001,:1', 'give a URL such as redis://'],
])('of a cluster or sentinels every address is tried: %s', async (url, problem) => {
  const { code, err } = await run(['up', '--port', '0'], { REDIS_URL: url });
  expect(err).toContain(`REDIS_URL: ${problem}`);
  expect(err).not.toContain('hidden');
  expect(code).toBe(2);
});

test('a log level in the environment is checked like the option', async () => {
  expect(await run(['up'], { MANYHANDS_LOG_LEVEL: 'loud' })).toMatchObject({ code: 2 });
});

test('a command alone shows what there is, on stderr, with exit code 2', async () => {
  const { code, err } = await run([]);
  expect(err).toContain('Usage: manyhands');
  expect(code).toBe(2);
});

test.each([['--help'], ['up', '--help'], ['doctor', '--help'], ['chat', '--help'], ['keys', '--help'], ['keys', 'create', '--help']])(
  'help of "%s %s" ends with exit code 0',
  async (...args) => {
    const { code, out, err } = await run(args.filter((arg) => arg !== undefined));
    expect(out).toContain('Usage: manyhands');
    expect({ code, err }).toEqual({ code: 0, err: '' });
  },
);

test('the version is that of the package', async () => {
  const { code, out } = await run(['--version']);
  expect(out).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(code).toBe(0);
});

test('a server that cannot be reached is told in words, with exit code 1', async () => {
  const { code, err } = await run(['keys', 'list', '--url', 'http://127.0.0.1:65000', '--api-key', 'some-key']);
  expect(err).toContain('The server cannot be reached: connect ECONNREFUSED 127.0.0.1:65000.');
  expect(code).toBe(1);
});

test('doctor asks the engine that the user names', async () => {
  const { out } = await run(['doctor'], { DOCKER_HOST: 'ssh://me@far' });
  expect(out).toMatch(/^absent +Docker engine +DOCKER_HOST: an engine behind ssh is not supported/m);
});

test('doctor names what is there and says whether something is missing', async () => {
  const { code, out } = await run(['doctor']);
  for (const name of ['Node.js', 'redis', 'nats', 'bubblewrap', 'ripgrep']) expect(out).toMatch(new RegExp(`^(ok|MISSING) +${name} `, 'm'));
  expect(out).toMatch(code === 0 ? /^Everything that is needed is there\.$/m : /^Missing: /m);
});
