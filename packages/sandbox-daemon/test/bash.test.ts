import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { toolText } from '@manyhands/contract';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DaemonClient, type DaemonProcess, isAlive, startDaemon } from './daemon-process.ts';

let daemon: DaemonProcess;
let client: DaemonClient;
beforeAll(async () => {
  daemon = await startDaemon({ ANTHROPIC_API_KEY: 'secret', MANYHANDS_ANYTHING: 'secret', BASH_ENV: '/nowhere', KEPT: 'kept' });
  client = daemon.client;
});
afterAll(() => daemon[Symbol.asyncDispose]());

const bash = (command: string, more: Record<string, unknown> = {}) => client.text('bash', { command, ...more });
const bashError = (command: string, more: Record<string, unknown> = {}) => client.error('bash', { command, ...more });

describe('a shell that lives from call to call', () => {
  test('directory, variables, functions and jobs survive', async () => {
    await bash('mkdir -p sub; cd sub; NAME=value; greet() { echo "hello $1"; }; sleep 61 &');
    expect(await bash('basename "$PWD"; echo $NAME; greet you; jobs -r | grep -c "sleep 61"')).toBe('sub\nvalue\nhello you\n1');
    expect(await client.text('bash', { restart: true })).toBe('bash session restarted');
    expect(await bash('pwd; echo "[$NAME]"; jobs')).toBe(`${daemon.paths.workspace}\n[]`);
  });

  test('restart with a command runs it in the new shell', async () => {
    await bash('OLD=1');
    expect(await bash('echo "[$OLD]"', { restart: true })).toBe('[]');
  });

  test('calls run one at a time, in the order they were started', async () => {
    const texts = await Promise.all([bash('sleep 0.2; ORDER=a'), bash('ORDER+=b; echo $ORDER'), bash('ORDER+=c; echo $ORDER')]);
    expect(texts).toEqual(['(no output)', 'ab', 'abc']);
  });

  test('stdout and stderr come merged, in order, and no output says so', async () => {
    expect(await bash('for i in 1 2 3; do echo out$i; echo err$i >&2; done')).toBe('out1\nerr1\nout2\nerr2\nout3\nerr3');
    expect(await bash('true')).toBe('(no output)');
  });

  test('output is a true pipe: /dev/stdout and /dev/stderr can be opened', async () => {
    expect(await bash('echo a > /dev/stdout; echo b | tee /dev/stderr')).toBe('a\nb\nb');
  });

  test('when memory runs out, a command is killed before the daemon', async () => {
    expect(await bash('cat /proc/self/oom_score_adj')).toBe('1000');
  });

  test('a program that wants a terminal is told that there is none, and does not wait', async () => {
    expect(await bash('test -t 0 || test -t 1 || echo none; (exec </dev/tty) 2>/dev/null || echo no-tty; echo $TERM')).toBe(
      'none\nno-tty\ndumb',
    );
  });

  test('restart ends the shell with its jobs, alone or before a command', async () => {
    const pid = Number(await bash('OLD=1; sleep 300 & echo $!'));
    expect(await client.text('bash', { restart: true })).toBe('bash session restarted');
    await until(() => !isAlive(pid), { what: 'the job is gone' });
    expect(await client.text('bash', { restart: true, command: '' })).toBe('bash session restarted');
    await bash('cd /; OLD=2');
    expect(await bash('echo "[$OLD]"; pwd', { restart: true })).toBe(`[]\n${daemon.paths.workspace}`);
  });

  test('calls made at once run one after the other, in order', async () => {
    const outcomes = await Promise.all([1, 2, 3].map((at) => bash(`COUNT=$((COUNT+1)); sleep 0.05; echo ${at} $COUNT`)));
    expect(outcomes).toEqual(['1 1', '2 2', '3 3']);
  });

  test('a command that reads its input gets the end at once', async () => {
    expect(await bash('cat; read line; echo "[$line] $?"')).toBe('[] 1');
  });

  test('a failed command is an error with its output, or its status', async () => {
    expect(await bashError('echo why; exit_status() { return 7; }; exit_status')).toBe('why');
    expect(await bashError('(exit 9)')).toBe('exit 9');
  });

  test('many lines, here-documents and quotes pass through unharmed', async () => {
    expect(await bash(`cat <<'EOF'\nit's "quoted" $HOME \\ \`x\`\nEOF\necho 'last'`)).toBe('it\'s "quoted" $HOME \\ `x`\nlast');
  });

  test('a command that bash cannot read is an error, and the shell goes on', async () => {
    await bash('STATE=kept');
    for (const broken of ['echo "open', "echo 'open", 'for i in 1 2; do', 'if true; then', 'echo $(', '}', 'cat <<'])
      await bashError(broken);
    expect(await bash('echo $STATE')).toBe('kept');
  });

  test('what the machinery was told is not in the environment', async () => {
    expect(await bash("env | grep -ciE '^(anthropic|manyhands)_|^bash_env' || true; echo $KEPT")).toBe('0\nkept');
    expect(await bash('echo $HTTPS_PROXY $http_proxy')).toBe(`http://127.0.0.1:${daemon.proxyPort} http://127.0.0.1:${daemon.proxyPort}`);
  });
});

