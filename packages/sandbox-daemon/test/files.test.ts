import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toolText } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DaemonClient, type DaemonProcess, startDaemon } from './daemon-process.ts';

let daemon: DaemonProcess;
let client: DaemonClient;
let workspace: string;
beforeAll(async () => {
  daemon = await startDaemon();
  client = daemon.client;
  workspace = daemon.paths.workspace;
});
afterAll(() => daemon[Symbol.asyncDispose]());

const put = (name: string, content: string | Buffer) => writeFileSync(join(workspace, name), content);
const KIB = 1024;

describe('read', () => {
  test('answers the file, or the lines asked for, with the ends included', async () => {
    put('lines', 'one\ntwo\r\nthree\nfour\n');
    expect(await client.text('read', { file_path: 'lines' })).toBe('one\ntwo\r\nthree\nfour\n');
    expect(await client.text('read', { file_path: join(workspace, 'lines'), view_range: [2, 3] })).toBe('two\r\nthree');
    expect(await client.text('read', { file_path: 'lines', view_range: [3, -1] })).toBe('three\nfour\n');
    expect(await client.text('read', { file_path: 'lines', view_range: [0, 1] })).toBe('one');
    expect(await client.text('read', { file_path: 'lines', view_range: [9, 12] })).toBe('(no output)');
    expect(await client.text('read', { file_path: 'lines', view_range: [3, 2] })).toBe('(no output)');
  });

  test('a file above 256 KiB is refused with the advice to take a range, and ranges of it work', async () => {
    put('large', Array.from({ length: 60_000 }, (_, index) => `line ${index + 1}`).join('\n'));
    expect(await client.error('read', { file_path: 'large' })).toMatch(/262144.*view_range/);
    expect(await client.text('read', { file_path: 'large', view_range: [59_999, 60_001] })).toBe('line 59999\nline 60000');
    expect(await client.error('read', { file_path: 'large', view_range: [1, 60_000] })).toMatch(/Narrow the view_range/);
    put('one-line', 'x'.repeat(300 * KIB));
    expect(await client.error('read', { file_path: 'one-line', view_range: [1, 1] })).toMatch(/line 1 of one-line alone/);
  });

  test('text of more than 100,000 characters goes to a file that the answer names', async () => {
    const whole = `${'é'.repeat(60_000)}\n`.repeat(2);
    put('long', whole);
    const text = await client.text('read', { file_path: 'long' });
    expect(text.length).toBeLessThan(25_000);
    const path = /the whole is in (\S+tool-output-\S+\.txt)\./.exec(text)?.[1] ?? '';
    expect(readFileSync(path, 'utf8')).toBe(whole);
  });

  test('only regular files are read, and a FIFO does not hang it', async () => {
    await client.text('bash', { command: 'mkfifo fifo; mkdir -p directory' });
    for (const name of ['fifo', 'directory']) expect(await client.error('read', { file_path: name })).toMatch(/not a regular file/);
    expect(await client.error('read', { file_path: 'missing' })).toBe('read: missing: no such file or directory');
  });

  test('a binary file is refused, broken UTF-8 becomes U+FFFD, control characters go', async () => {
    put('binary', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2]));
    expect(await client.error('read', { file_path: 'binary' })).toMatch(/binary file/);
    put('latin1', Buffer.from([0x61, 0xe9, 0x62, 0x1b, 0x07, 0x63]));
    expect(await client.text('read', { file_path: 'latin1' })).toBe('a\ufffdbc');
  });
});

