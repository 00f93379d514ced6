/** Reading JSON from anywhere: the same values as ever, the place of what is wrong, and a bound on everything that may hurt. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DEPTH_MAX, parseJson, VALUES_MAX } from '../src/http/body/json.ts';

const read = (text: string | Buffer) => parseJson(Buffer.from(text as string));
function refusal(text: string | Buffer): string {
  try {
    read(text);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`was read: ${text.toString()}`);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test.each([
  ['', 'it ends too early, at line 1, column 1'],
  ['{"name": a}', 'unexpected "a" at line 1, column 10'],
  ['{"name": "a",\n "model" "m"}', 'unexpected "\\"" at line 2, column 10'],
  ['{"name": "a', 'it ends too early, at line 1, column 12'],
  ['{"a":1,}', 'unexpected "}" at line 1, column 8'],
  ['[1,]', 'unexpected "]" at line 1, column 4'],
  ['[1 2]', 'unexpected "2" at line 1, column 4'],
  ['{} {}', 'unexpected "{" at line 1, column 4'],
  ["{'a':1}", 'unexpected "\'" at line 1, column 2'],
  ['{"a":01}', 'unexpected "1" at line 1, column 7'],
  ['{"a":tru}', 'unexpected "t" at line 1, column 6'],
  ['["a\tb"]', 'unexpected "\\t" at line 1, column 4'],
  ['["\\x"]', 'unexpected "\\\\" at line 1, column 3'],
  ['\ufeff{}', 'unexpected "\ufeff" at line 1, column 1'],
  ['[1,\n2,\n😀]', 'unexpected "😀" at line 3, column 1'],
  ['[1}', 'unexpected "}" at line 1, column 3'],
  ['// no\n{}', 'unexpected "/" at line 1, column 1'],
])('%j: the place is told', (text, told) => {
  expect(refusal(text)).toBe(`the body is not valid JSON: ${told}`);
});

test('of bytes that are no UTF-8, the first is told', () => {
  const told = (...parts: (string | number[])[]) => refusal(Buffer.concat(parts.map((part) => Buffer.from(part as string))));
  expect(told('{"', [0xff], '"}')).toBe('the body is not valid UTF-8: a wrong byte at 2, counted from 0');
  expect(told('{"é\ufffd😀', [0xc3], '"}', [0xff])).toMatch(/ at 11,/);
  expect(told('"', [0xed, 0xa0, 0x80], '"')).toMatch(/ at 1,/);
  expect(told('"abc', [0xf0, 0x9f])).toMatch(/ at 4,/);
});

test('what is deep, or much, is refused before it can hurt', () => {
  const nested = (open: string, close: string, depth: number) => open.repeat(depth) + close.repeat(depth);
  expect(read(nested('[', ']', DEPTH_MAX))).toEqual(expect.any(Array));
  const deeper = `the body is nested deeper than ${DEPTH_MAX} levels`;
  expect(refusal(nested('[', ']', DEPTH_MAX + 1))).toBe(deeper);
  expect(refusal('['.repeat(1_000_000))).toBe(deeper);
  expect(refusal(`["__proto__",${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}]`)).toBe(deeper);
  expect(refusal(`[${'1,'.repeat(VALUES_MAX)}1]`)).toMatch(/more than \d+ values/);
  // Brackets and commas in texts are text.
  const text = '[,{'.repeat(100_000);
  expect(read(JSON.stringify([text, `\\"${text}`, '\\']))).toEqual([text, `\\"${text}`, '\\']);
});

test.each([
  '{"__proto__":1}',
  '{"a":[{"__proto__":{"x":1}}]}',
  '{"\\u005f_proto__":1}',
  '{"\\u005F\\u005fproto__":1}',
  '{"__prot\\u006f__":1}',
])('%s: a key that would be lost is refused', (text) => {
  expect(refusal(text)).toMatch(/__proto__/);
});
test('the word alone is text, and other names of objects are names', () => {
  expect(read('{"a":"__proto__","constructor":1,"toString":2}')).toEqual(JSON.parse('{"a":"__proto__","constructor":1,"toString":2}'));
});

test('whatever is JSON is read as it is, and whatever is not is refused at a place up to which it could have been', () => {
  const damage = fc.record({ at: fc.nat(), drop: fc.nat({ max: 2 }), add: fc.string({ unit: 'binary', maxLength: 2 }) });
  fc.assert(
    fc.property(fc.json({ stringUnit: 'binary', maxDepth: 5 }), fc.option(damage), (json, harm) => {
      const at = harm ? harm.at % (json.length + 1) : 0;
      const text = harm ? json.slice(0, at) + harm.add + json.slice(at + harm.drop) : json;
      // What travels is bytes: halves of surrogate pairs do not.
      const sent = Buffer.from(text).toString('utf8');
      let meant: unknown;
      try {
        meant = JSON.parse(sent);
      } catch {
        const [, line, column] = /line (\d+), column (\d+)$/.exec(refusal(sent)) ?? [];
        const lines = sent.split('\n');
        const good = [...lines.slice(0, Number(line) - 1), lines[Number(line) - 1]!.slice(0, Number(column) - 1)].join('\n');
        // Either it is JSON by itself, or more had to come.
        if (!isJson(good)) expect(refusal(good)).toMatch(/it ends too early/);
        return;
      }
      if (!/"__proto__"\s*:/.test(sent)) expect(read(sent)).toEqual(meant);
    }),
    { numRuns: 300 },
  );
});

test('a key named __proto__ is refused by its path, however deep it stands (C26)', () => {
  expect(refusal('{"aaa_x": {"": {"__proto__": ""}}}')).toMatch(/^aaa_x\.\.__proto__: /);
  expect(refusal('{"tools": [{"x": 1}, {"__proto__": null}]}')).toMatch(/^tools\.1\.__proto__: /);
  expect(refusal(`{"${'k'.repeat(5_000)}": {"\\u005f_proto__": 1}}`).length).toBeLessThan(200);
});
