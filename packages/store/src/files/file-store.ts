/**
 * Files: their records on Redis, their bytes in the blob store (CONTRACT 1.10).
 *
 * - The bytes are durable before the record is made, and go after the record is gone: a record always has its bytes, until it expires.
 * - Bytes are recorded as pending before the first of them is written and until there is a record, and again from the deletion on. If the
 *   process dies in between, `sweep` finds the pending entry once it was not renewed for PENDING_MS.
 * - A file that has a scope is deleted with its session, by `deleteScope`.
 */
import { AppError, type Clock, decodeCursor, encodeCursor, type Redis } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { type FileMetadata, fileBlobKey, fileBlobPrefix, type Page, timestamp } from '@manyhands/contract';
import { keys } from '../kit/keys.ts';
import { readRecord, writeRecord } from '../kit/record-text.ts';
import { loadScript } from '../kit/script.ts';

const createScript = loadScript('files/create-file');
const deleteScript = loadScript('files/delete-file');
const claimScript = loadScript('files/claim-bytes');

/** To be renewed several times within this. */
const PENDING_MS = 150_000;
/** Far longer than the creation of a session may take. */
const SCOPE_CREATION_MS = 600_000;
/** How long an expired file is still reported as expired. */
const EXPIRED_KNOWN_MS = 30 * 86_400_000;
const ANY_TIME = '9e15';
const SWEEP_LIMIT = 500;
const MS_DIGITS = 15;
const isMember = (value: unknown): value is string => typeof value === 'string';

/** Where a file comes from: an upload, the copy of one that a session has mounted, or an output of an agent. */
export type FileOrigin = { kind: 'upload' } | { kind: 'mount' } | { kind: 'output'; path: string; sha256: string };
export interface StoredFile {
  id: string;
  filename: string;
  mime_type: string;
  size_bytes: number;
  created_at_ms: number;
  expires_at_ms: number | null;
  /** The session that it belongs to. */
  session_id: string | null;
  origin: FileOrigin;
}
export type NewFile = Omit<StoredFile, 'created_at_ms'>;

export interface CapturedOutput {
  /** Null if a client deleted it. */
  current: StoredFile | null;
  sha256: string;
  replaced: StoredFile[];
}

export interface FileStore {
  /** Before the first byte is written, and again at least once a minute until `create`. */
  pending(workspaceId: string, sessionId: string | null, id: string): Promise<void>;
  /** Deletes bytes that will get no record. */
  abandon(workspaceId: string, sessionId: string | null, id: string): Promise<void>;
  /** Makes the record of bytes that are pending and durable. Throws `unavailable` if a sweep removed them meanwhile. */
  create(workspaceId: string, file: NewFile): Promise<StoredFile>;
  /** A copy of `file` that belongs to a session; null if the bytes are gone. */
  mount(workspaceId: string, file: StoredFile, sessionId: string, copyId: string): Promise<StoredFile | null>;
  get(workspaceId: string, id: string): Promise<StoredFile | null>;
  /** In this order; unknown ones are left out. */
  getAll(workspaceId: string, ids: readonly string[]): Promise<StoredFile[]>;
  /** Newest first; all files of the workspace, or those of a session. */
  list(
    workspaceId: string,
    query: { limit: number; cursor?: string | undefined; sessionId?: string | undefined },
  ): Promise<Page<StoredFile>>;
  /** What was captured of a session's outputs, by path; with what it replaced, if that is still there. */
  outputs(workspaceId: string, sessionId: string): Promise<Map<string, CapturedOutput>>;
  /** Takes away what a newer output replaced. */
  dropReplaced(workspaceId: string, file: StoredFile): Promise<void>;
  isExpired(file: StoredFile): boolean;
  /** False if there is no such file. An output is not captured again while it stays as it was. */
  delete(workspaceId: string, id: string): Promise<boolean>;
  /** A session with files is about to be created: should it never be, `sweep` finds them. */
  announceScope(workspaceId: string, sessionId: string): Promise<void>;
  deleteScope(workspaceId: string, sessionId: string): Promise<void>;
  /** Removes what expired and what was left over. `existing` says which sessions there are. Any number of processes may sweep. */
  sweep(existing: (sessionIds: string[]) => Promise<ReadonlySet<string>>): Promise<number>;
}

export function toFileMetadata(file: StoredFile): FileMetadata {
  return {
    type: 'file',
    id: file.id,
    filename: file.filename,
    mime_type: file.mime_type,
    size_bytes: file.size_bytes,
    created_at: timestamp(file.created_at_ms),
    downloadable: file.origin.kind === 'output',
    expires_at: file.expires_at_ms === null ? null : timestamp(file.expires_at_ms),
    scope: file.session_id === null ? null : { type: 'session', id: file.session_id },
  };
}

