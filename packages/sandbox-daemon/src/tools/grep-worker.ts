/**
 * The search without ripgrep, on a thread of its own: walks without following links, skips `.git` and `node_modules`, reads text files in
 * pieces up to their first NUL byte, leaves out lines of more than LINE_MAX_CHARS characters.
 */
import { closeSync, constants, type Dirent, fstatSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { MessagePort } from 'node:worker_threads';
import { SKIPPED_DIRECTORIES, WALK_MAX_DEPTH, WALK_MAX_ENTRIES } from './glob-tool.ts';

export interface GrepJob {
  role: 'grep';
  pattern: string;
  root: string;
  maxBytes: number;
}
/** Matches found since the last report; `end` is set on the last one. */
export interface GrepReport {
  text: string;
  end: 'all' | 'size' | null;
}

const LINE_MAX_CHARS = 2_000;
const CHUNK_BYTES = 64 * 1024;

export function isGrepJob(data: unknown): data is GrepJob {
  return (data as GrepJob | null)?.role === 'grep';
}

/** Runs the job; matches are reported file by file, so that a search that is ended keeps what it found. */
export function runGrepJob(job: GrepJob, port: MessagePort): void {
  const regex = new RegExp(job.pattern);
  let leftBytes = job.maxBytes;
  let leftEntries = WALK_MAX_ENTRIES;
  const report = (text: string, end: GrepReport['end']) => port.postMessage({ text, end } satisfies GrepReport);

  /** False when the output is full. */
  function searchFile(path: string): boolean {
    let text = '';
    const whole = readLines(path, (line, number) => {
      if (line.length > LINE_MAX_CHARS || !regex.test(line)) return true;
      const hit = `${path}:${number}:${line}\n`;
      leftBytes -= Buffer.byteLength(hit);
      if (leftBytes < 0) return false;
      text += hit;
      return true;
    });
    if (text !== '') report(text, null);
    return whole;
  }

  /** False when the search is over. */
  function searchDirectory(path: string, depth: number): boolean {
    let entries: Dirent[];
    try {
      entries = readdirSync(path, { withFileTypes: true });
    } catch {
      return true;
    }
    for (const entry of entries) {
      if (SKIPPED_DIRECTORIES.has(entry.name)) continue;
      if (leftEntries-- <= 0) return false;
      const child = join(path, entry.name);
      if (entry.isDirectory()) {
        if (depth < WALK_MAX_DEPTH && !searchDirectory(child, depth + 1)) return false;
      } else if (entry.isFile() && !searchFile(child)) return false;
    }
    return true;
  }

  if (lstatSync(job.root).isDirectory()) searchDirectory(job.root, 0);
  else searchFile(job.root);
  if (leftEntries < 0) report(`[the search ended after ${WALK_MAX_ENTRIES} entries; give a path]\n`, leftBytes < 0 ? 'size' : 'all');
  else report('', leftBytes < 0 ? 'size' : 'all');
}

/** Calls `onLine` until it answers false; answers whether it never did. A file that cannot be read has no lines. */
function readLines(path: string, onLine: (line: string, number: number) => boolean): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return true;
  }
  try {
    if (!fstatSync(fd).isFile()) return true;
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    // The start of a line whose end was not read yet, at most as long as a line may be.
    let held = Buffer.alloc(0);
    let tooLong = false;
    for (let number = 1; ; ) {
      const bytes = readSync(fd, chunk, 0, chunk.length, null);
      const piece = chunk.subarray(0, bytes);
      const nul = piece.indexOf(0);
      let at = 0;
      for (let newline = piece.indexOf(10); newline >= 0; newline = piece.indexOf(10, at)) {
        if (nul >= 0 && nul < newline) return true;
        if (!tooLong && !onLine(lineOf(Buffer.concat([held, piece.subarray(at, newline)])), number)) return false;
        number++;
        held = Buffer.alloc(0);
        tooLong = false;
        at = newline + 1;
      }
      if (nul >= 0) return true;
      if (bytes === 0) return held.length === 0 || tooLong || onLine(lineOf(held), number);
      held = tooLong ? held : Buffer.concat([held, piece.subarray(at)]);
      // A character is at most 4 bytes.
      if (held.length > LINE_MAX_CHARS * 4) {
        tooLong = true;
        held = Buffer.alloc(0);
      }
    }
  } catch {
    return true;
  } finally {
    closeSync(fd);
  }
}

function lineOf(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}
