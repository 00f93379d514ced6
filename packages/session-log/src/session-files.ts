/**
 * The files that are mounted in a session: a hash beside its state, since they change while a worker runs it. Field `#` counts the changes, so
 * that a worker learns with one short read that there was none.
 */
import { AppError, type Clock } from '@manyhands/base';
import { FILES_PER_SESSION_MAX } from '@manyhands/contract';
import { sessionKeys } from './keys.ts';
import type { ScriptedRedis } from './scripts.ts';
import type { SessionFile, SessionLog } from './types.ts';

const REVISION = '#';
const REFUSED = { [-1]: 'missing', [-2]: 'archived', [-3]: 'too_many' } as const;

/** Fields and values of the hash of a new session. */
export function filesFields(files: readonly SessionFile[]): string[] {
  return files.length === 0 ? [] : [REVISION, '1', ...files.flatMap((file) => [file.id, JSON.stringify(file)])];
}

export function parseFiles(hash: Record<string, string>): { revision: number; files: SessionFile[] } {
  const { [REVISION]: revision = '0', ...rest } = hash;
  const files = Object.values(rest).map((text) => JSON.parse(text) as SessionFile);
  files.sort((a, b) => a.created_at_ms - b.created_at_ms || (a.id < b.id ? -1 : 1));
  return { revision: Number(revision), files };
}

export function createSessionFiles(
  redis: ScriptedRedis,
  clock: Clock,
): Pick<SessionLog, 'addFile' | 'removeFile' | 'files' | 'filesRevision'> {
  return {
    async addFile(sessionId, file) {
      const keys = sessionKeys(sessionId);
      const { id, mount_path } = file;
      const code = await redis.mhFiles(
        keys.state,
        keys.files,
        clock.now(),
        'add',
        id,
        JSON.stringify(file),
        mount_path,
        FILES_PER_SESSION_MAX,
      );
      if (Array.isArray(code)) return { outcome: 'taken', path: String(code[1]) };
      if (code === 1) return { outcome: 'added' };
      const outcome = REFUSED[code as keyof typeof REFUSED];
      if (!outcome) throw new AppError('internal', `adding a file answered ${code}`);
      return { outcome };
    },
    async removeFile(sessionId, resourceId) {
      const keys = sessionKeys(sessionId);
      const code = await redis.mhFiles(keys.state, keys.files, clock.now(), 'remove', resourceId);
      if (code === 1) return 'removed';
      return code === 0 ? 'unknown' : code === -2 ? 'archived' : 'missing';
    },
    async filesRevision(sessionId) {
      return Number((await redis.hget(sessionKeys(sessionId).files, REVISION)) ?? 0);
    },
    async files(sessionId) {
      return parseFiles(await redis.hgetall(sessionKeys(sessionId).files));
    },
  };
}
