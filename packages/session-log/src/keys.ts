/**
 * Every key of the session log, its type, its life and who deletes it. `{bNN}` is the hash tag of the session's bucket: all keys of a
 * session and the bucket's dirty set share a slot, so that one Lua call may touch them (DESIGN 5).
 *
 * | key                                | type   | life                                   | deleted by          |
 * | mh:{bNN}:s:<session>:rec           | string | the session's                          | delete.lua          |
 * | mh:{bNN}:s:<session>:state         | hash   | the session's, then 60 s               | expiry (delete.lua) |
 * | mh:{bNN}:s:<session>:log           | stream | the session's, then 60 s               | expiry (delete.lua) |
 * | mh:{bNN}:s:<session>:types         | string | the session's, then 60 s               | expiry (delete.lua) |
 * | mh:{bNN}:s:<session>:queue         | list   | while client events are not stamped    | append.lua          |
 * | mh:{bNN}:s:<session>:files         | hash   | the session's                          | delete, finishDeletes |
 * | mh:{bNN}:s:<session>:lease         | string | lease time, renewed by its worker      | expiry, release.lua |
 * | mh:{bNN}:s:<session>:sent:<digest> | string | 60 s after a send                      | expiry              |
 * | mh:{bNN}:dirty                     | zset   | for ever; a member while there is work | append.lua          |
 * | mh:{bNN}:deleted                   | zset   | for ever; a member while blobs of a deleted session may be left | finishDeletes |
 * | mh:{<workspace>}:sessions          | zset   | for ever; score = creation in ms       | SessionLog.delete   |
 * | mh:preview:<session>               | channel (pub/sub), nothing stored                               |                     |
 *
 * In the state, beside what `state.ts` reads: `call:<event id>` = ask | custom for each call that waits for its client's word, `unanswered`
 * = how many those are, `parked` = 1 while the session is told idle because of them, `parked_at` = the position and the revision at which that
 * was told last. Only the scripts look at these.
 */
export const BUCKETS = 64;

/** FNV-1a over the id; stable for ever, since it names where a session lives. */
export function bucketOf(sessionId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < sessionId.length; i++) {
    hash ^= sessionId.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193) >>> 0;
  }
  return hash % BUCKETS;
}

function tag(bucket: number): string {
  return `{b${String(bucket).padStart(2, '0')}}`;
}

export interface SessionKeys {
  rec: string;
  state: string;
  log: string;
  types: string;
  queue: string;
  lease: string;
  files: string;
  dirty: string;
  deleted: string;
  sent(digest: string): string;
}

export function sessionKeys(sessionId: string): SessionKeys {
  const bucket = tag(bucketOf(sessionId));
  const base = `mh:${bucket}:s:${sessionId}`;
  return {
    rec: `${base}:rec`,
    state: `${base}:state`,
    log: `${base}:log`,
    types: `${base}:types`,
    queue: `${base}:queue`,
    lease: `${base}:lease`,
    files: `${base}:files`,
    dirty: `mh:${bucket}:dirty`,
    deleted: `mh:${bucket}:deleted`,
    sent: (digest) => `${base}:sent:${digest}`,
  };
}

export function dirtyKey(bucket: number): string {
  return `mh:${tag(bucket)}:dirty`;
}
export function deletedKey(bucket: number): string {
  return `mh:${tag(bucket)}:deleted`;
}
/** Members of the dirty and the deleted set name the workspace too, so that a sweep can enqueue without another read. */
export function dirtyMember(sessionId: string, workspaceId: string): string {
  return `${sessionId}|${workspaceId}`;
}
export function parseDirtyMember(member: string): { sessionId: string; workspaceId: string } {
  const [sessionId = '', workspaceId = ''] = member.split('|');
  return { sessionId, workspaceId };
}
export function sessionIndexKey(workspaceId: string): string {
  return `mh:{${workspaceId}}:sessions`;
}
export function previewChannel(sessionId: string): string {
  return `mh:preview:${sessionId}`;
}
