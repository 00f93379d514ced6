/**
 * The ready file: facts about a running instance for scripts and `chat` (DESIGN 8). Written by rename, readable by its owner only, since it
 * holds the API key.
 */
import { accessSync, constants, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeDirectories, writeByRename } from '../../durable-file.ts';
import { UsageError } from '../../usage-error.ts';
import type { ProcessEntry } from '../processes/supervisor.ts';

export interface ReadyFacts {
  url: string;
  api_key: string;
  /** Null until there is a console. */
  console_url: null;
  processes: ProcessEntry[];
}

const KINDS = ['gateway', 'harness', 'sandbox-pool', 'egress', 'redis', 'nats', 'docker', 'containerd', 'fake-model'];

export function writeReadyFile(path: string, { url, api_key, console_url, processes }: ReadyFacts): void {
  const kind = ({ name }: ProcessEntry) => KINDS.indexOf(name.replace(/-\d+$/, ''));
  const number = ({ name }: ProcessEntry) => Number(/\d+$/.exec(name)?.[0]);
  const sorted = processes.map(({ name, pid }) => ({ name, pid })).sort((a, b) => kind(a) - kind(b) || number(a) - number(b));
  writeByRename(path, `${JSON.stringify({ url, api_key, console_url, processes: sorted }, null, 2)}\n`);
}

/** Checks that the file can be written later, and removes that of an earlier run. */
export function prepareReadyFile(path: string): void {
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw new Error('it is a directory');
    makeDirectories(dirname(path));
    accessSync(dirname(path), constants.W_OK);
    removeReadyFile(path);
  } catch (error) {
    throw new UsageError(`--ready-file: ${path} cannot be written: ${(error as Error).message}. Choose another path.`);
  }
}

export function removeReadyFile(path: string): void {
  rmSync(path, { force: true });
}
