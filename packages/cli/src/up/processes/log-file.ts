/** The log file of one child: appended to, rotated at a start when it has grown large, and read for the reason when the child fails. */
import { closeSync, openSync, readSync, renameSync, statSync } from 'node:fs';

const ROTATE_BYTES = 32 * 1024 * 1024;
const TAIL_BYTES = 64 * 1024;

/** Moves a log of more than 32 MiB aside as `<path>.1`, over the one before. */
export function rotateLog(path: string, limitBytes = ROTATE_BYTES): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat && stat.size > limitBytes) renameSync(path, `${path}.1`);
}

export interface ChildLog {
  /** To be inherited by the child as stdout and stderr. */
  readonly fd: number;
  close(): void;
  /** What was written since it was opened, as lines without the empty ones; of much only the end. */
  lines(): string[];
}

export function openLog(path: string): ChildLog {
  const fd = openSync(path, 'a', 0o600);
  const start = statSync(path).size;
  return {
    fd,
    close: () => closeSync(fd),
    lines() {
      const reader = openSync(path, 'r');
      try {
        const end = statSync(path).size;
        const from = Math.max(start, end - TAIL_BYTES);
        const buffer = Buffer.alloc(Math.max(0, end - from));
        const length = readSync(reader, buffer, 0, buffer.length, from);
        return buffer
          .toString('utf8', 0, length)
          .split('\n')
          .filter((line) => line.trim() !== '');
      } finally {
        closeSync(reader);
      }
    },
  };
}

/** The startup error of a child: every line of its output that is not a JSON log line. */
export function startupErrorOf(lines: readonly string[]): string {
  return lines.filter((line) => !line.startsWith('{')).join('\n');
}

const WARN = 40;

/** The stderr tail for people: the last plain lines as they are, and of the JSON lines those at level warn and above as message and error. */
export function stderrTail(lines: readonly string[], count = 8): string {
  return lines
    .flatMap((line) => {
      if (!line.startsWith('{')) return [line];
      try {
        const entry = JSON.parse(line) as { level?: number; msg?: string; err?: { message?: string } };
        if ((entry.level ?? 0) < WARN) return [];
        return [[entry.msg, entry.err?.message].filter((part) => part !== undefined).join(': ')];
      } catch {
        return [line];
      }
    })
    .slice(-count)
    .join('\n');
}
