/** Whatever a model sends: an outcome, always, and a daemon that lives on. */
import { readFileSync } from 'node:fs';
import { SANDBOX_TOOLS, ToolResult, toolText } from '@manyhands/contract';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DaemonProcess, startDaemon } from './daemon-process.ts';

let daemon: DaemonProcess;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon[Symbol.asyncDispose]());

/** Text that means something to some tool, and text that means nothing. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom(
    '',
    '.',
    '..',
    '/',
    '\0',
    'a',
    'a/b',
    '/etc/passwd',
    '**',
    '{',
    '[',
    '\\',
    '(',
    '*'.repeat(300),
    'x'.repeat(5_000),
    '\ud800',
  ),
);
/** Few commands: what random words do in a shell is not what is asked here. */
const command = fc.constantFrom(
  'true',
  'false',
  'echo x',
  'exit 3',
  'echo "',
  ')',
  'kill -9 $$',
  'printf "\\377\\0"',
  '\0',
  '#',
  ' ',
  'cd nowhere',
);
const value = fc.oneof(text, fc.jsonValue({ maxDepth: 3 }), fc.integer(), fc.boolean(), fc.constant(null));
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 3 });
const input = fc.record(
  {
    command: fc.oneof({ weight: 5, arbitrary: command }, { weight: 1, arbitrary: fc.constantFrom(null, 7, []) }),
    restart: fc.oneof(fc.boolean(), fc.constantFrom(null, 'yes')),
    timeout_ms: fc.oneof(fc.integer({ min: 2_000, max: 5_000 }), fc.constantFrom(-1, 0, 1.5, 1e99, '5')),
    file_path: fc.oneof(text, value),
    view_range: fc.oneof(fc.tuple(fc.integer(), fc.integer()), value),
    content: fc.oneof(text, value),
    old_string: fc.oneof(text, value),
    new_string: fc.oneof(text, value),
    replace_all: fc.oneof(fc.boolean(), value),
    pattern: fc.oneof(text, value),
    path: optional(fc.oneof(text, value)),
  },
  { requiredKeys: [] },
);
/** For each tool mostly its own fields, and sometimes any. */
const FIELDS: Record<(typeof SANDBOX_TOOLS)[number], string[]> = {
  bash: ['command', 'restart', 'timeout_ms'],
  read: ['file_path', 'view_range'],
  write: ['file_path', 'content'],
  edit: ['file_path', 'old_string', 'new_string', 'replace_all'],
  glob: ['pattern', 'path'],
  grep: ['pattern', 'path'],
};

test('any input to any tool gives a bounded outcome, and the daemon lives on', async () => {
  const { pid } = daemon.child;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...SANDBOX_TOOLS), input, fc.integer({ min: 0, max: 9 }), async (tool, fields, chance) => {
      const own = Object.entries(fields).filter(([name]) => chance === 0 || FIELDS[tool].includes(name));
      const outcome = ToolResult.parse(await daemon.client.call(tool, JSON.parse(JSON.stringify(Object.fromEntries(own)))));
      expect(outcome.content).toHaveLength(1);
      const told = toolText(outcome.content);
      expect(told.length).toBeGreaterThan(0);
      expect(told.length).toBeLessThanOrEqual(100_000);
      if (outcome.is_error) expect(told).not.toMatch(/TypeError|RangeError|the tool failed| {4}at /);
    }),
    { numRuns: 400 },
  );
  expect(daemon.child.exitCode).toBeNull();
  expect(daemon.child.pid).toBe(pid);
  expect(await daemon.client.text('bash', { command: 'echo alive', restart: true })).toBe('alive');
}, 120_000);

test('any JSON object is an input, and one that does not fit is an error that names a field', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...SANDBOX_TOOLS),
      fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ maxDepth: 4 })),
      async (tool, fields) => {
        const told = await daemon.client.error(tool, JSON.parse(JSON.stringify(fields)));
        const first = FIELDS[tool][0]!;
        // Nothing random is a usable input of all that is required.
        expect(told.startsWith(`${tool}: `)).toBe(true);
        expect(told.includes(first) || told.includes('unknown field')).toBe(true);
        expect(told.length).toBeLessThan(400);
      },
    ),
    { numRuns: 300 },
  );
}, 120_000);

test.each([
  ['read', {}, 'read: file_path is required'],
  ['read', { file_path: '' }, 'read: file_path is required'],
  ['read', { file_path: 'a', view_range: [1] }, 'read: view_range must be [start_line, end_line]'],
  ['read', { file_path: 'a', view_range: [1, 2, 3] }, 'read: view_range must be [start_line, end_line]'],
  ['read', { file_path: 'a', view_range: '1-2' }, 'read: view_range must be [start_line, end_line]'],
  ['write', { file_path: 'a' }, 'write: content is required'],
  ['edit', { file_path: 'a', old_string: '', new_string: 'x' }, 'edit: old_string is required'],
  ['glob', {}, 'glob: pattern is required'],
  ['grep', { pattern: 'x', output_mode: 'count' }, 'grep: unknown field "output_mode"; there are pattern, path'],
])('%s %j: %s', async (tool, fields, message) => {
  expect(await daemon.client.error(tool, fields)).toBe(message);
});

test('a field that only the prototype has is not there', async () => {
  expect(await daemon.client.error('read', JSON.parse('{"__proto__": {"file_path": "x"}}'))).toMatch(/^read: .*file_path is required/);
});

test('whatever text is written is read back, and edited, as it was', async () => {
  const line = fc.string({ unit: fc.constantFrom('a', 'é', '😀', '\n', '\r', '\t', ' ', '$', '\\', '\u2028', '\ufeff'), maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(line, line, line, async (before, middle, after) => {
      const wanted = `<${middle}>`;
      await daemon.client.text('write', { file_path: 'round', content: before + wanted + after });
      expect(await daemon.client.text('read', { file_path: 'round' })).toBe(before + wanted + after);
      await daemon.client.text('edit', { file_path: 'round', old_string: wanted, new_string: '$&' });
      expect(readFileSync(`${daemon.paths.workspace}/round`, 'utf8')).toBe(`${before}$&${after}`);
    }),
    { numRuns: 150 },
  );
}, 60_000);
