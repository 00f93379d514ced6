import { symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { detectMedia, HAND_MAX_FRAME_BYTES, IMAGE_MAX_BYTES, type ToolResult } from '@manyhands/contract';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mediaProblem } from '../src/tools/media.ts';
import { callOf, type DaemonProcess, startDaemon } from './daemon-process.ts';
import { GIF, JPEG, pdf, png, WEBP_LOSSLESS, WEBP_LOSSY } from './media-samples.ts';

let daemon: DaemonProcess;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon[Symbol.asyncDispose]());

const put = (name: string, content: string | Buffer) => writeFileSync(join(daemon.paths.workspace, name), content);
const read = (name: string, more: object = {}) => daemon.client.call('read', { file_path: name, ...more });
const error = (name: string, more: object = {}) => daemon.client.error('read', { file_path: name, ...more });
const block = (type: string, mediaType: string, bytes: Buffer): ToolResult =>
  ({
    is_error: false,
    content: [{ type, source: { type: 'base64', media_type: mediaType, data: bytes.toString('base64') } }],
  }) as ToolResult;

describe('reading an image', () => {
  test.each([
    ['image/png', png(3, 2)],
    ['image/jpeg', JPEG],
    ['image/gif', GIF],
    ['image/webp', WEBP_LOSSY],
    ['image/webp', WEBP_LOSSLESS],
  ])('%s is an image block, whatever the file is called', async (mediaType, bytes) => {
    put('picture.txt', bytes);
    expect(await read('picture.txt')).toEqual(block('image', mediaType, bytes));
  });

  test('text that is called an image, or begins like one, is text', async () => {
    put('fake.png', 'no picture');
    expect(await daemon.client.text('read', { file_path: 'fake.png' })).toBe('no picture');
    put('notes.txt', 'GIF89a is how a GIF begins\n');
    expect(await daemon.client.text('read', { file_path: 'notes.txt', view_range: [1, 1] })).toBe('GIF89a is how a GIF begins');
    put('about.txt', '%PDF-1.7 is how a PDF begins\n');
    expect(await daemon.client.text('read', { file_path: 'about.txt' })).toBe('%PDF-1.7 is how a PDF begins\n');
  });

  test('one at the limit of 5 MB in base64 is shown, one byte more is refused with its size', async () => {
    const frame = png(3, 2, 1).length - 1;
    put('largest', png(3, 2, IMAGE_MAX_BYTES - frame));
    expect((await read('largest')).content[0]).toMatchObject({ type: 'image' });
    put('too-large', png(3, 2, IMAGE_MAX_BYTES - frame + 1));
    expect(await error('too-large')).toBe(
      `read: too-large is image/png of ${IMAGE_MAX_BYTES + 1} bytes, exceeds ${IMAGE_MAX_BYTES}-byte limit; make it smaller with bash`,
    );
  });

  test('one above 8,000 pixels on a side is refused with its size', async () => {
    put('wide', png(8_001, 1));
    expect(await error('wide')).toMatch(/8001 × 1 pixels.*8000/);
    put('tall', png(1, 8_000));
    expect((await read('tall')).is_error).toBe(false);
  });

  test('one that is not whole is refused: a model API would refuse the conversation for it', async () => {
    for (const [name, bytes] of Object.entries({ png: png(3, 2), jpeg: JPEG, gif: GIF, webp: WEBP_LOSSY })) {
      put(name, bytes);
      truncateSync(join(daemon.paths.workspace, name), Math.floor(bytes.length * 0.7));
      expect(await error(name)).toMatch(/cannot be shown: it is damaged or not whole/);
    }
    put('nothing', png(0, 0));
    expect(await error('nothing')).toMatch(/damaged/);
  });

  test('many that nobody acknowledged are kept by a daemon with the small heap that it has in a sandbox', async () => {
    await using small = await startDaemon({ NODE_OPTIONS: '--max-old-space-size=96 --max-semi-space-size=1' });
    writeFileSync(join(small.paths.workspace, 'picture'), png(3, 2, 750_000));
    const keys = Array.from({ length: 140 }, (_, at) => `picture-${at}`);
    await Promise.all(keys.map((key) => small.client.ask({ op: 'start', key, tool: 'read', input: { file_path: 'picture' } })));
    for (const key of keys) {
      const state = callOf(await small.client.ask({ op: 'wait', key, wait_ms: 20_000 }));
      expect(state.state === 'done' && state.outcome.content[0]?.type).toBe('image');
    }
    expect(callOf(await small.client.ask({ op: 'wait', key: keys[0]!, wait_ms: 0 })).state).toBe('done');
  }, 90_000);

  test('a range is for text, and links do not lead out', async () => {
    put('ranged', png(3, 2));
    expect(await error('ranged', { view_range: [1, 2] })).toMatch(/image\/png; view_range is for text/);
    symlinkSync('/usr/share/pixmaps/some.png', join(daemon.paths.workspace, 'out.png'));
    expect(await error('out.png')).toMatch(/outside/);
  });
});

