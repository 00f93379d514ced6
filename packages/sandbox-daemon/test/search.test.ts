import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { toolText } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DaemonProcess, startDaemon } from './daemon-process.ts';

/** One daemon with ripgrep on its PATH, if the machine has it, and one without. */
let daemon: DaemonProcess;
let bare: DaemonProcess;

function fill(workspace: string, files: Record<string, string>): void {
  let time = 1_700_000_000;
  for (const [name, content] of Object.entries(files)) {
    const path = join(workspace, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    utimesSync(path, time, time);
    time += 10;
  }
}

const FILES = {
  'readme.md': 'alpha\nbeta\n',
  'src/main.ts': 'const alpha = 1;\n',
  'src/deep/er/file.ts': 'gamma alpha\n',
  'src/file.js': 'nothing\n',
  '.hidden/secret.ts': 'alpha hidden\n',
  'node_modules/pkg/index.ts': 'alpha module\n',
  '.git/config': 'alpha git\n',
  'a[b].txt': 'odd name\n',
};

beforeAll(async () => {
  [daemon, bare] = await Promise.all([startDaemon(), startDaemon({ PATH: '/nonexistent' })]);
  for (const one of [daemon, bare]) fill(one.paths.workspace, FILES);
});
afterAll(async () => {
  await Promise.all([daemon[Symbol.asyncDispose](), bare[Symbol.asyncDispose]()]);
});

async function glob(pattern: string, path?: string): Promise<string[]> {
  const text = await daemon.client.text('glob', path === undefined ? { pattern } : { pattern, path });
  return text.split('\n').map((line) => line.replace(`${daemon.paths.workspace}/`, ''));
}

describe('glob', () => {
  test('finds files at any depth, newest first, without hidden ones, .git and node_modules', async () => {
    expect(await glob('**/*.ts')).toEqual(['src/deep/er/file.ts', 'src/main.ts']);
    expect(await glob('**')).toEqual(['a[b].txt', 'src/file.js', 'src/deep/er/file.ts', 'src/main.ts', 'readme.md']);
    expect(await glob('.hidden/*')).toEqual(['.hidden/secret.ts']);
  });

  test('knows classes, alternatives, single characters and escapes', async () => {
    expect(await glob('src/*.{ts,js}')).toEqual(['src/file.js', 'src/main.ts']);
    expect(await glob('src/**/[!m]*.ts')).toEqual(['src/deep/er/file.ts']);
    expect(await glob('read??.[a-m]d')).toEqual(['readme.md']);
    expect(await glob('a\\[b].txt')).toEqual(['a[b].txt']);
    expect(await glob('./src//main.ts')).toEqual(['src/main.ts']);
    expect(await glob('*.ts', 'src')).toEqual(['src/main.ts']);
  });

  test('says when nothing matches, and refuses patterns that leave the directory', async () => {
    expect(await glob('*.rs')).toEqual(['no matches']);
    expect(await daemon.client.error('glob', { pattern: '/etc/*' })).toMatch(/relative/);
    expect(await daemon.client.error('glob', { pattern: '../*' })).toMatch(/"\.\."/);
    expect(await daemon.client.error('glob', { pattern: '{..,x}/*' })).toMatch(/"\.\."/);
    expect(await daemon.client.error('glob', { pattern: '*', path: 'nowhere' })).toMatch(/no such file/);
    expect(await daemon.client.error('glob', { pattern: '{a,b}'.repeat(12) })).toMatch(/256 patterns/);
  });

  test('follows no link out of the directory and does not run in circles', async () => {
    symlinkSync('/etc', join(daemon.paths.workspace, 'out'));
    symlinkSync('.', join(daemon.paths.workspace, 'self'));
    expect(await glob('out/*')).toEqual(['no matches']);
    expect(await glob('**/passwd')).toEqual(['no matches']);
    expect(await glob('self/src/*.ts')).toEqual(['self/src/main.ts']);
    expect(await glob('**/main.ts')).toEqual(['src/main.ts']);
  });

  test('a pattern made to take for ever does not', async () => {
    const name = 'a'.repeat(200);
    fill(daemon.paths.workspace, { [`hard/${name}`]: '' });
    expect(await glob(`hard/${'*a'.repeat(60)}b`)).toEqual(['no matches']);
    expect(await glob(`${'**/'.repeat(30)}main.ts`)).toEqual(['src/main.ts']);
  });

  test('shows at most 200 paths', async () => {
    fill(daemon.paths.workspace, Object.fromEntries(Array.from({ length: 250 }, (_, index) => [`many/${index}.x`, ''])));
    expect(await glob('many/*')).toHaveLength(200);
  });
});

describe.each([
  ['as the machine has it', () => daemon],
  ['without ripgrep', () => bare],
])('grep, %s', (_name, which) => {
  const lines = async (input: Record<string, unknown>) =>
    (await which().client.text('grep', input))
      .split('\n')
      .map((line) => line.replace(`${which().paths.workspace}/`, ''))
      .sort();

  test('finds lines with path and number, also under a path', async () => {
    const found = (await lines({ pattern: 'al+pha' })).filter((line) => !line.startsWith('.hidden'));
    expect(found).toEqual(
      expect.arrayContaining(['readme.md:1:alpha', 'src/deep/er/file.ts:1:gamma alpha', 'src/main.ts:1:const alpha = 1;']),
    );
    expect(found.some((line) => line.startsWith('.git/'))).toBe(false);
    expect(await lines({ pattern: 'alpha', path: 'src/deep' })).toEqual(['src/deep/er/file.ts:1:gamma alpha']);
  });

  test('lines of a single file have its path too', async () => {
    expect(await lines({ pattern: 'alpha', path: 'src/main.ts' })).toEqual(['src/main.ts:1:const alpha = 1;']);
  });

  test('says when nothing matches and what is wrong with a pattern', async () => {
    expect(await lines({ pattern: 'not-in-any-file' })).toEqual(['no matches']);
    expect(await which().client.error('grep', { pattern: '(open' })).toMatch(/^grep: .*(regex|regular expression)/s);
    expect(await which().client.error('grep', { pattern: 'x', path: 'nowhere' })).toMatch(/no such file/);
  });

  test('a pattern that looks like an option is a pattern', async () => {
    expect(await lines({ pattern: '--files' })).toEqual(['no matches']);
  });

  test('keeps 100 KiB and says that there is more', async () => {
    fill(which().paths.workspace, { 'wide/w.txt': `needle ${'x'.repeat(990)}\n`.repeat(300) });
    const outcome = await which().client.call('grep', { pattern: 'needle', path: 'wide' });
    expect(outcome.is_error).toBe(false);
    // Above 100,000 characters the text itself is in a file.
    const path = /the whole is in (\S+)\./.exec(toolText(outcome.content))?.[1] ?? '';
    const whole = await which().client.text('read', { file_path: path, view_range: [95, 200] });
    expect(whole).toMatch(/\[output truncated at 102400 bytes\]$/);
  });
});

test('a program called rg that the session made itself is not run', async () => {
  const { workspace } = bare.paths;
  await using planted = await startDaemon({ PATH: `${workspace}/bin` });
  // The daemon's own roots are what counts.
  const own = join(planted.paths.workspace, 'bin');
  mkdirSync(own, { recursive: true });
  mkdirSync(join(workspace, 'bin'), { recursive: true });
  writeFileSync(join(own, 'rg'), '#!/bin/sh\necho planted\n', { mode: 0o755 });
  symlinkSync(join(own, 'rg'), join(workspace, 'bin', 'rg'));
  writeFileSync(join(planted.paths.workspace, 'file'), 'alpha\n');
  expect(await planted.client.text('grep', { pattern: 'alpha', path: 'file' })).toBe(`${planted.paths.workspace}/file:1:alpha`);
});

test('without ripgrep, more searches at once than there are threads for are all answered', async () => {
  const found = await Promise.all(Array.from({ length: 12 }, () => bare.client.text('grep', { pattern: 'gamma', path: 'src/deep' })));
  expect(new Set(found)).toEqual(new Set([`${bare.paths.workspace}/src/deep/er/file.ts:1:gamma alpha`]));
});

test('without ripgrep, a regular expression that takes for ever can be cancelled and the daemon stays awake', async () => {
  fill(bare.paths.workspace, { 'slow/s.txt': `${'a'.repeat(1_500)}!\n` });
  await bare.client.ask({ op: 'start', key: 'slow', tool: 'grep', input: { pattern: '^(a+)+$', path: 'slow' } });
  expect(await bare.client.ask({ op: 'wait', key: 'slow', wait_ms: 300 })).toMatchObject({ call: { state: 'running' } });
  expect(await bare.client.ask({ op: 'cancel', key: 'slow' })).toMatchObject({ call: { state: 'done', outcome: { is_error: true } } });
});

test('without ripgrep, binary files end at their first NUL and lines of more than 2,000 characters are left out', async () => {
  fill(bare.paths.workspace, {
    'odd/binary': 'needle one\n\0needle two\n',
    'odd/long': `needle ${'x'.repeat(2_000)}\nneedle short\r\nneedle last`,
  });
  const text = await bare.client.text('grep', { pattern: 'needle', path: 'odd' });
  expect(
    text
      .split('\n')
      .map((line) => line.slice(line.indexOf(':')))
      .sort(),
  ).toEqual([':1:needle one', ':2:needle short', ':3:needle last']);
});
