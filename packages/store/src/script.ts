/** Lua scripts, read from `lua/` once and called by their digest; a server that does not know one yet gets its text. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Redis } from '@manyhands/base';

export interface Script {
  run(redis: Redis, keys: readonly string[], args: readonly string[]): Promise<unknown>;
}

export function loadScript(name: string): Script {
  // From `src` and from `dist` alike, this is the directory beside the sources.
  const text = readFileSync(new URL(`../src/lua/${name}.lua`, import.meta.url), 'utf8');
  const digest = createHash('sha1').update(text).digest('hex');
  return {
    async run(redis, keys, args) {
      try {
        return await redis.evalsha(digest, keys.length, ...keys, ...args);
      } catch (error) {
        if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
        return redis.eval(text, keys.length, ...keys, ...args);
      }
    },
  };
}
