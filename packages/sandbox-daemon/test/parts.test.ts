import { describe, expect, test } from 'vitest';
import { createTailBuffer } from '../src/limits/tail-buffer.ts';
import { createCalls } from '../src/server/calls.ts';
import { createFrameDecoder, encodeFrame } from '../src/server/frames.ts';
import { pathsUnder, readSettings, shellEnvironment } from '../src/settings.ts';
import { quoteForBash } from '../src/shell/bash-shell.ts';
import { cleanContents, cleanOutput, decodeTail } from '../src/tools/clean-text.ts';
import { expandBraces, matchesName, parseGlob } from '../src/tools/glob-pattern.ts';
import { success } from '../src/tools/tool-result.ts';

describe('the tail buffer', () => {
  test('keeps exactly the last bytes, for any cut of the stream', () => {
    for (const capacity of [1, 7, 100]) {
      for (const size of [1, 3, 7, 8, 50, 250]) {
        const tail = createTailBuffer(capacity);
        const stream = Buffer.from(Array.from({ length: 500 }, (_, index) => index % 251));
        for (let at = 0; at < stream.length; at += size) {
          tail.push(stream.subarray(at, at + size));
          const end = Math.min(stream.length, at + size);
          const { bytes, truncated } = tail.read();
          expect(bytes.equals(stream.subarray(Math.max(0, end - capacity), end))).toBe(true);
          expect(truncated).toBe(end > capacity);
        }
      }
    }
  });

  test('is empty before anything came', () => {
    const tail = createTailBuffer(10);
    tail.push(Buffer.alloc(0));
    expect(tail.read()).toEqual({ bytes: Buffer.alloc(0), truncated: false });
  });
});

describe('frames', () => {
  test('survive any cut', () => {
    const messages = [{ a: 1 }, 'é'.repeat(10), [null], { deep: { text: 'x'.repeat(300) } }];
    const stream = Buffer.concat(messages.map((message) => encodeFrame(message)));
    for (let size = 1; size < stream.length; size += 13) {
      const seen: unknown[] = [];
      const decode = createFrameDecoder((message) => seen.push(message));
      for (let at = 0; at < stream.length; at += size) decode(stream.subarray(at, at + size));
      expect(seen).toEqual(messages);
    }
  });
});

describe('text', () => {
  test('terminal sequences and control characters go, the rest stays', () => {
    expect(cleanOutput('\u001b[1;31mred\u001b[0m \u001b]8;;http://x\u0007link\u001b]8;;\u001b\\ \u001b(Bend\r\n\ttab\u0085\u007f')).toBe(
      'red link end\n\ttab',
    );
    expect(cleanContents('a\r\nb\u0000\u001bc\td')).toBe('a\r\nbc\td');
  });

  test('a tail that starts inside a character loses that character only', () => {
    const bytes = Buffer.from('€uro');
    expect([0, 1, 2, 3].map((cut) => decodeTail(bytes.subarray(cut)))).toEqual(['€uro', 'uro', 'uro', 'uro']);
  });

  test('any text is one word for bash', () => {
    expect(quoteForBash("it's")).toBe(`'it'\\''s'`);
  });
});

describe('glob patterns', () => {
  test('braces expand in order, nested ones too, and unmatched ones are plain', () => {
    expect(expandBraces('a{b,c{d,e}}f')).toEqual(['abf', 'acdf', 'acef']);
    expect(expandBraces('{a}{b')).toEqual(['{a}{b']);
    expect(expandBraces('x\\{a,b}')).toEqual(['x\\{a,b}']);
  });

  test.each([
    ['*', 'name', true],
    ['*', '.name', false],
    ['.*', '.name', true],
    ['?ame', 'name', true],
    ['[a-m]ame', 'name', false],
    ['[!a-m]ame', 'name', true],
    ['[]]x', ']x', true],
    ['[open', '[open', true],
    ['n*m*', 'name', true],
    ['*.ts', 'a.ts.js', false],
    ['\\*', 'x', false],
    ['\\*', '*', true],
    ['é?', 'é😀', true],
  ])('%s and %s: %s', (pattern, name, matches) => {
    const segment = parseGlob(pattern)[0]?.[0];
    if (segment?.kind !== 'name') throw new Error('not a name');
    expect(matchesName(segment, name)).toBe(matches);
  });
});

describe('settings', () => {
  test('hide what belongs to the machinery, whatever its case', () => {
    const env = shellEnvironment(
      { anthropic_api_key: 'x', MANYHANDS_HAND_ROOT: 'x', BASH_ENV: 'x', MY_ANTHROPIC_NOTE: 'kept', PATH: '/p' },
      pathsUnder('/'),
      3128,
    );
    expect(env).toMatchObject({ PATH: '/p', MY_ANTHROPIC_NOTE: 'kept', HOME: '/workspace', HTTPS_PROXY: 'http://127.0.0.1:3128' });
    expect(Object.keys(env).filter((name) => /^(anthropic|manyhands)_|^bash_env/i.test(name))).toEqual([]);
  });

  test('have the paths of the contract by default and name what is wrong', () => {
    expect(readSettings({}).paths).toMatchObject({ handSocket: '/run/manyhands/hand.sock', exchange: '/run/exchange', tmp: '/tmp' });
    expect(() => readSettings({ MANYHANDS_HAND_PROXY_PORT: '99999' })).toThrow(/MANYHANDS_HAND_PROXY_PORT.*65535/);
  });
});

describe('calls', () => {
  test('the last 10,000 acknowledged keys are refused, older ones are forgotten', async () => {
    const ran: string[] = [];
    const calls = createCalls(async (tool) => {
      ran.push(tool);
      return success('ok');
    });
    calls.acknowledge(['oldest']);
    calls.acknowledge(Array.from({ length: 10_000 }, (_, index) => `key-${index}`));
    expect(calls.start('key-0', 'late', {})).toEqual({ state: 'unknown' });
    expect(calls.start('oldest', 'again', {})).toEqual({ state: 'running' });
    expect(ran).toEqual(['again']);
  });

  test('the outcome of a call that was acknowledged while it ran is not kept', async () => {
    let finish = (): void => undefined;
    const calls = createCalls(
      () =>
        new Promise((resolve) => {
          finish = () => resolve(success('late'));
        }),
    );
    calls.start('key', 'bash', {});
    calls.acknowledge(['key']);
    const waited = calls.wait('key', 5_000);
    finish();
    expect(await waited).toMatchObject({ state: 'done' });
    expect(await calls.wait('key', 0)).toEqual({ state: 'unknown' });
  });
});
