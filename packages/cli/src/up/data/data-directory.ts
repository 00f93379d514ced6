/**
 * The data directory of `up`: everything is below it, readable by its owner only.
 *
 *   api-key              the first API key, operator scope; made at the first start
 *   secrets.json         passwords of our own Redis and NATS
 *   ready.json           the running instance, for `chat` and `keys`; gone when nothing runs
 *   run/lock             the process that holds this directory
 *   run/processes.json   what was started, for the next start after a crash
 *   logs/<name>.log      one per process
 *   redis/ nats/ blobs/ sandboxes/   data of those
 *   engine/              images and containers of a Docker engine of our own, if there is one
 */
import { randomInt } from 'node:crypto';
import { accessSync, chmodSync, constants } from 'node:fs';
import { join } from 'node:path';
import { makeDirectories, readIfPresent, writeByRename } from '../../durable-file.ts';
import { UsageError } from '../../usage-error.ts';

export interface DataDirectory {
  readonly path: string;
  readonly apiKeyFile: string;
  readonly readyFile: string;
  readonly processesFile: string;
  readonly logs: string;
  readonly redis: string;
  readonly nats: string;
  readonly engine: string;
}

export interface Secrets {
  redis_password: string;
  nats_password: string;
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const KEY_PREFIX = 'mh-';
const KEY_CHARACTERS = 40;
const PASSWORD_CHARACTERS = 40;
/** As the gateway takes it. */
const CHOSEN_KEY = /^[\x21-\x7e]{8,512}$/;

/** Makes what is missing. `path` is absolute. */
export function openDataDirectory(path: string): DataDirectory {
  const directory: DataDirectory = {
    path,
    apiKeyFile: join(path, 'api-key'),
    readyFile: readyFileOf(path),
    processesFile: join(path, 'run', 'processes.json'),
    logs: join(path, 'logs'),
    redis: join(path, 'redis'),
    nats: join(path, 'nats'),
    engine: join(path, 'engine'),
  };
  try {
    makeDirectories(path, 0o700);
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    for (const name of ['run', 'logs', 'redis', 'nats']) makeDirectories(join(path, name), 0o700);
    // It holds keys; somebody may have made it by hand.
    chmodSync(path, 0o700);
  } catch (error) {
    throw new UsageError(`--data: ${path} cannot be used: ${(error as Error).message}. Choose a directory this user may write to.`);
  }
  return directory;
}

/** The ready file of a running instance. */
export function readyFileOf(dataDir: string): string {
  return join(dataDir, 'ready.json');
}

/** The key that the user chose, else the stored one, else a new one, which is stored. */
export function loadApiKey(directory: DataDirectory, chosen: string | undefined): string {
  if (chosen !== undefined) {
    if (!CHOSEN_KEY.test(chosen)) throw new UsageError('MANYHANDS_API_KEY: use 8 to 512 printable ASCII characters without spaces.');
    return chosen;
  }
  const kept = readIfPresent(directory.apiKeyFile)?.trim();
  if (kept !== undefined) {
    if (!CHOSEN_KEY.test(kept))
      throw new UsageError(`${directory.apiKeyFile} does not hold an API key. Remove the file, and a new key is made.`);
    return kept;
  }
  const key = KEY_PREFIX + randomCharacters(KEY_CHARACTERS);
  writeByRename(directory.apiKeyFile, `${key}\n`);
  return key;
}

export function loadSecrets(directory: DataDirectory): Secrets {
  const file = join(directory.path, 'secrets.json');
  const kept = readIfPresent(file);
  if (kept !== null) {
    try {
      const { redis_password, nats_password } = JSON.parse(kept) as Partial<Secrets>;
      if (typeof redis_password === 'string' && typeof nats_password === 'string') return { redis_password, nats_password };
    } catch {
      // Told below.
    }
    throw new UsageError(`${file} is damaged. Remove the file, and new passwords are made.`);
  }
  const secrets = { redis_password: randomCharacters(PASSWORD_CHARACTERS), nats_password: randomCharacters(PASSWORD_CHARACTERS) };
  writeByRename(file, `${JSON.stringify(secrets)}\n`);
  return secrets;
}

function randomCharacters(count: number): string {
  return Array.from({ length: count }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
}
