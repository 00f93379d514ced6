import { setImmediate, setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { childOf, currentTrace, newTraceparent, parseTraceparent, withTrace } from '../src/index.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const GIVEN = `00-${TRACE}-${SPAN}-01`;

describe('a traceparent', () => {
  test.each([GIVEN, `00-${TRACE}-${SPAN}-00`, `00-${TRACE}-${SPAN}-ff`])('%s is taken as it is', (text) => {
    expect(parseTraceparent(text)).toBe(text);
  });

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['empty text', ''],
    ['another version', `01-${TRACE}-${SPAN}-01`],
    ['the forbidden version', `ff-${TRACE}-${SPAN}-01`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
    ['a span id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['upper case', GIVEN.toUpperCase()],
    ['a trace id that is too short', `00-${TRACE.slice(1)}-${SPAN}-01`],
    ['a span id that is too long', `00-${TRACE}-${SPAN}0-01`],
    ['no flags', `00-${TRACE}-${SPAN}`],
    ['something behind the flags', `${GIVEN}-more`],
    ['space around it', ` ${GIVEN}`],
    ['a line end behind it', `${GIVEN}\n`],
    ['what is not hexadecimal', `00-${TRACE.replace('4', 'g')}-${SPAN}-01`],
  ])('with %s is none', (_what, text) => {
    expect(parseTraceparent(text)).toBeNull();
  });

  test('that is new is valid, of its own trace, and not marked as sampled', () => {
    const [one, two] = [newTraceparent(), newTraceparent()];
    expect(parseTraceparent(one)).toBe(one);
    expect(one.split('-')[1]).not.toBe(two.split('-')[1]);
    expect(one.endsWith('-00')).toBe(true);
  });

  test('of a child has the trace and the flags of its parent and a span of its own', () => {
    const child = childOf(GIVEN);
    expect(parseTraceparent(child)).toBe(child);
    expect(child).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
    expect(child).not.toBe(GIVEN);
    expect(childOf(GIVEN)).not.toBe(child);
  });

  test('of a child of what is not valid begins a new trace', () => {
    const child = childOf('nonsense');
    expect(parseTraceparent(child)).toBe(child);
  });
});

describe('the current trace', () => {
  test('is that of the work, across whatever it waits for, and of no work beside it', async () => {
    const seen = async () => {
      await setTimeout(1);
      await setImmediate();
      return currentTrace();
    };
    const other = newTraceparent();
    expect(await Promise.all([withTrace(GIVEN, seen), withTrace(other, seen), seen()])).toEqual([GIVEN, other, null]);
    expect(currentTrace()).toBeNull();
  });

  test('is the innermost one, and none where that was wanted', () => {
    withTrace(GIVEN, () => {
      const inner = childOf(GIVEN);
      expect(withTrace(inner, currentTrace)).toBe(inner);
      expect(withTrace(null, currentTrace)).toBeNull();
      expect(currentTrace()).toBe(GIVEN);
    });
  });
});
