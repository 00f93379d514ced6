/** One real instance, used as a new user uses it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { processTable, type TemporaryDirectory, temporaryDirectory, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..', '..', '..');
const MAIN = join(ROOT, 'packages', 'cli', 'dist', 'main.js');
const READY_MS = 120_000;
const TURN_MS = 60_000;
const KINDS = ['gateway-1', 'harness-1', 'harness-2', 'sandbox-pool-1', 'egress-1', 'redis-1', 'nats-1', 'fake-model-1'];

interface Ready {
  url: string;
  api_key: string;
  console_url: null;
  processes: { name: string; pid: number }[];
}

let directory: TemporaryDirectory;
let data: string;
let readyFile: string;
let up: ChildProcess;
let printed = '';
const environment: Record<string, string | undefined> = { ...process.env, SOME_SECRET: 'do-not-inherit' };
for (const name of [
  'ANTHROPIC_API_KEY',
  'MANYHANDS_MODEL_API_KEY',
  'MANYHANDS_MODEL_BASE_URL',
  'MANYHANDS_API_KEY',
  'REDIS_URL',
  'NATS_URL',
  'MANYHANDS_URL',
])
  delete environment[name];

const ready = () => JSON.parse(readFileSync(readyFile, 'utf8')) as Ready;
const isRunning = (pid: number) => processTable().some((entry) => entry.pid === pid);

interface Outcome {
  code: number | null;
  out: string;
  err: string;
}
async function run(script: string, args: readonly string[], input = '', cwd = directory.path): Promise<Outcome> {
  const child = spawn(process.execPath, [script, ...args], { cwd, env: environment, stdio: ['pipe', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}
const manyhands = (args: readonly string[], input = '') => run(MAIN, args, input);

beforeAll(async () => {
  directory = await temporaryDirectory('cli');
  data = join(directory.path, 'data');
  readyFile = join(directory.path, 'deep', 'ready.json');
  const args = [MAIN, 'up', '--port', '0', '--data', data, '--ready-file', readyFile];
  up = spawn(process.execPath, args, { cwd: directory.path, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [up.stdout, up.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
  await until(() => up.exitCode !== null || (existsSync(readyFile) && printed.includes('Ctrl-C stops everything')), {
    what: 'the instance is ready',
    timeoutMs: READY_MS,
  });
  if (up.exitCode !== null) throw new Error(`up ended:\n${printed}`);
}, READY_MS + 10_000);

afterAll(async () => {
  if (up.exitCode === null && up.signalCode === null) {
    const exited = once(up, 'exit');
    up.kill('SIGTERM');
    await exited;
  }
  await directory.remove();
}, 60_000);

test('the ready file tells address, key and every process, to its owner only', () => {
  const facts = ready();
  expect(Object.keys(facts)).toEqual(['url', 'api_key', 'console_url', 'processes']);
  expect(facts.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(facts.api_key).toMatch(/^mh-[A-Za-z0-9]{40}$/);
  expect(facts.console_url).toBeNull();
  expect(facts.processes.map(({ name }) => name)).toEqual(KINDS);
  expect(facts.processes.filter(({ pid }) => !isRunning(pid))).toEqual([]);
  expect((statSync(readyFile).mode & 0o777).toString(8)).toBe('600');
  expect(readFileSync(join(data, 'ready.json'), 'utf8')).toBe(readFileSync(readyFile, 'utf8'));
  expect(readdirSync(join(data, 'logs')).sort()).toEqual(KINDS.map((name) => `${name}.log`).sort());
});

test(
  'the printed snippet, saved to a file and run as it is, ends a turn with real tool calls',
  async () => {
    const code = /```js\n([\s\S]*?)```/.exec(printed)?.[1] ?? '';
    // A file inside the clone: the SDK is found in its node_modules.
    const file = join(ROOT, 'packages', 'cli', `hello-${process.pid}.test-only.mjs`);
    await writeFile(file, code);
    const { rmSync } = await import('node:fs');
    try {
      const { code: exitCode, out, err } = await run(file, []);
      expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
      expect(out).toMatch(/^\[bash\] .*workspace-report/m);
      expect(out).toMatch(/primes below 100000: 9592/);
      expect(out.trimEnd().split('\n').at(-1)).toBe('session.status_idle / end_turn');
    } finally {
      rmSync(file);
    }
  },
  TURN_MS,
);

test(
  'chat answers every line of a pipe in one session and ends with exit code 0',
  async () => {
    const { code, out, err } = await manyhands(['chat', '--plain', '--data', data], 'first\n\nsecond\n');
    expect({ code, problem: err.includes('error') }).toEqual({ code: 0, problem: false });
    expect(out).toContain('You wrote: “first”');
    // The same workspace: so it was the same session.
    expect(out).toContain('You wrote: “second” The workspace still holds workspace-report.mjs');
    expect(err).toMatch(/^\[bash node workspace-report\.mjs -> \d+ B\]$/m);
  },
  TURN_MS,
);

test('chat without a line leaves nothing behind and ends with exit code 0', async () => {
  expect(await manyhands(['chat', '--data', data])).toEqual({ code: 0, out: '', err: '' });
});

test('a wrong key, a wrong session: chat says so with exit code 1', async () => {
  const wrongKey = await manyhands(['chat', '--data', data, '--api-key', 'not-the-key-at-all'], 'hi\n');
  expect(wrongKey).toMatchObject({ code: 1, out: '' });
  expect(wrongKey.err).toContain('Give a valid key with --api-key or MANYHANDS_API_KEY. (401, authentication_error, req_');
  const wrongSession = await manyhands(['chat', '--data', data, '--session', 'sesn_0000000000000000000000'], 'hi\n');
  expect(wrongSession).toMatchObject({ code: 1, out: '' });
  expect(wrongSession.err).toContain('404');
});

test('a key can be made, used, listed and revoked; one without operator scope may not do that', async () => {
  const made = await manyhands(['keys', 'create', 'from a test', '--data', data]);
  expect(made.code).toBe(0);
  const key = made.out.trim();
  const id = /apikey_\w+/.exec(made.err)?.[0] ?? '';
  expect((await manyhands(['keys', 'list', '--data', data])).out).toMatch(
    new RegExp(`^${id} +from a test +api +${key.slice(-4)} .* -$`, 'm'),
  );
  expect(await manyhands(['keys', 'list', '--data', data, '--api-key', key])).toMatchObject({ code: 1, out: '' });
  expect((await manyhands(['keys', 'revoke', id, '--data', data])).code).toBe(0);
  expect((await manyhands(['keys', 'list', '--data', data])).out).not.toContain(id);
  expect((await manyhands(['keys', 'list', '--all', '--data', data])).out).toContain(id);
});

test('no process inherits what it does not need', () => {
  for (const { name, pid } of ready().processes) {
    const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    expect({ name, found: variables.filter((each) => each.includes('do-not-inherit')) }).toEqual({ name, found: [] });
    const given = variables.map((each) => each.split('=')[0]);
    const secrets = ['REDIS_URL', 'NATS_URL', 'MANYHANDS_API_KEY'].filter((each) => given.includes(each));
    const expected: Record<string, string[]> = {
      gateway: ['REDIS_URL', 'MANYHANDS_API_KEY'],
      harness: ['REDIS_URL', 'NATS_URL'],
      'sandbox-pool': ['NATS_URL'],
      egress: ['NATS_URL'],
    };
    expect({ name, secrets }).toEqual({ name, secrets: expected[name.replace(/-\d+$/, '')] ?? [] });
  }
});

test('a killed gateway refuses nobody and its successor is in the ready file', async () => {
  const { url, processes } = ready();
  const before = processes.find(({ name }) => name === 'gateway-1')!.pid;
  process.kill(before, 'SIGKILL');
  await until(() => !isRunning(before), { what: 'the gateway is gone' });
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}/healthz`).then(({ status }) => status)));
  expect(new Set(answers)).toEqual(new Set([200]));
  await until(() => ready().processes.find(({ name }) => name === 'gateway-1')!.pid !== before, { what: 'the new pid is told' });
});

test('SIGTERM ends everything in order, with exit code 0, and leaves no process, no mount and no ready file of the instance', async () => {
  const pids = [...ready().processes.map(({ pid }) => pid), up.pid!];
  const exited = once(up, 'exit');
  up.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
  expect(pids.filter(isRunning)).toEqual([]);
  expect(processTable().filter(({ command, directory: place }) => command.includes(data) || place.startsWith(data))).toEqual([]);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(data);
  expect(existsSync(join(data, 'ready.json'))).toBe(false);
  expect(existsSync(join(data, 'run', 'lock'))).toBe(false);
  const ended = (name: string) =>
    /"time":"([^"]+)"[^\n]*"msg":"shutting down"/.exec(readFileSync(join(data, 'logs', `${name}.log`), 'utf8'))?.[1] ?? '';
  const order = ['gateway-1', 'harness-1', 'sandbox-pool-1', 'egress-1'].map(ended);
  expect(order.every((time) => time !== '')).toBe(true);
  expect(order).toEqual([...order].sort());
  expect(printed.trimEnd()).toMatch(/stopped$/);
}, 60_000);