describe('write', () => {
  test('makes private parents and a private file, and counts bytes', async () => {
    expect(await client.text('write', { file_path: 'made/of/parts.txt', content: 'né' })).toBe('wrote 3 bytes to made/of/parts.txt');
    expect(readFileSync(join(workspace, 'made/of/parts.txt'), 'utf8')).toBe('né');
    expect(statSync(join(workspace, 'made')).mode & 0o777).toBe(0o700);
    expect(statSync(join(workspace, 'made/of/parts.txt')).mode & 0o777).toBe(0o600);
  });

  test('replaces a file whole, keeps its mode and leaves nothing else behind', async () => {
    mkdirSync(join(workspace, 'clean'));
    put('clean/script', 'old');
    chmodSync(join(workspace, 'clean/script'), 0o755);
    await client.text('write', { file_path: 'clean/script', content: 'new' });
    expect(statSync(join(workspace, 'clean/script')).mode & 0o777).toBe(0o755);
    expect(readdirSync(join(workspace, 'clean'))).toEqual(['script']);
    expect(await client.error('write', { file_path: 'clean', content: '' })).toMatch(/is a directory/);
    expect(await client.error('write', { file_path: 'clean/script/below', content: '' })).toMatch(/not a directory/);
  });

  test('a file of another kind is replaced by what is written, an empty text makes an empty file', async () => {
    await client.text('bash', { command: 'mkfifo pipe-to-replace' });
    expect(await client.text('write', { file_path: 'pipe-to-replace', content: '' })).toBe('wrote 0 bytes to pipe-to-replace');
    expect(await client.text('read', { file_path: 'pipe-to-replace' })).toBe('(no output)');
  });

  test('outputs and /tmp can be written, uploads only read', async () => {
    await client.text('write', { file_path: join(daemon.paths.outputs, 'o.txt'), content: 'o' });
    await client.text('write', { file_path: join(daemon.paths.tmp, 't.txt'), content: 't' });
    writeFileSync(join(daemon.paths.uploads, 'u.txt'), 'u');
    expect(await client.text('read', { file_path: join(daemon.paths.uploads, 'u.txt') })).toBe('u');
    expect(await client.error('write', { file_path: join(daemon.paths.uploads, 'u.txt'), content: '' })).toMatch(/read-only/);
    expect(await client.error('edit', { file_path: join(daemon.paths.uploads, 'u.txt'), old_string: 'u', new_string: 'v' })).toMatch(
      /read-only/,
    );
  });
});

describe('edit', () => {
  test('replaces one text literally, or all of them when asked', async () => {
    put('edited', 'a $1 b\na c\n');
    expect(await client.text('edit', { file_path: 'edited', old_string: '$1 b', new_string: "$& $' \\1" })).toBe(
      'edited edited (1 replacement(s))',
    );
    expect(await client.text('edit', { file_path: 'edited', old_string: 'a', new_string: 'A', replace_all: true })).toBe(
      'edited edited (2 replacement(s))',
    );
    expect(readFileSync(join(workspace, 'edited'), 'utf8')).toBe("A $& $' \\1\nA c\n");
  });

  test('a text that is not there, or there several times, changes nothing', async () => {
    put('several', 'x x x');
    expect(await client.error('edit', { file_path: 'several', old_string: 'y', new_string: 'z' })).toMatch(
      /old_string not found in several/,
    );
    expect(await client.error('edit', { file_path: 'several', old_string: 'x', new_string: 'z' })).toMatch(
      /appears 3 times in several \(must be unique\)/,
    );
    expect(readFileSync(join(workspace, 'several'), 'utf8')).toBe('x x x');
  });

  test('everything around the replacement stays as it is: line ends, a byte order mark, the mode', async () => {
    put('windows', '\ufeffone\r\ntwo\r\nthree\r\n');
    chmodSync(join(workspace, 'windows'), 0o750);
    await client.text('edit', { file_path: 'windows', old_string: 'two\r\n', new_string: '2\r\n' });
    expect(readFileSync(join(workspace, 'windows'), 'utf8')).toBe('\ufeffone\r\n2\r\nthree\r\n');
    expect(statSync(join(workspace, 'windows')).mode & 0o777).toBe(0o750);
    expect(await client.error('edit', { file_path: 'windows', old_string: 'one\n2', new_string: 'x' })).toMatch(/lines end in \\r\\n/);
    put('feed', 'a\fb');
    expect(await client.error('edit', { file_path: 'feed', old_string: 'ab', new_string: 'x' })).toMatch(/control characters/);
  });

  test('a replacement by the same, or by nothing, is an edit', async () => {
    put('same', 'keep drop');
    expect(await client.text('edit', { file_path: 'same', old_string: 'keep', new_string: 'keep' })).toBe('edited same (1 replacement(s))');
    await client.text('edit', { file_path: 'same', old_string: ' drop', new_string: '' });
    expect(readFileSync(join(workspace, 'same'), 'utf8')).toBe('keep');
  });

  test('what is missing, no file or above 256 KiB is refused', async () => {
    put('huge', 'x'.repeat(256 * KIB + 1));
    mkdirSync(join(workspace, 'edit-directory'));
    const edit = (name: string) => client.error('edit', { file_path: name, old_string: 'x', new_string: 'y' });
    expect(await edit('huge')).toMatch(/is 262145 bytes, exceeds 262144-byte limit/);
    expect(await edit('edit-directory')).toMatch(/not a regular file/);
    expect(await edit('not-there')).toBe('edit: not-there: no such file or directory');
  });

  test('a file that is not UTF-8 is left alone', async () => {
    put('not-utf8', Buffer.from([0x61, 0xff, 0x62]));
    expect(await client.error('edit', { file_path: 'not-utf8', old_string: 'a', new_string: 'b' })).toMatch(/not UTF-8/);
    expect(readFileSync(join(workspace, 'not-utf8'))).toEqual(Buffer.from([0x61, 0xff, 0x62]));
  });
});

