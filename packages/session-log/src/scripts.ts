/**
 * The Lua scripts as commands of a connection. The number of keys stands in the file name; keys, arguments and results are documented in each
 * file. `lua/library` is put in front of each.
 */
import { readFileSync } from 'node:fs';
import { assertFormat, ensureError, type Redis } from '@manyhands/base';
import { EVENT_KINDS } from '@manyhands/contract';
import type { RawEntry } from './log/entry.ts';
import { TYPE_BITS } from './log/type-index.ts';
import { LOG_FORMAT } from './threads/state.ts';

type Reply = (string | number)[];
type Argument = string | number;

/** A connection that knows the scripts. */
export type ScriptedRedis = Redis & {
  mhCreate(...keysAndArguments: Argument[]): Promise<Reply>;
  mhSend(...keysAndArguments: Argument[]): Promise<Reply>;
  mhAppend(...keysAndArguments: Argument[]): Promise<Reply>;
  mhAcquire(...keysAndArguments: Argument[]): Promise<unknown[]>;
  mhRenew(...keysAndArguments: Argument[]): Promise<number[]>;
  mhRelease(...keysAndArguments: Argument[]): Promise<number[]>;
  mhChange(...keysAndArguments: Argument[]): Promise<Reply>;
  mhFiles(...keysAndArguments: Argument[]): Promise<Reply>;
  mhGet(...keysAndArguments: Argument[]): Promise<unknown[]>;
  mhGetThread(...keysAndArguments: Argument[]): Promise<unknown[]>;
  mhDue(...keysAndArguments: Argument[]): Promise<string[]>;
  mhIndex(...keysAndArguments: Argument[]): Promise<string[]>;
  mhHeads(...keysAndArguments: Argument[]): Promise<Reply>;
  mhEnds(...keysAndArguments: Argument[]): Promise<[head: number, queued: string[], shown: string[]]>;
  mhRead(...keysAndArguments: Argument[]): Promise<RawEntry[]>;
  mhFindTime(...keysAndArguments: Argument[]): Promise<number>;
  mhFindSequence(...keysAndArguments: Argument[]): Promise<number>;
  mhSandboxAnswer(...keysAndArguments: Argument[]): Promise<number>;
  mhMigrate(...keysAndArguments: Argument[]): Promise<number>;
};

const SCRIPTS = {
  mhCreate: 'create.2',
  mhSend: 'send.3',
  mhAppend: 'append.2',
  mhAcquire: 'acquire.2',
  mhRenew: 'renew.2',
  mhRelease: 'release.2',
  mhChange: 'change.3',
  mhFiles: 'files.1',
  mhGet: 'read/get.1',
  mhGetThread: 'read/get-thread.1',
  mhDue: 'due.1',
  mhIndex: 'read/index.1',
  mhHeads: 'read/heads.1',
  mhEnds: 'read/ends.1',
  mhRead: 'read/read.1',
  mhFindTime: 'read/find-time.1',
  mhFindSequence: 'read/find-sequence.1',
  mhSandboxAnswer: 'sandbox-answer.1',
  mhMigrate: 'migrate.2',
};
const LIBRARY = ['base', 'entries', 'status'];

function source(file: string): string {
  return readFileSync(new URL(`../src/lua/${file}.lua`, import.meta.url), 'utf8');
}

/** What the scripts know of the kinds of events: `local TYPE_BITS = { ['user.message'] = 1, … }`, and which kind of call a kind answers. */
function eventKinds(): string {
  const table = (name: string, entries: [type: string, value: string | number][]) =>
    `local ${name} = { ${entries.map(([type, value]) => `['${type}'] = ${value}`).join(', ')} }`;
  const answers = Object.entries(EVENT_KINDS).flatMap(([type, { answers }]): [string, string][] =>
    answers ? [[type, `'${answers.call}'`]] : [],
  );
  return [table('TYPE_BITS', Object.entries(TYPE_BITS)), table('ANSWERS', answers)].join('\n');
}

/** What a script says of a state that a newer version wrote (lua/library/base.lua). */
const NEWER_FORMAT = /^NEWERFORMAT (\S+) (.*?)(?: script: .*)?$/;

/** Throws AppError `newer_format` for a script's refusal, and any other error as it is. */
function refused(error: unknown): never {
  const [, format, what = ''] = NEWER_FORMAT.exec(ensureError(error).message) ?? [];
  if (format !== undefined) assertFormat(what, Number(format), LOG_FORMAT);
  throw error;
}

/** Adds the scripts to a connection; adding them again changes nothing. */
export function defineScripts(redis: Redis): ScriptedRedis {
  if (!('mhAppend' in redis)) {
    const library = [eventKinds(), ...LIBRARY.map((file) => source(`library/${file}`))].join('\n');
    const scripted: Record<string, unknown> = redis as unknown as Record<string, unknown>;
    for (const [name, file] of Object.entries(SCRIPTS)) {
      (redis as Redis).defineCommand(name, { lua: `${library}\n${source(file)}`, numberOfKeys: Number(file.split('.')[1]) });
      const run = scripted[name] as (...keysAndArguments: Argument[]) => Promise<unknown>;
      scripted[name] = (...keysAndArguments: Argument[]) => run.apply(redis, keysAndArguments).catch(refused);
    }
  }
  return redis as ScriptedRedis;
}
