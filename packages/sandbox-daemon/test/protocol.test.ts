import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { HAND_MAX_FRAME_BYTES } from '@manyhands/contract';
import { until } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { callOf, isAlive, startDaemon } from './daemon-process.ts';

describe('calls by key (I4)', () => {
  test('a key starts once, however often and over whatever connection it is sent', async () => {
    await using daemon = await startDaemon();
    const counter = join(daemon.paths.workspace, 'counter');
    const start = { op: 'start', key: 'one', tool: 'bash', input: { command: `echo run >> ${counter}; sleep 0.3; echo done` } } as const;
    const other = await daemon.connect();
    const states = await Promise.all([daemon.client.ask(start), daemon.client.ask(start), other.ask(start)]);
    expect(states.map((reply) => callOf(reply).state)).toEqual(['running', 'running', 'running']);
    const ends = await Promise.all([daemon.client, other].map((client) => client.ask({ op: 'wait', key: 'one', wait_ms: 20_000 })));
    for (const end of ends) expect(callOf(end)).toMatchObject({ state: 'done', outcome: { is_error: false, content: [{ text: 'done' }] } });
    expect(callOf(await other.ask(start)).state).toBe('done');
    expect(readFileSync(counter, 'utf8')).toBe('run\n');
  });

  test('a call goes on when its connection breaks, and its outcome waits for whoever asks', async () => {
    await using daemon = await startDaemon();
    await daemon.client.ask({ op: 'start', key: 'left', tool: 'bash', input: { command: 'sleep 0.3; echo result' } });
    daemon.client.close();
    const next = await daemon.connect();
    expect(callOf(await next.ask({ op: 'wait', key: 'left', wait_ms: 20_000 }))).toMatchObject({
      state: 'done',
      outcome: { content: [{ text: 'result' }] },
    });
  });

  test('an acknowledged key is forgotten and never runs again, not even when its start arrives after the acknowledgement', async () => {
    await using daemon = await startDaemon();
    const marker = join(daemon.paths.workspace, 'ran');
    await daemon.client.call('bash', { command: 'true' }, 'early');
    await daemon.client.ask({ op: 'ack', keys: ['early', 'never-seen'] });
    for (const key of ['early', 'never-seen']) {
      expect(callOf(await daemon.client.ask({ op: 'start', key, tool: 'bash', input: { command: `touch ${marker}` } }))).toEqual({
        state: 'unknown',
      });
      expect(callOf(await daemon.client.ask({ op: 'wait', key, wait_ms: 1_000 }))).toEqual({ state: 'unknown' });
    }
    await daemon.client.call('bash', { command: 'true' });
    expect(existsSync(marker)).toBe(false);
  });

  test('a wait ends after its time, a cancel of an unknown key changes nothing', async () => {
    await using daemon = await startDaemon();
    await daemon.client.ask({ op: 'start', key: 'slow', tool: 'bash', input: { command: 'sleep 300' } });
    expect(callOf(await daemon.client.ask({ op: 'wait', key: 'slow', wait_ms: 50 })).state).toBe('running');
    expect(callOf(await daemon.client.ask({ op: 'cancel', key: 'other' })).state).toBe('unknown');
    expect(callOf(await daemon.client.ask({ op: 'cancel', key: 'slow' })).state).toBe('done');
  });

  test('an unknown tool and an unusable input are outcomes, not failures of the daemon', async () => {
    await using daemon = await startDaemon();
    expect(await daemon.client.error('web_fetch', { url: 'http://x' })).toMatch(/no tool named/);
    expect(await daemon.client.error('read', { file_path: 7, view_range: [1] })).toMatch(/file_path.*view_range/);
  });
});

