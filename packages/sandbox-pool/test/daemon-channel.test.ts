import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { connectDaemon } from '../src/drivers/daemon-channel.ts';
import { keepHeartbeat } from '../src/pool/heartbeat.ts';
import { frame, scriptedDaemon } from './scripted-daemon.ts';

describe('the channel to a daemon', () => {
  test('answers find their questions, in whatever order and pieces they come', async () => {
    const held: number[] = [];
    await using daemon = await scriptedDaemon(({ id }, _send, socket) => {
      held.push(id);
      if (held.length < 3) return;
      const bytes = Buffer.concat(held.reverse().map((each) => frame({ id: each, ok: true, bytes: each })));
      for (const byte of bytes) socket.write(Buffer.from([byte]));
    });
    const answers = await Promise.all([1, 2, 3].map(() => daemon.sandbox.channel.request({ op: 'ping' }, 5_000)));
    expect(answers.map(({ bytes }) => bytes)).toEqual([1, 2, 3]);
  });

  test('an error of the daemon is an error of that request only', async () => {
    await using daemon = await scriptedDaemon(({ id, op }, send) =>
      send(op === 'ping' ? { id, ok: true } : { id, ok: false, error: 'no such tool' }),
    );
    await expect(daemon.sandbox.channel.request({ op: 'start', key: 'k', tool: 'x', input: {} }, 5_000)).rejects.toMatchObject({
      code: 'internal',
      message: 'no such tool',
    });
    await expect(daemon.sandbox.channel.request({ op: 'ping' }, 5_000)).resolves.toMatchObject({ ok: true });
  });

  const offences: [string, (id: number) => Buffer][] = [
    ['a frame above the limit', () => Buffer.from([0x7f, 0xff, 0xff, 0xff])],
    ['text that is no JSON', () => frame('{"id":')],
    ['an answer to a question nobody asked', () => frame({ id: 999, ok: true })],
    ['an answer of another shape', (id) => frame({ id, ok: true, call: { state: 'done', outcome: { is_error: 'no', content: 7 } } })],
    ['a bare value', () => frame(null)],
  ];
  test.each(offences)('%s ends the channel and everything that waits on it', async (_name, offence) => {
    await using daemon = await scriptedDaemon(({ id }, _send, socket) => void socket.write(offence(id)));
    await expect(daemon.sandbox.channel.request({ op: 'ping' }, 5_000)).rejects.toMatchObject({ code: 'unavailable' });
    expect(await daemon.sandbox.channel.closed).toMatch(/broke the protocol/);
    await expect(daemon.sandbox.channel.request({ op: 'ping' }, 5_000)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('an answer that comes too late is forgotten without harm', async () => {
    let late: (() => void) | undefined;
    await using daemon = await scriptedDaemon(({ id }, send) => {
      if (late) {
        late();
        send({ id, ok: true });
      } else late = () => send({ id, ok: true });
    });
    await expect(daemon.sandbox.channel.request({ op: 'ping' }, 20)).rejects.toMatchObject({ code: 'timeout' });
    await expect(daemon.sandbox.channel.request({ op: 'ping' }, 5_000)).resolves.toMatchObject({ ok: true });
  });

  test('a request too large for a frame is refused before it is sent', async () => {
    await using daemon = await scriptedDaemon(({ id }, send) => send({ id, ok: true }));
    const input = { text: 'x'.repeat(9 * 1024 * 1024) };
    await expect(daemon.sandbox.channel.request({ op: 'start', key: 'k', tool: 'bash', input }, 5_000)).rejects.toThrow(/at most 8388608/);
    expect(daemon.sandbox.channel.isOpen).toBe(true);
  });

  test('a daemon that stops answering is given up after two pings', async () => {
    await using daemon = await scriptedDaemon(() => {});
    keepHeartbeat(daemon.sandbox.channel, { intervalMs: 5, deadlineMs: 20 });
    expect(await daemon.sandbox.channel.closed).toBe('the daemon does not answer');
  });
});

describe('the socket of a daemon', () => {
  test('a link in its place is not followed, wherever it leads', async () => {
    await using directory = await temporaryDirectory('daemon-socket');
    let reached = 0;
    const other = net.createServer(() => reached++).listen(path.join(directory.path, 'other.sock'));
    const run = path.join(directory.path, 'run');
    await mkdir(run);
    await symlink(path.join(directory.path, 'other.sock'), path.join(run, 'hand.sock'));
    await expect(connectDaemon(run)).rejects.toMatchObject({ code: 'unavailable' });
    expect(reached).toBe(0);
    await new Promise((resolve) => other.close(resolve));
  });

  test('a file in its place is refused, and none at all too', async () => {
    await using directory = await temporaryDirectory('daemon-socket');
    await expect(connectDaemon(directory.path)).rejects.toMatchObject({ code: 'unavailable' });
    await writeFile(path.join(directory.path, 'hand.sock'), 'not a socket');
    await expect(connectDaemon(directory.path)).rejects.toThrow(/is not a socket/);
    await rename(path.join(directory.path, 'hand.sock'), path.join(directory.path, 'moved'));
  });
});
