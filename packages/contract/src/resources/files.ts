/**
 * Files and the files that are mounted into sessions (CONTRACT 1.10, 1.5, 2.2, 2.6).
 *
 * A file is an upload (no scope), the copy of an upload that a session has mounted, or what an agent left in its outputs (scope: the session).
 */
import { z } from 'zod';
import { SANDBOX_PATHS } from '../rpc/hand-protocol.ts';

export const FILE_MAX_BYTES = 500 * 1024 * 1024;
export const FILE_EXPIRY_SECONDS = { min: 3_600, max: 7_776_000 } as const;
export const FILES_PER_SESSION_MAX = 999;

export interface FileMetadata {
  type: 'file';
  id: string;
  filename: string;
  mime_type: string;
  size_bytes: number;
  created_at: string;
  downloadable: boolean;
  expires_at: string | null;
  scope: { type: 'session'; id: string } | null;
}

/** Where the bytes of a file are: below its session if it has one, so that they go with it. Each file has a prefix of its own. */
export function fileBlobPrefix(workspaceId: string, sessionId: string | null, fileId: string): string {
  return sessionId === null ? `${workspaceId}/files/${fileId}/` : `${workspaceId}/${sessionId}/files/${fileId}/`;
}
export function fileBlobKey(workspaceId: string, sessionId: string | null, fileId: string): string {
  return `${fileBlobPrefix(workspaceId, sessionId, fileId)}content`;
}

const MOUNT_PATH_MAX_CHARS = 512;
const NAME_MAX_BYTES = 255;
const CONTROL = /[\u0000-\u001f\u007f]/;
const BROKEN_TEXT = /\p{Surrogate}/u;
/** Below these a file may be mounted: the one is read-only inside, the other is the agent's and gets a read-only copy. */
const MOUNT_ROOTS = [SANDBOX_PATHS.uploads, SANDBOX_PATHS.workspace] as const;

function mountProblem(given: string): string | null {
  if (given === '') return 'must not be empty; leave it out for the default';
  if (given.length > MOUNT_PATH_MAX_CHARS) return `at most ${MOUNT_PATH_MAX_CHARS} characters`;
  if (CONTROL.test(given) || BROKEN_TEXT.test(given)) return 'must not hold control characters or broken text';
  if (given.endsWith('/')) return 'must name a file, not a directory: leave the / at its end out';
  const names = given.split('/').slice(given.startsWith('/') ? 1 : 0);
  if (names.some((name) => name === '' || name === '.' || name === '..')) return 'must be a clean path: no empty part, no . and no ..';
  if (names.some((name) => new TextEncoder().encode(name).length > NAME_MAX_BYTES))
    return `a part of it is longer than ${NAME_MAX_BYTES} bytes`;
  if (given.startsWith('/') && !MOUNT_ROOTS.some((root) => given.startsWith(`${root}/`)))
    return `must be below ${MOUNT_ROOTS.join(' or ')}; nothing else of a sandbox takes files`;
  return null;
}

/** An absolute path below one of the roots; a relative one is below the uploads. */
export const MountPath = z
  .string()
  .superRefine((given, context) => {
    const problem = mountProblem(given);
    if (problem !== null) context.addIssue({ code: 'custom', message: problem });
  })
  .transform((given) => (given.startsWith('/') ? given : `${SANDBOX_PATHS.uploads}/${given}`));

export function defaultMountPath(fileId: string): string {
  return `${SANDBOX_PATHS.uploads}/${fileId}`;
}

export const FileResourceIn = z.strictObject({
  type: z.literal('file'),
  file_id: z.string(),
  mount_path: MountPath.nullish(),
});
export type FileResourceIn = z.infer<typeof FileResourceIn>;

const LATER_RESOURCES = new Map([
  ['github_repository', 'github_repository resources are not supported yet; leave them out'],
  ['memory_store', 'memory_store resources are not supported yet; leave them out'],
]);
const resourceError = (issue: { input?: unknown }): string => {
  const type = (issue.input as { type?: unknown } | null)?.type;
  return (
    (typeof type === 'string' ? LATER_RESOURCES.get(type) : undefined) ??
    'a resource is {"type":"file","file_id":"file_…","mount_path":"/mnt/session/uploads/…"}'
  );
};
/** What RS-5 takes, and each of a session's first resources. */
export const ResourceIn = z.discriminatedUnion('type', [FileResourceIn], { error: resourceError });
export type ResourceIn = z.infer<typeof ResourceIn>;
export const ResourcesIn = z.array(ResourceIn).max(FILES_PER_SESSION_MAX, `at most ${FILES_PER_SESSION_MAX} files`);

/** RS-2: only tokens of repositories are rotated, and there are none yet. */
export const ResourceUpdate = z.strictObject({ authorization_token: z.string() });

/** `file_id` is the session's own copy. */
export interface FileResource {
  type: 'file';
  id: string;
  file_id: string;
  mount_path: string;
  created_at: string;
  updated_at: string;
}
export type SessionResource = FileResource;
