/**
 * The `read` tool: a UTF-8 text file, whole or a range of lines, at most READ_MAX_BYTES of it; an image or a PDF as a block of its own kind,
 * which is decided by what the file holds.
 */
import { isUtf8 } from 'node:buffer';
import type { FileHandle } from 'node:fs/promises';
import { detectMedia, MEDIA_HEAD_BYTES, type MediaType, type ToolContent, type ToolInput, type ToolResult } from '@manyhands/contract';
import { type Confinement, fileFailure } from '../files/confine.ts';
import { cleanContents } from './clean-text.ts';
import { mediaMaxBytes, mediaProblem } from './media.ts';
import { quoted, success, ToolFailure } from './tool-result.ts';

export const READ_MAX_BYTES = 256 * 1024;
const CHUNK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

export async function runRead(confinement: Confinement, input: ToolInput<'read'>, signal: AbortSignal): Promise<ToolResult> {
  const shown = input.file_path;
  const path = await confinement.resolve('read', shown);
  const { file, bytes } = await confinement.openFile('read', path, shown);
  try {
    const media = await readMedia(file, shown, bytes);
    if (media !== null) {
      if (input.view_range) throw new ToolFailure(`read: ${quoted(shown)} is ${media.type}; view_range is for text files only`);
      return media.outcome;
    }
    if (input.view_range) return textOf(await readLines(file, shown, input.view_range, signal), shown);
    if (bytes > READ_MAX_BYTES)
      throw new ToolFailure(
        `read: ${quoted(shown)} is ${bytes} bytes, exceeds ${READ_MAX_BYTES}-byte limit. ` +
          'Use the view_range parameter to read specific line ranges, e.g. view_range: [1, 500].',
      );
    return textOf(await readAtMost(file, READ_MAX_BYTES), shown);
  } catch (error) {
    throw fileFailure('read', shown, error);
  } finally {
    await file.close();
  }
}

/** An image or a PDF as a block; null for everything else. */
async function readMedia(file: FileHandle, shown: string, bytes: number): Promise<{ type: MediaType; outcome: ToolResult } | null> {
  const type = detectMedia(await readAtMost(file, MEDIA_HEAD_BYTES));
  if (type === null) return null;
  const limit = mediaMaxBytes(type);
  if (bytes > limit)
    throw new ToolFailure(`read: ${quoted(shown)} is ${type} of ${bytes} bytes, exceeds ${limit}-byte limit; make it smaller with bash`);
  const contents = await readAtMost(file, limit);
  const problem = mediaProblem(type, contents);
  if (problem !== null) {
    // Text may well begin as a file of another kind does.
    if (!contents.includes(0) && isUtf8(contents)) return null;
    throw new ToolFailure(`read: ${quoted(shown)} is ${type} and cannot be shown: it ${problem}`);
  }
  const data = contents.toString('base64');
  const block: ToolContent[number] =
    type === 'application/pdf'
      ? { type: 'document', source: { type: 'base64', media_type: type, data } }
      : { type: 'image', source: { type: 'base64', media_type: type, data } };
  return { type, outcome: { is_error: false, content: [block] } };
}

/** The whole file. One that grew past the limit since it was looked at, or has no size (as in /proc), is cut there. */
export async function readAtMost(file: FileHandle, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < maxBytes) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, maxBytes - total));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, total);
    if (bytesRead === 0) break;
    chunks.push(chunk.subarray(0, bytesRead));
    total += bytesRead;
  }
  return Buffer.concat(chunks, total);
}

function textOf(bytes: Buffer, shown: string): ToolResult {
  if (bytes.includes(0))
    throw new ToolFailure(`read: ${quoted(shown)} is a binary file; look at it with bash, for example with xxd or file`);
  return success(cleanContents(bytes.toString('utf8')));
}

/**
 * Lines `first` to `last` (1-based, both included; a `last` of 0 or less means the end) without the newline of the last one.
 * Never holds more than the limit and one chunk, however long the file or a line of it.
 */
async function readLines(file: FileHandle, shown: string, range: [number, number], signal: AbortSignal): Promise<Buffer> {
  const first = Math.max(1, range[0]);
  const last = range[1] > 0 ? range[1] : Number.POSITIVE_INFINITY;
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let line = 1;
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let position = 0; line <= last && last >= first; ) {
    if (signal.aborted) throw new ToolFailure('read: interrupted');
    const { bytesRead } = await file.read(chunk, 0, chunk.length, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    for (let at = 0; at < bytesRead && line <= last; ) {
      const newline = chunk.subarray(0, bytesRead).indexOf(NEWLINE, at);
      const end = newline < 0 ? bytesRead : newline;
      if (line >= first) {
        // The newline of the last line asked for is not part of the answer.
        const piece = chunk.subarray(at, newline >= 0 && line < last ? end + 1 : end);
        keptBytes += piece.length;
        if (keptBytes > READ_MAX_BYTES) throw tooLong(shown, range, first, last, line);
        kept.push(Buffer.from(piece));
      }
      if (newline < 0) break;
      line++;
      at = newline + 1;
    }
  }
  return Buffer.concat(kept, keptBytes);
}

function tooLong(shown: string, range: [number, number], first: number, last: number, line: number): ToolFailure {
  if (line === first && first === last)
    return new ToolFailure(
      `read: line ${first} of ${quoted(shown)} alone exceeds ${READ_MAX_BYTES}-byte limit. ` +
        'The read tool cannot return part of a line, so view_range cannot narrow this further; cut it with bash.',
    );
  return new ToolFailure(
    `read: view_range [${range[0]}, ${range[1]}] of ${quoted(shown)} exceeds ${READ_MAX_BYTES}-byte limit. ` +
      'Narrow the view_range to read a smaller portion.',
  );
}