describe('confinement', () => {
  test('nothing outside is reached, by whatever way the path is written', async () => {
    symlinkSync('/etc', join(workspace, 'link-directory'));
    symlinkSync('/etc/passwd', join(workspace, 'link-file'));
    symlinkSync('/nowhere/at/all', join(workspace, 'link-dangling'));
    symlinkSync('link-loop', join(workspace, 'link-loop'));
    for (const path of ['/etc/passwd', '../../../../etc/passwd', 'link-directory/passwd', 'link-file', `${workspace}/../secret`]) {
      expect(await client.error('read', { file_path: path })).toMatch(/outside/);
      expect(await client.error('edit', { file_path: path, old_string: 'root', new_string: 'x' })).toMatch(/outside/);
    }
    for (const path of ['/etc/new', 'link-directory/new', 'link-dangling', '../sideways'])
      expect(await client.error('write', { file_path: path, content: '' })).toMatch(/outside/);
    expect(await client.error('read', { file_path: 'link-loop' })).toMatch(/symbolic links/);
    expect(await client.error('glob', { pattern: '*', path: '/etc' })).toMatch(/outside/);
    expect(await client.error('grep', { pattern: 'root', path: 'link-directory' })).toMatch(/outside/);
    expect(existsSync(join(daemon.root, 'sideways'))).toBe(false);
  });

  test('a directory that only starts like an allowed one is outside', async () => {
    mkdirSync(`${workspace}-other`);
    writeFileSync(`${workspace}-other/file`, 'x');
    expect(await client.error('read', { file_path: `${workspace}-other/file` })).toMatch(/outside/);
  });

  test('links that stay inside are followed', async () => {
    put('target', 'inside');
    symlinkSync('target', join(workspace, 'link-inside'));
    symlinkSync('made-by-link', join(workspace, 'link-new'));
    expect(await client.text('read', { file_path: 'link-inside' })).toBe('inside');
    await client.text('write', { file_path: 'link-new', content: 'through' });
    expect(readFileSync(join(workspace, 'made-by-link'), 'utf8')).toBe('through');
  });

  test('a directory that is swapped for a link while it is used never leads outside', async () => {
    const outside = join(daemon.root, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'secret'), 'told');
    const swap = `cd swap; while [ ! -e stop ]; do rm -rf d; ln -sfn ${outside} d; rm -f d; mkdir d; echo own > d/secret; done`;
    mkdirSync(join(workspace, 'swap'));
    await client.text('bash', { command: `(${swap}) >/dev/null 2>&1 &` });
    const ends = { written: 0, refused: 0 };
    for (let round = 0; round < 150; round++) {
      const [wrote, read] = await Promise.all([
        client.call('write', { file_path: `swap/d/made/${round}`, content: 'x' }),
        client.call('read', { file_path: 'swap/d/secret' }),
        client.call('write', { file_path: 'swap/d/secret', content: 'own' }),
      ]);
      ends[wrote.is_error ? 'refused' : 'written']++;
      expect(toolText(read.content)).not.toBe('told');
    }
    put('swap/stop', '');
    expect(readdirSync(outside)).toEqual(['secret']);
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('told');
    // Otherwise nothing was tried.
    expect(Math.min(ends.written, ends.refused)).toBeGreaterThan(0);
  });

  test('paths that no file can have are refused with a reason', async () => {
    expect(await client.error('read', { file_path: 'a\0b' })).toMatch(/NUL/);
    expect(await client.error('write', { file_path: 'n'.repeat(300), content: '' })).toMatch(/name too long/);
    expect(await client.error('read', { file_path: '' })).toMatch(/file_path/);
    expect(await client.error('write', { file_path: 'x' })).toMatch(/content/);
  });
});
