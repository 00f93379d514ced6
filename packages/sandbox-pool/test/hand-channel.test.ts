import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { temporaryDirectory } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { connectHand } from '../src/hand-channel.ts';
import { keepHeartbeat } from '../src/heartbeat.ts';
import { frame, scriptedHand } from './scripted-hand.ts';

describe('the channel to a hand', () => {
  test('answers find their questions, in whatever order and pieces they come', async () => {
    const held: number[] = [];
    await using hand = await scriptedHand(({ id }, _send, socket) => {
      held.push(id);
      if (held.length < 3) return;
      const bytes = Buffer.concat(held.reverse().map((each) => frame({ id: each, ok: true, bytes: each })));
      for (const byte of bytes) socket.write(Buffer.from([byte]));
    });
    const answers = await Promise.all([1, 2, 3].map(() => hand.sandbox.channel.request({ op: 'ping' }, 5_000)));
    expect(answers.map(({ bytes }) => bytes)).toEqual([1, 2, 3]);
  });

  test('an error of the hand is an error of that request only', async () => {
    await using hand = await scriptedHand(({ id, op }, send) =>
      send(op === 'ping' ? { id, ok: true } : { id, ok: false, error: 'no such tool' }),
    );
    await expect(hand.sandbox.channel.request({ op: 'start', key: 'k', tool: 'x', input: {} }, 5_000)).rejects.toMatchObject({
      code: 'internal',
      message: 'no such tool',
    });
    await expect(hand.sandbox.channel.request({ op: 'ping' }, 5_000)).resolves.toMatchObject({ ok: true });
  });

  const offences: [string, (id: number) => Buffer][] = [
    ['a frame above the limit', () => Buffer.from([0x7f, 0xff, 0xff, 0xff])],
    ['text that is no JSON', () => frame('{"id":')],
    ['an answer to a question nobody asked', () => frame({ id: 999, ok: true })],
    ['an answer of another shape', (id) => frame({ id, ok: true, call: { state: 'done', outcome: { is_error: 'no', content: 7 } } })],
    ['a bare value', () => frame(null)],
  ];
  test.each(offences)('%s ends the channel and everything that waits on it', async (_name, offence) => {
    await using hand = await scriptedHand(({ id }, _send, socket) => void socket.write(offence(id)));
    await expect(hand.sandbox.channel.request({ op: 'ping' }, 5_000)).rejects.toMatchObject({ code: 'unavailable' });
    expect(await hand.sandbox.channel.closed).toMatch(/broke the protocol/);
    await expect(hand.sandbox.channel.request({ op: 'ping' }, 5_000)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('an answer that comes too late is forgotten without harm', async () => {
    let late: (() => void) | undefined;
    await using hand = await scriptedHand(({ id }, send) => {
      if (late) {
        late();
        send({ id, ok: true });
      } else late = () => send({ id, ok: true });
    });
    await expect(hand.sandbox.channel.request({ op: 'ping' }, 20)).rejects.toMatchObject({ code: 'timeout' });
    await expect(hand.sandbox.channel.request({ op: 'ping' }, 5_000)).resolves.toMatchObject({ ok: true });
  });

  test('a request too large for a frame is refused before it is sent', async () => {
    await using hand = await scriptedHand(({ id }, send) => send({ id, ok: true }));
    const input = { text: 'x'.repeat(9 * 1024 * 1024) };
    await expect(hand.sandbox.channel.request({ op: 'start', key: 'k', tool: 'bash', input }, 5_000)).rejects.toThrow(/at most 8388608/);
    expect(hand.sandbox.channel.isOpen).toBe(true);
  });

  test('a hand that stops answering is given up after two pings', async () => {
    await using hand = await scriptedHand(() => {});
    keepHeartbeat(hand.sandbox.channel, { intervalMs: 5, deadlineMs: 20 });
    expect(await hand.sandbox.channel.closed).toBe('the hand does not answer');
  });
});

describe('the socket of a hand', () => {
  test('a link in its place is not followed, wherever it leads', async () => {
    await using directory = await temporaryDirectory('hand-socket');
    let reached = 0;
    const other = net.createServer(() => reached++).listen(path.join(directory.path, 'other.sock'));
    const run = path.join(directory.path, 'run');
    await mkdir(run);
    await symlink(path.join(directory.path, 'other.sock'), path.join(run, 'hand.sock'));
    await expect(connectHand(run)).rejects.toMatchObject({ code: 'unavailable' });
    expect(reached).toBe(0);
    await new Promise((resolve) => other.close(resolve));
  });

  test('a file in its place is refused, and none at all too', async () => {
    await using directory = await temporaryDirectory('hand-socket');
    await expect(connectHand(directory.path)).rejects.toMatchObject({ code: 'unavailable' });
    await writeFile(path.join(directory.path, 'hand.sock'), 'not a socket');
    await expect(connectHand(directory.path)).rejects.toThrow(/is not a socket/);
    await rename(path.join(directory.path, 'hand.sock'), path.join(directory.path, 'moved'));
  });
});