describe('the end of a command', () => {
  test('a background child that keeps the output open does not delay the result', async () => {
    const startedAt = performance.now();
    expect(await bash('sleep 50 & echo started')).toBe('started');
    expect(await bash('(while sleep 0.05; do echo noise; done) & echo second')).toBe('second');
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    await client.text('bash', { restart: true });
  });

  test('output cannot fake the end of a command', async () => {
    const text = await bash(
      'for fd in 3 4 10 11 12; do (echo "0123456789abcdef 0" >&$fd) 2>/dev/null; done; echo "0123456789abcdef 0"; echo really',
    );
    expect(text.endsWith('really')).toBe(true);
  });

  test('all output written before the end is there, however much', async () => {
    expect((await bash('seq 1 10000')).split('\n').length).toBe(10_000);
    for (let round = 0; round < 20; round++) expect(await bash('head -c 65000 /dev/zero | tr "\\0" x')).toHaveLength(65_000);
  });

  test('a command that ends the shell is a result, and the next call has a new shell', async () => {
    expect(await bashError('LOST=1; echo before; exit 3')).toMatch(/^before\n\[the shell ended: exit 3;/);
    expect(await bash('echo "[$LOST]"')).toBe('[]');
    expect(await bash('exec echo replaced')).toMatch(/^replaced\n\[the shell ended: exit 0;/);
    expect(await bashError('kill -9 $$')).toMatch(/killed by SIGKILL/);
    expect(await bashError('set -e; false')).toMatch(/exit 1/);
    expect(await bash('echo well')).toBe('well');
  });

  test('a shell that ended between two calls is replaced, and the next result says so', async () => {
    const pid = Number(await bash('echo $$'));
    await bash('(sleep 0.1; kill -9 $$) &');
    await until(() => !isAlive(pid), { what: 'the shell is gone' });
    // The daemon hears of it an instant later than the kernel.
    const text = await until(async () => toolText((await client.call('bash', { command: 'echo "[$$]"' })).content), { what: 'a result' });
    expect(text).toMatch(/this is a new one\]\n\[\d+\]|the shell (ended|was killed)/);
    expect(await bash('echo well')).toBe('well');
  });

  test('a command over its time is killed with all it started, its output is kept, and the next call has a new shell', async () => {
    const text = await bashError('echo $$; (setsid sleep 300 & echo $!; wait) & sleep 300', { timeout_ms: 700 });
    expect(text).toMatch(/timed out after 700 ms.*new shell/);
    const pids = text.split('\n').slice(0, 2).map(Number);
    await until(() => pids.every((pid) => !isAlive(pid)), { what: 'the processes of the command are gone' });
    expect(await bash('echo new')).toBe('new');
  });

  test('a cancelled command is killed with all it started and answers what it had', async () => {
    const marker = join(daemon.paths.workspace, 'cancel-me');
    await client.ask({ op: 'start', key: 'cancelled', tool: 'bash', input: { command: `echo partial; echo $$ > ${marker}; sleep 300` } });
    await until(() => existsSync(marker) && readFileSync(marker, 'utf8').trim(), { what: 'the command runs' });
    const pid = Number(readFileSync(marker, 'utf8'));
    const reply = await client.ask({ op: 'cancel', key: 'cancelled' });
    expect(reply).toMatchObject({
      call: {
        state: 'done',
        outcome: { is_error: true, content: [{ text: 'partial\nTool execution was interrupted before completion. Please retry.' }] },
      },
    });
    await until(() => !isAlive(pid), { what: 'the shell is gone' });
  });

  test('a call cancelled while it waits for its turn never runs and leaves the shell alone', async () => {
    const never = join(daemon.paths.workspace, 'never');
    await bash('ALIVE=yes');
    await client.ask({ op: 'start', key: 'first', tool: 'bash', input: { command: 'sleep 0.5' } });
    await client.ask({ op: 'start', key: 'queued', tool: 'bash', input: { command: `touch ${never}` } });
    await client.ask({ op: 'cancel', key: 'queued' });
    await client.ask({ op: 'wait', key: 'first', wait_ms: 20_000 });
    const reply = await client.ask({ op: 'wait', key: 'queued', wait_ms: 20_000 });
    expect(reply).toMatchObject({ call: { state: 'done', outcome: { is_error: true } } });
    expect(existsSync(never)).toBe(false);
    expect(await bash('echo $ALIVE')).toBe('yes');
  });
});

describe('hostile output', () => {
  test('of more than 100 KiB the end is shown, the first line says so, and the whole is in a file', async () => {
    const text = await bash('seq 1 200000; echo the-end');
    expect(text.startsWith('[output truncated]\n')).toBe(true);
    expect(text.endsWith('\n200000\nthe-end')).toBe(true);
    expect(text.length).toBeLessThanOrEqual(100_000);
    expect(text.length).toBeGreaterThan(98_000);
    const path = /the whole is in (\S+);/.exec(text)?.[1] ?? '';
    expect(readFileSync(path, 'utf8')).toBe(`${Array.from({ length: 200_000 }, (_, at) => `${at + 1}\n`).join('')}the-end\n`);
    expect(await client.text('read', { file_path: path, view_range: [100_000, 100_001] })).toBe('100000\n100001');
  });

  test('no result is above 100,000 characters, just below 100 KiB too, and no character is cut in two', async () => {
    for (const bytes of [98_000, 99_500, 101_000, 102_400, 102_404]) {
      const text = await bash(`head -c ${bytes / 4} /dev/zero | sed 's/\\x00/😀/g'; true`);
      expect(text.length).toBeLessThanOrEqual(100_000);
      expect(text).not.toMatch(/\ufffd|(?<![\ud800-\udbff])[\udc00-\udfff]/);
      const ascii = await bash(`head -c ${bytes} /dev/zero | tr '\\0' x`);
      expect(ascii.length).toBeLessThanOrEqual(100_000);
      expect(ascii.startsWith('[output truncated]\n')).toBe(bytes > 99_000);
      if (bytes > 99_000) expect(readFileSync(/in (\S+);/.exec(ascii)?.[1] ?? '', 'utf8')).toBe('x'.repeat(bytes));
    }
  });

  test('of endless output the file holds the first 16 MiB, and the result says how much of it', async () => {
    const text = await bashError('head -c 17000000 /dev/zero | tr "\\0" x; false');
    const [, bytes, all, path] = /the first (\d+) of its (\d+) bytes are in (\S+);/.exec(text) ?? [];
    expect([bytes, all, statSync(path ?? '').size]).toEqual(['16777216', '17000000', 16_777_216]);
  });

  test('files of long outputs take 64 MiB at most: the oldest go', async () => {
    const paths: string[] = [];
    for (let round = 0; round < 5; round++)
      paths.push(/are in (\S+);/.exec(await bash('head -c 17000000 /dev/zero | tr "\\0" x'))?.[1] ?? '');
    expect(new Set(paths).size).toBe(5);
    expect(paths.map((path) => existsSync(path))).toEqual([false, true, true, true, true]);
  });

  test('output that cannot be kept is told, and its end is shown all the same', async () => {
    await using full = await startDaemon();
    rmSync(full.paths.tmp, { recursive: true });
    const text = await full.client.text('bash', { command: 'seq 1 100000' });
    expect(text).toMatch(/^\[output truncated\]\n\[the rest could not be kept \(ENOENT\); its end:\]\n/);
    expect(text.endsWith('\n100000')).toBe(true);
  });

  test('binary output becomes text, without terminal sequences and control characters', async () => {
    expect(await bash("printf '\\033[1;31mred\\033[0m\\r\\n\\033]0;title\\007tab\\tbell\\007nul\\000\\377\\376ok'")).toBe(
      'red\ntab\tbellnul\ufffd\ufffdok',
    );
    const noise = await bash('head -c 500000 /dev/urandom');
    expect(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(noise)).toBe(false);
  });

  test('endless output does not grow the memory of the daemon', async () => {
    await bashError('yes "$(head -c 100000 /dev/zero | tr "\\0" y)"', { timeout_ms: 1_500 });
    const status = readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8');
    expect(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1])).toBeLessThan(200 * 1024);
  });

  test('a command with a NUL character or nothing to do is refused with a reason', async () => {
    expect(await bashError('echo a\0b')).toMatch(/NUL/);
    expect(await client.error('bash', {})).toBe('bash: command is required unless restart is true');
    expect(await client.error('bash', { command: '', restart: false })).toMatch(/command is required/);
    expect(await client.error('bash', { command: 'true', timeout_ms: 'soon' })).toMatch(/timeout_ms/);
    expect(await client.error('bash', { command: 'true', timeout_ms: 0 })).toMatch(/timeout_ms/);
    expect(await client.error('bash', { command: 'true', colour: 'red' })).toBe(
      'bash: unknown field "colour"; there are command, restart, timeout_ms',
    );
  });
});