describe('reading a PDF', () => {
  test.each([false, true])('is a document block (page tree packed: %s)', async (packed) => {
    const bytes = pdf(100, { packed });
    put('paper', bytes);
    expect(await read('paper')).toEqual(block('document', 'application/pdf', bytes));
  });

  test.each([false, true])('one of more than 100 pages is refused (page tree packed: %s)', async (packed) => {
    put('book', pdf(101, { packed }));
    expect(await error('book')).toMatch(/101 pages, above the limit of 100/);
  });

  test('an encrypted or damaged one is refused', async () => {
    put('locked', pdf(1, { trailer: '/Encrypt 9 0 R' }));
    expect(await error('locked')).toMatch(/encrypted/);
    put('cut', pdf(1).subarray(0, 80));
    expect(await error('cut')).toMatch(/damaged or not whole/);
  });

  test('the largest fits into a frame, and one byte more is refused', async () => {
    const limit = (7 * 1024 * 1024 * 3) / 4;
    const frame = pdf(1).length;
    put('largest.pdf', pdf(1, { filler: limit - frame }));
    const outcome = await read('largest.pdf');
    expect(outcome.content[0]).toMatchObject({ type: 'document' });
    expect(JSON.stringify(outcome).length).toBeLessThan(HAND_MAX_FRAME_BYTES - 1_000);
    put('too-large.pdf', pdf(1, { filler: limit - frame + 1 }));
    expect(await error('too-large.pdf')).toMatch(/exceeds 5505024-byte limit/);
  });
});

describe('a look into a file', () => {
  const samples = [png(3, 2), JPEG, GIF, WEBP_LOSSY, WEBP_LOSSLESS, pdf(2), pdf(2, { packed: true })];

  test('ends with an answer for whatever was done to it', () => {
    const damaged = fc
      .tuple(fc.constantFrom(...samples), fc.nat(), fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }))
      .map(([sample, cut, changes]) => {
        const bytes = Buffer.from(sample.subarray(0, cut % 3 === 0 ? sample.length : cut % (sample.length + 1)));
        for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
        return bytes;
      });
    fc.assert(
      fc.property(damaged, (bytes) => {
        const type = detectMedia(bytes);
        if (type !== null) expect(['string', 'object']).toContain(typeof mediaProblem(type, bytes));
      }),
      { numRuns: 2_000 },
    );
  });

  test('does not take long for a PDF made to take long', () => {
    for (const part of ['/Type /Pages /Count 1 ', '<< /Type /Pages', '/Type /ObjStm stream\n', '/Count 9 ']) {
      const bytes = Buffer.from(`%PDF-1.7\n${part.repeat(5_000_000 / part.length)}\n%%EOF`);
      const startedAt = performance.now();
      mediaProblem('application/pdf', bytes);
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    }
  });
});
