/** Which server a command talks to: the options, else the environment, else the instance that runs in the data directory. */
import { resolve } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { readIfPresent } from './durable-file.ts';
import type { Surroundings } from './surroundings.ts';
import { readyFileOf } from './up/data/data-directory.ts';
import type { ReadyFacts } from './up/data/ready-file.ts';
import { UsageError } from './usage-error.ts';

export interface ConnectionOptions {
  url?: string | undefined;
  apiKey?: string | undefined;
  data: string;
}

export interface Connection {
  url: string;
  apiKey: string;
}

export function findInstance(options: ConnectionOptions, { environment, cwd }: Pick<Surroundings, 'environment' | 'cwd'>): Connection {
  const url = options.url ?? (environment['MANYHANDS_URL'] || undefined);
  const apiKey = options.apiKey ?? (environment['MANYHANDS_API_KEY'] || undefined);
  if (url !== undefined && !/^https?:\/\/[^/]/.test(url)) throw new UsageError('--url: give a URL such as http://127.0.0.1:8400.');
  if (url !== undefined && apiKey !== undefined) return { url, apiKey };
  const file = readyFileOf(resolve(cwd, options.data));
  const running = readRunning(file);
  // A key found on this machine is not for another server.
  if (url !== undefined && running !== null && running.url === url.replace(/\/+$/, '')) return { url, apiKey: running.api_key };
  if (url !== undefined) throw new UsageError('--api-key: give the key of that server, or set MANYHANDS_API_KEY.');
  if (running === null)
    throw new UsageError(
      `No instance runs in ${resolve(cwd, options.data)} (there is no ${file}). Start one with "manyhands up", or give --url and --api-key, or --data DIR.`,
    );
  return { url: running.url, apiKey: apiKey ?? running.api_key };
}

function readRunning(file: string): Pick<ReadyFacts, 'url' | 'api_key'> | null {
  try {
    const facts = JSON.parse(readIfPresent(file) ?? 'null') as Partial<ReadyFacts> | null;
    return typeof facts?.url === 'string' && typeof facts.api_key === 'string' ? { url: facts.url, api_key: facts.api_key } : null;
  } catch {
    return null;
  }
}

export function connect({ url, apiKey }: Connection): Anthropic {
  return new Anthropic({ baseURL: url, apiKey });
}