describe('the socket', () => {
  test('requests that are not usable are answered; what is no protocol ends the connection, and the daemon lives on', async () => {
    await using daemon = await startDaemon();
    const bad = { op: 'snapshot', name: '../escape' } as const;
    expect(await daemon.client.ask(bad)).toMatchObject({ ok: false, error: expect.stringContaining('name') });
    for (const bytes of [
      lengthOf(HAND_MAX_FRAME_BYTES + 1),
      Buffer.concat([lengthOf(3), Buffer.from('{"x')]),
      Buffer.concat([lengthOf(2), Buffer.from('{}')]),
    ]) {
      const broken = await daemon.connect();
      const closed = new Promise((resolve) => broken.socket.once('close', resolve));
      broken.socket.write(bytes);
      await closed;
    }
    expect(await daemon.client.ask({ op: 'ping' })).toMatchObject({ ok: true });
  });

  test('frames cut anywhere and frames in one piece are both understood', async () => {
    await using daemon = await startDaemon();
    const content = 'é'.repeat(1_000_000);
    await daemon.client.text('write', { file_path: 'big', content });
    expect(readFileSync(join(daemon.paths.workspace, 'big'), 'utf8')).toBe(content);
    const replies = await Promise.all(Array.from({ length: 200 }, () => daemon.client.ask({ op: 'ping' })));
    expect(replies.every((reply) => reply.ok)).toBe(true);
  });

  test('a daemon without a pool ends by itself, and its shell with it', async () => {
    await using daemon = await startDaemon({ MANYHANDS_HAND_ORPHAN_MS: '1000' });
    const shell = Number(await daemon.client.text('bash', { command: 'sleep 300 & echo $$' }));
    const second = await daemon.connect();
    await second.ask({ op: 'ping' });
    daemon.client.close();
    expect(await second.text('bash', { command: 'sleep 1.2; echo alive' })).toBe('alive');
    second.close();
    expect(await daemon.exited).toBe(0);
    await until(() => !isAlive(shell), { what: 'the shell is gone' });
  });

  test('a setting that is not usable is named', async () => {
    await expect(startDaemon({ MANYHANDS_HAND_ORPHAN_MS: 'soon' })).rejects.toThrow(/MANYHANDS_HAND_ORPHAN_MS/);
  });
});

