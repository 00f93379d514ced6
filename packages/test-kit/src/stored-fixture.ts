/**
 * Fixtures of what released versions store, put back as they were: keys into an empty Redis, files into a data directory as `manyhands up
 * --data` expects it. `up` of this version can then be started on both: on the Redis by REDIS_URL, or on its own if the keys were loaded
 * into a server whose directory is `<data>/redis`, which was ended since.
 *
 * - A key is what it was: streams have their very ids, their last one and their counts. What was to expire expires after as long as it then had.
 * - Files are as old as the loading, since some of them are swept by age. They belong to whoever loads them.
 * - Nothing is overwritten: a Redis with keys and a directory with blobs are refused.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { createRedis, type Redis } from '@manyhands/base';
import { silentLogger } from './silent-logger.ts';

const KEYS_AT_ONCE = 50;
const FILES = 'data.tar.gz';
/** Ids below it: an entry that is added only to be taken away again. */
const FIRST_ID = '0-1';

/** Text, or bytes that are none. */
export type Stored = string | { base64: string };
export type StoredKey = { key: string; ttl_ms: number | null } & (
  | { type: 'string'; value: Stored }
  | { type: 'list' | 'set'; value: Stored[] }
  /** Fields and values; members and scores. */
  | { type: 'hash' | 'zset'; value: [Stored, Stored][] }
  | { type: 'stream'; value: StoredStream }
);
export interface StoredStream {
  last_id: string;
  entries_added: number;
  max_deleted_id: string;
  entries: [id: string, fieldsAndValues: Stored[]][];
}

/** A body of the API, as that version answered it. */
export type Body = Record<string, unknown>;
export type EventBody = Body & { id: string; type: string; processed_at: string | null };

/** What there is to know of a session, and what the API of that version told of it at the end. */
export interface FixtureSession {
  about: string;
  session_id: string;
  workspace_id: string;
  environment_id: string;
  agent_id: string;
  agent_version: number;
  status: string;
  /** Of its last idle; null if it never was. */
  last_stop_reason: string | null;
  event_count: number;
  /** Events of its client that nobody took up: they are listed last. */
  queued_count: number;
  last_event_types: string[];
  /** Of the first message; null if there is none. */
  first_text: string | null;
  file_ids: string[];
  /** Of one at work, what is counted by time went on after this: seconds, usage and cost. */
  session: Body;
  thread: Body;
  events: EventBody[];
  /** Of this session, with SHA-256 of the content of those that can be downloaded. */
  files: Body[];
  content_sha256: Record<string, string>;
}

export interface FixtureSessions {
  version: string;
  /** API keys by name: `operator`, `second` and `revoked`. */
  keys: Record<string, string>;
  /** Lists as the API gave them, archived and revoked ones included. */
  agents: Body[];
  agent_versions: Body[];
  environments: Body[];
  api_keys: Body[];
  files: Body[];
  /** Newest first, archived ones included. */
  session_ids: string[];
  sessions: Record<string, FixtureSession>;
}

/** `directory` holds a fixture, such as `test/fixtures/0.1.0`. */
export async function loadFixture(
  directory: string,
  { redisUrl, dataDirectory }: { redisUrl: string; dataDirectory: string },
): Promise<FixtureSessions> {
  const redis = createRedis(redisUrl, 'finite', silentLogger, 'test-kit');
  try {
    if ((await redis.dbsize()) > 0) throw new Error(`loadFixture: the Redis at ${new URL(redisUrl).host} holds keys already`);
    if (existsSync(path.join(dataDirectory, 'blobs'))) throw new Error(`loadFixture: ${dataDirectory} holds blobs already`);
    // The files first, so that time runs for the keys from their loading on.
    await loadFiles(directory, dataDirectory);
    await loadKeys(redis, await readKeys(directory));
  } finally {
    redis.disconnect();
  }
  return JSON.parse(await readFile(path.join(directory, 'sessions.json'), 'utf8')) as FixtureSessions;
}

export async function readKeys(directory: string): Promise<StoredKey[]> {
  const lines = (await readFile(path.join(directory, 'redis.ndjson'), 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as StoredKey);
}

async function loadFiles(directory: string, dataDirectory: string): Promise<void> {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
  const how = ['--extract', '--gzip', '--touch', '--no-same-owner', '--preserve-permissions'];
  await promisify(execFile)('tar', [...how, '--directory', dataDirectory, '--file', path.join(directory, FILES)]);
}

async function loadKeys(redis: Redis, keys: readonly StoredKey[]): Promise<void> {
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
    const pipeline = redis.pipeline();
    for (const stored of keys.slice(at, at + KEYS_AT_ONCE)) {
      for (const [command, ...args] of commandsFor(stored)) pipeline.call(command, ...args);
      if (stored.ttl_ms !== null) pipeline.call('PEXPIRE', stored.key, stored.ttl_ms);
    }
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
  }
}

type Command = [name: string, ...args: (string | number | Buffer)[]];

function commandsFor(stored: StoredKey): Command[] {
  const { key, type, value } = stored;
  switch (type) {
    case 'string':
      return [['SET', key, bytes(value)]];
    case 'list':
      return [['RPUSH', key, ...value.map(bytes)]];
    case 'set':
      return [['SADD', key, ...value.map(bytes)]];
    case 'hash':
      return [['HSET', key, ...value.flat().map(bytes)]];
    case 'zset':
      return [['ZADD', key, ...value.flatMap(([member, score]) => [bytes(score), bytes(member)])]];
    case 'stream':
      return streamCommands(key, value);
  }
}

function streamCommands(key: string, { last_id, entries_added, max_deleted_id, entries }: StoredStream): Command[] {
  const added = entries.map(([id, fields]): Command => ['XADD', key, id, ...fields.map(bytes)]);
  const empty: Command[] = [
    ['XADD', key, FIRST_ID, '', ''],
    ['XDEL', key, FIRST_ID],
  ];
  const facts: Command = ['XSETID', key, last_id, 'ENTRIESADDED', entries_added, 'MAXDELETEDID', max_deleted_id];
  return [...(added.length > 0 ? added : empty), facts];
}

function bytes(stored: Stored): string | Buffer {
  return typeof stored === 'string' ? stored : Buffer.from(stored.base64, 'base64');
}
