/** The `write` and `edit` tools. A file is replaced as a whole by rename, so that nobody ever sees half of it. */
import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ToolInput, ToolResult } from '@manyhands/contract';
import { type Confinement, fileFailure } from '../files/confine.ts';
import { READ_MAX_BYTES, readAtMost } from './read-tool.ts';
import { quoted, success, ToolFailure } from './tool-result.ts';

/** Files made here belong to the session alone. */
const NEW_FILE_MODE = 0o600;
/** What `read` leaves out of a text, so that nobody can name it. */
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

export async function runWrite(confinement: Confinement, input: ToolInput<'write'>): Promise<ToolResult> {
  const shown = input.file_path;
  const path = await confinement.resolve('write', shown, { writing: true });
  await replaceFile(confinement, 'write', path, shown, input.content);
  return success(`wrote ${Buffer.byteLength(input.content)} bytes to ${shown}`);
}

export async function runEdit(confinement: Confinement, input: ToolInput<'edit'>): Promise<ToolResult> {
  const shown = input.file_path;
  const path = await confinement.resolve('edit', shown, { writing: true });
  const before = await readText(confinement, path, shown);
  const pieces = before.split(input.old_string);
  const count = pieces.length - 1;
  if (count === 0) throw new ToolFailure(`edit: old_string not found in ${quoted(shown)}${whyNotFound(before, input.old_string)}`);
  if (count > 1 && !input.replace_all)
    throw new ToolFailure(
      `edit: old_string appears ${count} times in ${quoted(shown)} (must be unique); give more of its surroundings or set replace_all`,
    );
  await replaceFile(confinement, 'edit', path, shown, pieces.join(input.new_string));
  return success(`edited ${shown} (${count} replacement(s))`);
}

/** Two differences that a model cannot see in what `read` showed it. */
function whyNotFound(text: string, wanted: string): string {
  if (!wanted.includes('\r') && text.replaceAll('\r\n', '\n').includes(wanted))
    return '; its lines end in \\r\\n, so must those of old_string';
  return UNSEEN.test(text) ? '; it holds control characters that read leaves out, change those parts with bash' : '';
}

async function readText(confinement: Confinement, path: string, shown: string): Promise<string> {
  const { file, bytes } = await confinement.openFile('edit', path, shown);
  try {
    if (bytes > READ_MAX_BYTES)
      throw new ToolFailure(
        `edit: ${quoted(shown)} is ${bytes} bytes, exceeds ${READ_MAX_BYTES}-byte limit. ` +
          'The edit tool loads the whole file and cannot modify a file this large; change it with bash, for example with sed.',
      );
    const contents = await readAtMost(file, READ_MAX_BYTES);
    // Written back as text, anything else would be damaged.
    if (!isUtf8(contents)) throw new ToolFailure(`edit: ${quoted(shown)} is not UTF-8 text; change it with bash`);
    return contents.toString('utf8');
  } catch (error) {
    throw fileFailure('edit', shown, error);
  } finally {
    await file.close();
  }
}

/** Puts `content` in the place of the file at `path` (resolved). Keeps the mode of a file that was there. */
async function replaceFile(confinement: Confinement, tool: string, path: string, shown: string, content: string): Promise<void> {
  const directory = await confinement.openDirectory(tool, dirname(path), shown);
  const target = join(directory.path, basename(path));
  const temporary = join(directory.path, `.tmp-${randomBytes(8).toString('hex')}`);
  let made = false;
  try {
    const old = await stat(target).catch(() => null);
    if (old?.isDirectory()) throw new ToolFailure(`${tool}: ${quoted(shown)}: is a directory`);
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, NEW_FILE_MODE);
    made = true;
    try {
      await file.writeFile(content, 'utf8');
      if (old?.isFile()) await file.chmod(old.mode & 0o777);
      // A rename may reach the disk before the contents do.
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
    made = false;
  } catch (error) {
    throw fileFailure(tool, shown, error);
  } finally {
    if (made) await unlink(temporary).catch(() => undefined);
    await directory.handle.close();
  }
}
