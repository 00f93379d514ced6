import type { PreviewFrame } from '@manyhands/contract';
import type { SessionWriter } from '@manyhands/session-log';
import { expect, test } from 'vitest';
import { createPreviewSender } from '../src/thread/preview-sender.ts';

const LEASE = { sessionId: 'sesn_x', threadId: 'sthr_x', epoch: 1 };

test('text published in frames joins to what was said, starts come first, and numbers rise', async () => {
  const frames: PreviewFrame[] = [];
  let n = 0;
  const writer = {
    preview: async (_lease: object, batch: PreviewFrame[]) => void frames.push(...structuredClone(batch)),
  } as Partial<SessionWriter>;
  const sender = createPreviewSender(writer as SessionWriter, { ...LEASE, epoch: 3 }, 7, () => ++n);
  sender.start('a', 'agent.message');
  for (const word of ['one ', 'two ', 'three']) sender.text('a', word);
  sender.start('b', 'agent.message');
  sender.text('b', 'four');
  await sender.end();
  expect(frames.map(({ event_id, start, text }) => [event_id, start, text])).toEqual([
    ['a', true, ''],
    ['a', false, 'one two three'],
    ['b', true, ''],
    ['b', false, 'four'],
  ]);
  expect(frames.map((frame) => frame.n)).toEqual([1, 2, 3, 4]);
  expect(frames.every((frame) => frame.epoch === 3 && frame.after_position === 7)).toBe(true);
});

test('a failure to publish is no error of the turn', async () => {
  const writer = { preview: () => Promise.reject(new Error('down')) } as Partial<SessionWriter>;
  const sender = createPreviewSender(writer as SessionWriter, LEASE, 0, () => 1);
  sender.start('a', 'agent.message');
  await expect(sender.end()).resolves.toBeUndefined();
});
