/** What tells scripts and `chat` about a running instance (DESIGN 8). Written by rename, readable by its owner only: it holds the API key. */
import { rmSync } from 'node:fs';
import { writeByRename } from '../durable-file.ts';
import type { ProcessEntry } from './supervisor.ts';

export interface ReadyFacts {
  url: string;
  api_key: string;
  /** Null until there is a console. */
  console_url: null;
  processes: ProcessEntry[];
}

const KINDS = ['gateway', 'harness', 'sandbox-pool', 'egress', 'redis', 'nats', 'model-double'];

export function writeReadyFile(path: string, { url, api_key, console_url, processes }: ReadyFacts): void {
  const kind = ({ name }: ProcessEntry) => KINDS.indexOf(name.replace(/-\d+$/, ''));
  const number = ({ name }: ProcessEntry) => Number(/\d+$/.exec(name)?.[0]);
  const sorted = processes.map(({ name, pid }) => ({ name, pid })).sort((a, b) => kind(a) - kind(b) || number(a) - number(b));
  writeByRename(path, `${JSON.stringify({ url, api_key, console_url, processes: sorted }, null, 2)}\n`);
}

export function removeReadyFile(path: string): void {
  rmSync(path, { force: true });
}
