/** How a conversation looks. */
import { expect, test } from 'vitest';
import { plainRenderer, terminalRenderer } from '../src/chat/renderer.ts';
import type { ToolResult, ToolUse } from '../src/chat/session-events.ts';
import { describeResult, describeUse, harmless, sizeText } from '../src/chat/tool-line.ts';

const USE = { id: 'sevt_1', type: 'agent.tool_use', processed_at: '', name: 'bash', input: { command: 'ls\n-la' } } as ToolUse;
const result = (text: string, isError = false) =>
  ({
    id: 'sevt_2',
    type: 'agent.tool_result',
    processed_at: '',
    tool_use_id: 'sevt_1',
    content: [{ type: 'text', text }],
    is_error: isError,
  }) as ToolResult;

function sink(columns = 80) {
  let text = '';
  return {
    columns,
    write(part: string) {
      text += part;
    },
    get text() {
      return text;
    },
  };
}

test('a tool call is one line with the size of its result', () => {
  expect(`${describeUse(USE, 80)} -> ${describeResult(result('x'.repeat(1234)))}`).toBe('bash ls -la -> 1.2 kB');
  expect(describeUse({ name: 'bash', input: { command: 'x'.repeat(100) } }, 20)).toHaveLength(20);
  expect(describeUse({ name: 'odd', input: { a: [1] } }, 80)).toBe('odd {"a":[1]}');
});

test('a failed tool call shows the beginning of its error', () => {
  expect(describeResult(result('no such\nfile', true))).toBe('error, 12 B: no such file');
});

test('of a search the number of results is told', () => {
  const found = {
    type: 'search_result',
    source: 'https://a.example/',
    title: 'A',
    content: [{ type: 'text', text: 'x' }],
    citations: { enabled: false },
  } as const;
  const told = (count: number) =>
    describeResult({ content: Array.from({ length: count }, () => ({ ...found, content: [...found.content] })) });
  expect([told(1), told(2)]).toEqual(['1 result', '2 results']);
});

test('sizes are told in bytes of their encoding', () => {
  expect([0, 999, 1000, 1_500_000].map(sizeText)).toEqual(['0 B', '999 B', '1.0 kB', '1.5 MB']);
  expect(describeResult(result('é'))).toBe('2 B');
});

test('what an agent says cannot steer the terminal', () => {
  expect(harmless('a\x1b[2Jb\x07\u009bc\r\td\n')).toBe('a[2Jbc\td\n');
});

test('plain output has the answer on stdout and all else on stderr', () => {
  const [out, err] = [sink(), sink()];
  const renderer = plainRenderer(out, err);
  renderer.text('It is ');
  renderer.text('done.');
  renderer.textEnd();
  renderer.toolUse(USE);
  renderer.toolResult(USE, result('12345'));
  renderer.notice('connection lost');
  expect(out.text).toBe('It is done.\n');
  expect(err.text).toBe('[bash ls -la -> 5 B]\n[connection lost]\n');
});

test('on a terminal a running call is a line that its result completes', () => {
  const out = sink();
  const renderer = terminalRenderer(out);
  renderer.text('Look:');
  renderer.textEnd();
  renderer.toolUse(USE);
  renderer.toolResult(USE, result('12345'));
  const lines = out.text.replaceAll(/[^\n]*\r/g, '').replaceAll(/\x1b\[[0-9;]*[a-zA-Z]/g, '');
  expect(lines).toBe('Look:\n  bash ls -la → 5 B\n');
});