function listMember(file: Pick<StoredFile, 'id' | 'created_at_ms'>): string {
  return `${String(Math.max(0, Math.floor(file.created_at_ms))).padStart(MS_DIGITS, '0')}:${file.id}`;
}
/** Pending bytes are named by what their blob key needs. */
function pendingMember(sessionId: string | null, id: string): string {
  return `${id}|${sessionId ?? ''}`;
}
function parsePending(member: string): { id: string; sessionId: string | null } {
  const [id = '', sessionId = ''] = member.split('|');
  return { id, sessionId: sessionId === '' ? null : sessionId };
}
const expiryMembers = (id: string) => [`b|${id}`, `r|${id}`];

export function createFileStore(redis: Redis, blobs: BlobStore, clock: Clock): FileStore {
  const knownWorkspaces = new Set<string>();
  /** So that a sweep finds the workspace; before anything else is written in it. */
  async function know(workspaceId: string): Promise<void> {
    if (knownWorkspaces.has(workspaceId)) return;
    await redis.sadd(keys.fileWorkspaces, workspaceId);
    knownWorkspaces.add(workspaceId);
  }
  const place = (workspaceId: string, file: Pick<StoredFile, 'id' | 'session_id'>) => [
    keys.file(workspaceId, file.id),
    keys.files(workspaceId, null),
    keys.files(workspaceId, file.session_id ?? 'none'),
    keys.filesPending(workspaceId),
    keys.filesExpiring(workspaceId),
  ];

  async function dropBytes(workspaceId: string, sessionId: string | null, id: string): Promise<void> {
    await blobs.deletePrefix(fileBlobPrefix(workspaceId, sessionId, id));
    await redis.zrem(keys.filesPending(workspaceId), pendingMember(sessionId, id));
  }
  async function read(workspaceId: string, ids: readonly string[]): Promise<StoredFile[]> {
    if (ids.length === 0) return [];
    const texts = await redis.mget(ids.map((id) => keys.file(workspaceId, id)));
    return texts.flatMap((text, i) => (text === null ? [] : [readRecord<StoredFile>(text, `the stored file ${ids[i]}`)]));
  }
  /** Of the lists' members, which end in the id. */
  const readMembers = (workspaceId: string, members: readonly string[]) =>
    read(
      workspaceId,
      members.map((member) => member.slice(MS_DIGITS + 1)),
    );
  async function remove(workspaceId: string, file: StoredFile): Promise<boolean> {
    const { id, session_id } = file;
    const args = [listMember(file), pendingMember(session_id, id), ...expiryMembers(id)];
    const removed = (await deleteScript.run(redis, place(workspaceId, file), args)) === 1;
    await dropBytes(workspaceId, session_id, id);
    return removed;
  }
  async function pending(workspaceId: string, sessionId: string | null, id: string): Promise<void> {
    await know(workspaceId);
    await redis.zadd(keys.filesPending(workspaceId), clock.now(), pendingMember(sessionId, id));
  }
  async function create(workspaceId: string, wanted: NewFile): Promise<StoredFile> {
    const file: StoredFile = { ...wanted, created_at_ms: clock.now() };
    const { expires_at_ms } = file;
    const [bytes = '', record = ''] = expiryMembers(file.id);
    const outcome = await createScript.run(redis, place(workspaceId, file), [
      writeRecord(file),
      listMember(file),
      file.session_id === null ? '0' : '1',
      pendingMember(file.session_id, file.id),
      ...(expires_at_ms === null ? [] : [String(expires_at_ms), bytes, String(expires_at_ms + EXPIRED_KNOWN_MS), record]),
    ]);
    if (outcome === 'lost') throw new AppError('unavailable', 'the file took too long to store');
    return file;
  }
  async function deleteScope(workspaceId: string, sessionId: string): Promise<void> {
    await redis.del(keys.filesDropped(workspaceId, sessionId));
    for (;;) {
      const members = await redis.zrange(keys.files(workspaceId, sessionId), '0', String(SWEEP_LIMIT - 1));
      if (members.length === 0) return;
      for (const file of await readMembers(workspaceId, members)) await remove(workspaceId, file);
      await redis.zrem(keys.files(workspaceId, sessionId), ...members);
    }
  }

  async function sweepExpired(workspaceId: string): Promise<number> {
    const key = keys.filesExpiring(workspaceId);
    const due = await redis.zrangebyscore(key, '-inf', clock.now(), 'LIMIT', 0, SWEEP_LIMIT);
    for (const member of due) {
      const [what = '', id = ''] = member.split('|');
      const [file] = await read(workspaceId, [id]);
      if (file && what === 'r') await remove(workspaceId, file);
      else if (file) await blobs.deletePrefix(fileBlobPrefix(workspaceId, file.session_id, id));
      // Last, so that a crash leaves the member for the next sweep.
      await redis.zrem(key, member);
    }
    return due.length;
  }
  async function sweepPending(workspaceId: string): Promise<number> {
    const key = keys.filesPending(workspaceId);
    const latest = clock.now() - PENDING_MS;
    let swept = 0;
    for (const member of await redis.zrangebyscore(key, '-inf', latest, 'LIMIT', 0, SWEEP_LIMIT)) {
      const { id, sessionId } = parsePending(member);
      if ((await claimScript.run(redis, [keys.file(workspaceId, id), key], [member, String(latest)])) !== 1) continue;
      await dropBytes(workspaceId, sessionId, id);
      swept++;
    }
    return swept;
  }
  async function sweepScopes(workspaceId: string, existing: (ids: string[]) => Promise<ReadonlySet<string>>): Promise<number> {
    const key = keys.fileScopes(workspaceId);
    const due = await redis.zrangebyscore(key, '-inf', clock.now() - SCOPE_CREATION_MS, 'LIMIT', 0, SWEEP_LIMIT);
    if (due.length === 0) return 0;
    const alive = await existing(due);
    for (const sessionId of due) {
      if (alive.has(sessionId)) continue;
      await deleteScope(workspaceId, sessionId);
      // What its first messages referred to.
      await blobs.deletePrefix(`${workspaceId}/${sessionId}/`);
    }
    await redis.zrem(key, ...due);
    return due.filter((sessionId) => !alive.has(sessionId)).length;
  }

  return {
    pending,
    create,
    deleteScope,
    async abandon(workspaceId, sessionId, id) {
      // A record may have been made by a command whose answer was lost; then the bytes stay.
      const key = keys.filesPending(workspaceId);
      const claimed = await claimScript.run(redis, [keys.file(workspaceId, id), key], [pendingMember(sessionId, id), ANY_TIME]);
      if (claimed === 1) await dropBytes(workspaceId, sessionId, id);
    },
    async mount(workspaceId, file, sessionId, copyId) {
      await pending(workspaceId, sessionId, copyId);
      const copied = await blobs.copy(fileBlobKey(workspaceId, file.session_id, file.id), fileBlobKey(workspaceId, sessionId, copyId));
      if (!copied) return null;
      const { filename, mime_type, size_bytes } = file;
      return create(workspaceId, {
        ...{ id: copyId, filename, mime_type, size_bytes, expires_at_ms: null },
        ...{ session_id: sessionId, origin: { kind: 'mount' } },
      });
    },
    async get(workspaceId, id) {
      return (await read(workspaceId, [id]))[0] ?? null;
    },
    getAll: read,
    async list(workspaceId, { limit, cursor, sessionId }) {
      const listName = sessionId === undefined ? 'file' : `file:${sessionId}`;
      const upper = cursor === undefined ? '+' : `(${decodeCursor(listName, 'desc', isMember, cursor)}`;
      const members = await redis.zrange(keys.files(workspaceId, sessionId ?? null), upper, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit + 1);
      const page = members.slice(0, limit);
      const last = page.at(-1);
      return {
        data: await readMembers(workspaceId, page),
        next_page: members.length > limit && last !== undefined ? encodeCursor(listName, 'desc', last) : null,
      };
    },
    async outputs(workspaceId, sessionId) {
      const [members, dropped] = await Promise.all([
        redis.zrange(keys.files(workspaceId, sessionId), '0', '-1'),
        redis.hgetall(keys.filesDropped(workspaceId, sessionId)),
      ]);
      const found = new Map<string, CapturedOutput>();
      for (const [path, sha256] of Object.entries(dropped)) found.set(path, { current: null, sha256, replaced: [] });
      for (const file of await readMembers(workspaceId, members)) {
        if (file.origin.kind !== 'output') continue;
        const { path, sha256 } = file.origin;
        const older = found.get(path);
        const replaced = older ? [...older.replaced, ...(older.current ? [older.current] : [])] : [];
        found.set(path, { current: file, sha256, replaced });
      }
      return found;
    },
    async dropReplaced(workspaceId, file) {
      await remove(workspaceId, file);
    },
    isExpired: (file) => file.expires_at_ms !== null && file.expires_at_ms <= clock.now(),
    async delete(workspaceId, id) {
      const [file] = await read(workspaceId, [id]);
      if (!file) return false;
      if (file.origin.kind === 'output' && file.session_id !== null)
        await redis.hset(keys.filesDropped(workspaceId, file.session_id), file.origin.path, file.origin.sha256);
      return remove(workspaceId, file);
    },
    async announceScope(workspaceId, sessionId) {
      await know(workspaceId);
      await redis.zadd(keys.fileScopes(workspaceId), clock.now(), sessionId);
    },
    async sweep(existing) {
      let swept = 0;
      for (const workspaceId of await redis.smembers(keys.fileWorkspaces))
        swept += (await sweepExpired(workspaceId)) + (await sweepPending(workspaceId)) + (await sweepScopes(workspaceId, existing));
      return swept;
    },
  };
}
