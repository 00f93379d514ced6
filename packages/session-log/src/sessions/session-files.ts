/**
 * The files that are mounted in a session: a hash beside its state, since they change while a worker runs it. Field `#` counts the changes, so
 * that a worker learns with one short read that there was none.
 */
import { AppError } from '@manyhands/base';
import { FILES_PER_SESSION_MAX } from '@manyhands/contract';
import { sessionKeys } from '../keys.ts';
import type { SessionLog } from '../log-port.ts';
import type { ScriptedRedis } from '../scripts.ts';
import type { SessionFile } from '../types.ts';

const REVISION = '#';
const REFUSED = { [-1]: 'missing', [-2]: 'archived', [-3]: 'too_many' } as const;

/** Fields and values of the hash of a new session. */
export function filesFields(files: readonly SessionFile[]): string[] {
  return files.length === 0 ? [] : [REVISION, '1', ...files.flatMap((file) => [file.id, JSON.stringify(file)])];
}

export function parseFiles(hash: Readonly<Record<string, string>>): { revision: number; files: SessionFile[] } {
  const { [REVISION]: revision = '0', ...rest } = hash;
  const files = Object.values(rest).map((text) => JSON.parse(text) as SessionFile);
  files.sort((a, b) => a.created_at_ms - b.created_at_ms || (a.id < b.id ? -1 : 1));
  return { revision: Number(revision), files };
}

/** `touch` sees to it that a session of 0.1.0 is in this version's format; true if it just was put there. */
export function createSessionFiles(
  redis: ScriptedRedis,
  touch: (sessionId: string) => Promise<boolean>,
): Pick<SessionLog, 'addFile' | 'removeFile' | 'files' | 'filesRevision'> {
  async function change(sessionId: string, ...what: (string | number)[]): Promise<(string | number)[]> {
    const ask = () => redis.mhFiles(sessionKeys(sessionId).state, ...what);
    const reply = await ask();
    return reply[0] === -1 && (await touch(sessionId)) ? ask() : reply;
  }
  return {
    async addFile(sessionId, file) {
      const { id, mount_path } = file;
      const [code, path] = await change(sessionId, 'add', id, JSON.stringify(file), mount_path, FILES_PER_SESSION_MAX);
      if (code === -4) return { outcome: 'taken', path: String(path) };
      if (code === 1) return { outcome: 'added' };
      const outcome = REFUSED[code as keyof typeof REFUSED];
      if (!outcome) throw new AppError('internal', `adding a file answered ${code}`);
      return { outcome };
    },
    async removeFile(sessionId, resourceId) {
      const [code] = await change(sessionId, 'remove', resourceId);
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