describe('snapshots', () => {
  test('a snapshot restores files, modes and links of workspace and outputs in another sandbox', async () => {
    await using daemon = await startDaemon();
    await using other = await startDaemon();
    await daemon.client.text('bash', {
      command: `mkdir -p d; echo text > d/f; echo run > x; chmod 755 x; ln -s d/f link; mkdir -m 500 closed; echo out > ${daemon.paths.outputs}/o; mkfifo pipe`,
    });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(daemon.paths.workspace, 'a.sock'), resolve));
    const reply = await daemon.client.ask({ op: 'snapshot', name: 'snap-1' });
    server.close();
    expect(reply).toMatchObject({ ok: true });
    const file = join(daemon.paths.exchange, 'snap-1');
    expect((reply as { bytes?: number }).bytes).toBe(readFileSync(file).length);
    writeFileSync(join(other.paths.exchange, 'snap-1'), readFileSync(file));
    expect(await other.client.ask({ op: 'restore', name: 'snap-1' })).toMatchObject({ ok: true });
    expect(await other.client.text('bash', { command: `cat link; stat -c %a x closed; cat ${other.paths.outputs}/o` })).toBe(
      'text\n755\n500\nout',
    );
    await daemon.client.text('bash', { command: 'chmod 700 closed' });
    await other.client.text('bash', { command: 'chmod 700 closed' });
  });

  test('an empty workspace can be slept and woken too, and odd names survive', async () => {
    await using daemon = await startDaemon();
    expect(await daemon.client.ask({ op: 'snapshot', name: 'empty' })).toMatchObject({ ok: true });
    expect(await daemon.client.ask({ op: 'restore', name: 'empty' })).toMatchObject({ ok: true });
    await daemon.client.text('bash', { command: `touch -- -rf --help $'new\\nline' $'bad\\377utf8' .hidden 'sp ace'` });
    expect(await daemon.client.ask({ op: 'snapshot', name: 'odd' })).toMatchObject({ ok: true });
    await daemon.client.text('bash', { command: 'find . -mindepth 1 -delete' });
    expect(await daemon.client.ask({ op: 'restore', name: 'odd' })).toMatchObject({ ok: true });
    expect(await daemon.client.text('bash', { command: 'ls -A | wc -l; ls -A | grep -c -e "-rf" -e .hidden' })).toBe('7\n2');
  });

  test('files that change and vanish while it is made do not spoil it', async () => {
    await using daemon = await startDaemon();
    await daemon.client.text('bash', {
      command:
        '(i=0; while [ $i -lt 5000 ]; do date >> growing; echo x > v$((i%50)); rm -f v$(((i+25)%50)); i=$((i+1)); done) & for i in $(seq 200); do head -c 20000 /dev/urandom > f$i; done',
    });
    for (const name of ['s-1', 's-2', 's-3']) expect(await daemon.client.ask({ op: 'snapshot', name })).toMatchObject({ ok: true });
    // Throws when the archive is not whole.
    execFileSync('gzip', ['--test', '--suffix', '-3', join(daemon.paths.exchange, 's-3')]);
  });

  test('a snapshot that is missing or damaged is an error that says so', async () => {
    await using daemon = await startDaemon();
    expect(await daemon.client.ask({ op: 'restore', name: 'missing' })).toMatchObject({
      ok: false,
      error: expect.stringMatching(/missing/),
    });
    writeFileSync(join(daemon.paths.exchange, 'damaged'), 'no gzip');
    expect(await daemon.client.ask({ op: 'restore', name: 'damaged' })).toMatchObject({ ok: false, error: expect.stringMatching(/gzip/) });
    rmSync(daemon.paths.exchange, { recursive: true });
    expect(await daemon.client.ask({ op: 'snapshot', name: 'nowhere' })).toMatchObject({ ok: false });
    mkdirSync(daemon.paths.exchange);
    symlinkSync('/etc', join(daemon.paths.workspace, 'etc'));
    expect(await daemon.client.ask({ op: 'snapshot', name: 'with-link' })).toMatchObject({ ok: true });
  });
});

describe('the way out', () => {
  test('bytes pass unchanged both ways, and each side may end first', async () => {
    await using daemon = await startDaemon();
    const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => echo.listen(daemon.paths.egressSocket, resolve));
    const sent = Buffer.alloc(300_000, 'bytes\0\xff');
    const client = connect({ port: daemon.proxyPort, host: '127.0.0.1', allowHalfOpen: true });
    const received: Buffer[] = [];
    client.on('data', (chunk: Buffer) => received.push(chunk));
    client.end(sent);
    await new Promise((resolve) => client.once('end', resolve));
    expect(Buffer.concat(received).equals(sent)).toBe(true);
    await new Promise((resolve) => echo.close(resolve));
  });

  test('a client that comes before the egress socket is held until it opens', async () => {
    await using daemon = await startDaemon();
    const client = connect({ port: daemon.proxyPort, host: '127.0.0.1' });
    client.write('early');
    await new Promise((resolve) => client.once('connect', resolve));
    const echo = createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => echo.listen(daemon.paths.egressSocket, resolve));
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toBe('early');
    client.destroy();
    await new Promise((resolve) => echo.close(resolve));
  });

  test('without an egress a client is told so', async () => {
    await using daemon = await startDaemon();
    const answer = await fetch(`http://127.0.0.1:${daemon.proxyPort}/`, { method: 'POST', body: 'x'.repeat(100_000) });
    expect(answer.status).toBe(502);
    expect(await answer.text()).toMatch(/no network way out right now/);
  });

  test('a port that is taken costs the network only', async () => {
    await using first = await startDaemon();
    await using second = await startDaemon({ MANYHANDS_HAND_PROXY_PORT: String(first.proxyPort) });
    expect(await second.client.text('bash', { command: 'echo works' })).toBe('works');
  });
});

function lengthOf(bytes: number): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(bytes);
  return header;
}
