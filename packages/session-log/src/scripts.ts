/** The Lua scripts as commands of a connection. The number of keys stands in the file name; results are documented in each file. */
import { readFileSync } from 'node:fs';
import type { Redis } from '@manyhands/base';
import { TYPE_BITS } from './type-index.ts';

type Reply = (string | number)[];
type Argument = string | number;

/** A connection that knows the scripts. */
export type ScriptedRedis = Redis & {
  mhCreate(...keysAndArguments: Argument[]): Promise<number>;
  mhSend(...keysAndArguments: Argument[]): Promise<Reply>;
  mhAppend(...keysAndArguments: Argument[]): Promise<Reply>;
  mhAcquire(...keysAndArguments: Argument[]): Promise<unknown[]>;
  mhRenew(...keysAndArguments: Argument[]): Promise<number>;
  mhRelease(...keysAndArguments: Argument[]): Promise<number>;
  mhChange(...keysAndArguments: Argument[]): Promise<number>;
  mhFiles(...keysAndArguments: Argument[]): Promise<number | Reply>;
  mhFindTime(...keysAndArguments: Argument[]): Promise<number>;
};

const SCRIPTS = {
  mhCreate: 'create.7',
  mhSend: 'send.6',
  mhAppend: 'append.5',
  mhAcquire: 'acquire.5',
  mhRenew: 'renew.2',
  mhRelease: 'release.3',
  mhChange: 'change.7',
  mhFiles: 'files.2',
  mhFindTime: 'find-time.1',
};

function source(file: string): string {
  return readFileSync(new URL(`../src/lua/${file}.lua`, import.meta.url), 'utf8');
}

/** The numbers of the types, for the scripts: `local TYPE_BITS = { ['user.message'] = 1, … }`. */
function typeBits(): string {
  return `local TYPE_BITS = { ${Object.entries(TYPE_BITS)
    .map(([type, bit]) => `['${type}'] = ${bit}`)
    .join(', ')} }`;
}

/** Adds the scripts to a connection; adding them again changes nothing. */
export function defineScripts(redis: Redis): ScriptedRedis {
  if (!('mhAppend' in redis)) {
    const prelude = `${typeBits()}\n${source('prelude')}`;
    for (const [name, file] of Object.entries(SCRIPTS)) {
      (redis as Redis).defineCommand(name, { lua: `${prelude}\n${source(file)}`, numberOfKeys: Number(file.split('.')[1]) });
    }
  }
  return redis as ScriptedRedis;
}
