/** The script loader: a Lua script is read once from the `lua` folder of its room and called by its digest; on NOSCRIPT its text is sent. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Redis } from '@manyhands/base';

export interface Script {
  run(redis: Redis, keys: readonly string[], args: readonly string[]): Promise<unknown>;
}

/** `name` is the room and the file, such as `kit/create-record`. */
export function loadScript(name: `${string}/${string}`): Script {
  const [room, file] = name.split('/');
  // The path holds from `src/kit` and from `dist/kit` alike.
  const text = readFileSync(new URL(`../../src/${room}/lua/${file}.lua`, import.meta.url), 'utf8');
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
