/** What a test left behind: processes and temporary directories. */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processTable } from '@manyhands/infra';

/** Processes and directories that carry `prefix` in command line, working directory or name; one line each, none if all is clean. */
export function leftovers(prefix: string): string[] {
  const processes = processTable()
    .filter(({ pid, command, directory }) => pid !== process.pid && (command.includes(prefix) || directory.includes(prefix)))
    .map(({ pid, command }) => `process ${pid}: ${command}`);
  const directories = readdirSync(tmpdir())
    .filter((name) => name.startsWith(prefix))
    .map((name) => `directory ${join(tmpdir(), name)}`);
  return [...processes, ...directories];
}
