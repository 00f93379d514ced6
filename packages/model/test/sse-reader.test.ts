/** The reader of server-sent events: what it understands does not depend on where the bytes are cut. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createSseReader } from '../src/openai/sse-reader.ts';

function read(text: string, cuts: readonly number[] = []): string[] {
  const bytes = Buffer.from(text);
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  const reader = createSseReader();
  return [0, ...at].flatMap((from, n) => reader.push(bytes.subarray(from, at[n] ?? bytes.length)));
}

test('events are told by their data, whatever ends a line, and everything else is skipped', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const lines = [
      '\uFEFF: hello',
      'data: one',
      '',
      'event: x',
      'id: 7',
      'data:two',
      'data:  three',
      '',
      '',
      'retry: 5',
      '',
      'data',
      '',
      'data: lost',
    ];
    expect(read(lines.join(end))).toEqual(['one', 'two\n three', '']);
  }
});

test('any cut of any stream, inside of characters and line ends too, gives the same events', () => {
  const line = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `data: ${text.replace(/[\r\n]/g, '')}`),
    fc.constantFrom('', '', ': ping', 'event: message', 'data', 'data: é世🌍', 'id: 1'),
  );
  const end = fc.constantFrom('\n', '\r\n', '\r');
  const stream = fc.array(fc.tuple(line, end), { maxLength: 30 }).map((lines) => lines.map(([text, ending]) => text + ending).join(''));
  fc.assert(
    fc.property(stream, fc.array(fc.nat(), { maxLength: 40 }), (text, cuts) => {
      expect(read(text, cuts)).toEqual(read(text));
    }),
    { numRuns: 500 },
  );
});

test('an event without an end does not fill the memory', () => {
  const reader = createSseReader();
  const piece = Buffer.from(`data: ${'x'.repeat(1024 * 1024)}`);
  expect(() => {
    for (let n = 0; n < 40; n++) reader.push(piece);
  }).toThrow(/without an end/);
});
