/**
 * What an installation of 0.1.0 needs before this version serves it: every session that has work is marked due in the new way, and what
 * clients sent in the last minute is remembered, so that a request that is sent again over the upgrade is not stored twice (CONTRACT 8 K).
 */
import { isCluster, type Redis } from '@manyhands/base';
import { oldSentKeys, parseOldSentKey, sessionKeys } from '../keys.ts';
import { defineScripts } from '../scripts.ts';
import { createLegacy } from './legacy.ts';

const SCAN_KEYS = 1_000;

/** May be repeated, and interrupted anywhere. */
export async function upgradeSessions(redis: Redis): Promise<void> {
  await carrySends(redis);
  await createLegacy(defineScripts(redis)).work();
}

/** A key that has expired by now, or that another process carried over, is gone. */
async function carrySends(redis: Redis): Promise<void> {
  // 0.1.0 ran on single servers only.
  if (isCluster(redis)) return;
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', oldSentKeys, 'COUNT', SCAN_KEYS);
    for (const key of keys) {
      const { sessionId, digest } = parseOldSentKey(key);
      await redis.copy(key, sessionKeys(sessionId).sent(digest));
    }
    cursor = next;
  } while (cursor !== '0');
}
