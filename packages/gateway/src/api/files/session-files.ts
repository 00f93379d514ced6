/**
 * Mounts files into sessions: the session gets a copy with its own id, which outlives the upload. Copies are made before the session refers
 * to them; those of a session that was never created are swept.
 */
import { AppError, invalidRequest, notFound } from '@manyhands/base';
import { defaultMountPath, isId, type ResourceIn } from '@manyhands/contract';
import type { SessionFile } from '@manyhands/session-log';
import type { StoredFile } from '@manyhands/store';
import type { GatewayDeps } from '../../deps.ts';
import { fileExpired } from './files.ts';

type Deps = Pick<GatewayDeps, 'files' | 'ids' | 'clock'>;
const COPIES_AT_ONCE = 16;

export function mountPathOf({ file_id, mount_path }: ResourceIn): string {
  return mount_path ?? defaultMountPath(file_id);
}

/** A file whose bytes may be used. */
export async function findFile({ files }: Pick<Deps, 'files'>, workspaceId: string, fileId: string): Promise<StoredFile> {
  const file = isId('file', fileId) ? await files.get(workspaceId, fileId) : null;
  if (!file) throw notFound('file', fileId);
  if (files.isExpired(file)) throw fileExpired(fileId);
  return file;
}

/** 400 for two that cannot both be there. */
function checkPaths(paths: readonly string[]): void {
  const order = paths.map((path, at) => ({ path: `${path}/`, at })).sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const [i, { path, at }] of order.entries()) {
    const next = order[i + 1];
    if (next?.path.startsWith(path)) throw pathTaken(`resources.${Math.max(at, next.at)}.mount_path`, paths[Math.min(at, next.at)] ?? '');
  }
}
export function pathTaken(field: string, path: string) {
  return invalidRequest(`${field}: another file of this session is mounted at ${path}; give each a path that no other is at or below`);
}

/** Everything that can be refused, before anything is copied. */
export async function checkResources(deps: Deps, workspaceId: string, wanted: readonly ResourceIn[]): Promise<StoredFile[]> {
  checkPaths(wanted.map(mountPathOf));
  return Promise.all(wanted.map(({ file_id }) => findFile(deps, workspaceId, file_id)));
}

export async function mountFile(
  { files, ids, clock }: Deps,
  workspaceId: string,
  sessionId: string,
  file: StoredFile,
  path: string,
): Promise<SessionFile> {
  const copyId = ids.id('file');
  const copy = await files.mount(workspaceId, file, sessionId, copyId);
  if (!copy) {
    await files.abandon(workspaceId, sessionId, copyId);
    throw notFound('file', file.id);
  }
  return { id: ids.id('sessionResource'), file_id: copyId, mount_path: path, created_at_ms: clock.now() };
}

/** The files of a session that is about to be created. Throws, with nothing left for long, if one of them vanished meanwhile. */
export async function mountAll(
  deps: Deps,
  workspaceId: string,
  sessionId: string,
  wanted: readonly ResourceIn[],
  found: readonly StoredFile[],
): Promise<SessionFile[]> {
  if (wanted.length === 0) return [];
  await deps.files.announceScope(workspaceId, sessionId);
  const startedAtMs = deps.clock.now();
  const mounted: SessionFile[] = [];
  for (let at = 0; at < wanted.length; at += COPIES_AT_ONCE) {
    const batch = wanted.slice(at, at + COPIES_AT_ONCE);
    const copies = await Promise.all(
      batch.map((resource, i) => {
        const file = found[at + i];
        if (!file) throw new AppError('internal', 'a resource was not looked up');
        return mountFile(deps, workspaceId, sessionId, file, mountPathOf(resource));
      }),
    );
    // In the order of the request, also within a millisecond.
    mounted.push(...copies.map((copy, i) => ({ ...copy, created_at_ms: startedAtMs + (at + i) / 1_000 })));
  }
  return mounted;
}
