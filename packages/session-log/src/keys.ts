/**
 * Every key of the session log, its type, its life and who deletes it. `{bNN}` is the hash tag of the session's bucket: all keys of a
 * session and of its threads, the bucket's due set and its lists of sessions share a slot, so that one Lua call may touch them (DESIGN 5).
 * The scripts build a session's keys, its threads' and the lists' from the key of the session's state.
 *
 * | key                                   | type   | life                                  | deleted by          |
 * | mh:{bNN}:2:<session>:state            | hash   | the session's, then 60 s              | expiry (change.lua) |
 * | mh:{bNN}:2:<session>:record           | string | the session's                         | change.lua          |
 * | mh:{bNN}:2:<session>:files            | hash   | the session's                         | finishDeletes       |
 * | mh:{bNN}:2:<session>:calls            | hash   | the session's; a field while a call waits for its client | change.lua |
 * | mh:{bNN}:2:<session>:threads          | zset   | the session's; its children by sequence number | expiry     |
 * | mh:{bNN}:2:<session>:sent:<digest>    | string | 60 s after a send                     | expiry              |
 * | mh:{bNN}:2:<session>:t:<thread>:state | hash   | the session's, then 60 s              | expiry (change.lua) |
 * | mh:{bNN}:2:<session>:t:<thread>:record| string | the session's; children only          | change.lua          |
 * | mh:{bNN}:2:<session>:t:<thread>:log   | stream | the session's, then 60 s              | expiry (change.lua) |
 * | mh:{bNN}:2:<session>:t:<thread>:types | string | the session's, then 60 s              | expiry (change.lua) |
 * | mh:{bNN}:2:<session>:t:<thread>:queue | list   | while events wait for the worker      | append.lua          |
 * | mh:{bNN}:2:<session>:t:<thread>:shown | list   | while queued events of children are shown in the primary's log | append.lua |
 * | mh:{bNN}:due                          | zset   | for ever; a member while somebody should look, by when | scripts |
 * | mh:{bNN}:deleted                      | zset   | for ever; a member while blobs of a deleted session may be left | finishDeletes |
 * | mh:{bNN}:index:<workspace>:<filter>:<state> | zset | for ever; sessions by creation in ms | scripts          |
 * | mh:{bNN}:2:<session>:t:<thread>:feed  | channel (sharded pub/sub), nothing stored                 |                     |
 *
 * Fields of the session's state: `threads/state.ts`. In it, and read by scripts alone: `told`, the last status that was told of the session,
 * `running` and `rescheduling`, how many of its threads are.
 * In a thread's state, and read by scripts alone: `append` and `append_result`, the number and the result of the last append of this epoch;
 * `lease_worker` and `lease_until`; `last_own`, the position of the last entry that is no copy; `copy:<position>`, where the primary's log
 * shows what is queued there; `interrupts`, how many are queued; `wake_at`, the end of a back-off; `stop` and `stop_details`, what it last
 * rested for. A call in `calls` has `<ask|custom> <thread> <sequence number>`.
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

export function bucketPrefix(bucket: number): string {
  return `mh:{b${String(bucket).padStart(2, '0')}}:`;
}

export interface SessionKeys {
  state: string;
  record: string;
  files: string;
  threads: string;
  /** Of the bucket. */
  due: string;
  deleted: string;
  sent(digest: string): string;
}
export interface ThreadKeys {
  state: string;
  record: string;
  log: string;
  types: string;
  queue: string;
  shown: string;
  /** The channel on which its appends and previews are published. */
  feed: string;
}

export function sessionKeys(sessionId: string): SessionKeys {
  const bucket = bucketPrefix(bucketOf(sessionId));
  const base = `${bucket}2:${sessionId}`;
  return {
    state: `${base}:state`,
    record: `${base}:record`,
    files: `${base}:files`,
    threads: `${base}:threads`,
    due: `${bucket}due`,
    deleted: `${bucket}deleted`,
    sent: (digest) => `${base}:sent:${digest}`,
  };
}

export function threadKeys(sessionId: string, threadId: string): ThreadKeys {
  const bucket = bucketPrefix(bucketOf(sessionId));
  const base = `${bucket}2:${sessionId}:t:${threadId}`;
  return {
    state: `${base}:state`,
    record: `${base}:record`,
    log: `${base}:log`,
    types: `${base}:types`,
    queue: `${base}:queue`,
    shown: `${base}:shown`,
    feed: `${base}:feed`,
  };
}

export function dueKey(bucket: number): string {
  return `${bucketPrefix(bucket)}due`;
}
export function deletedKey(bucket: number): string {
  return `${bucketPrefix(bucket)}deleted`;
}
export function indexKey(bucket: number, workspaceId: string, filter: string, state: string): string {
  return `${bucketPrefix(bucket)}index:${workspaceId}:${filter}:${state}`;
}

/** Members of the due set name the workspace too, so that a sweep can enqueue without another read. */
export function parseDueMember(member: string): { sessionId: string; threadId: string; workspaceId: string } {
  const [sessionId = '', threadId = '', workspaceId = ''] = member.split('|');
  return { sessionId, threadId, workspaceId };
}
export function parseDeletedMember(member: string): { sessionId: string; workspaceId: string } {
  const [sessionId = '', workspaceId = ''] = member.split('|');
  return { sessionId, workspaceId };
}

/**
 * What 0.1.0 kept, and legacy/ reads: below `mh:{bNN}:s:<session>:` the keys rec, state, log, types, queue, files, lease and sent:<digest>; in
 * each bucket the set `mh:{bNN}:dirty` of `<session>|<workspace>`; for each workspace the set `mh:{<workspace>}:sessions` by creation time. All
 * go as their sessions are put into the new format; `mh:{bNN}:deleted` stayed as it was.
 */
export function oldPrefix(sessionId: string): string {
  return `${bucketPrefix(bucketOf(sessionId))}s:${sessionId}:`;
}
/** A pattern of the keys of all sends that are remembered. */
export const oldSentKeys = 'mh:{b[0-9][0-9]}:s:*:sent:*';
export function parseOldSentKey(key: string): { sessionId: string; digest: string } {
  const [, sessionId = '', digest = ''] = /:s:([^:]+):sent:(.*)$/.exec(key) ?? [];
  return { sessionId, digest };
}
export function oldDirtyKey(bucket: number): string {
  return `${bucketPrefix(bucket)}dirty`;
}
export function oldWorkspaceKey(workspaceId: string): string {
  return `mh:{${workspaceId}}:sessions`;
}
