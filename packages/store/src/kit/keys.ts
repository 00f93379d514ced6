/**
 * Every Redis key of this package. `{ws}` is the workspace id as hash tag, so that one script may touch a record and its indexes.
 *
 * | key                          | type   | holds                                            | life, and who deletes it                     |
 * | ---------------------------- | ------ | ------------------------------------------------ | -------------------------------------------- |
 * | mh:{ws}:agent:<id>           | string | the newest version, JSON                         | for ever: agents are archived, never deleted |
 * | mh:{ws}:agent:<id>:versions  | hash   | version number → that version, JSON, immutable   | for ever                                     |
 * | mh:{ws}:agents               | zset   | all agents, score 0, member `<created ms>:<id>`  | for ever                                     |
 * | mh:{ws}:agents:active        | zset   | the ones that are not archived                   | member: `archive`                            |
 * | mh:{ws}:env:<id>             | string | the environment, JSON                            | until `delete`                               |
 * | mh:{ws}:env:<id>:referring   | zset   | sessions that refer to it, by when they began to | member: `release`; `delete`                  |
 * | mh:{ws}:envs                 | zset   | all environments, as above                       | member: `delete`                             |
 * | mh:{ws}:envs:active          | zset   | the ones that are not archived                   | member: `archive`, `delete`                  |
 * | mh:{ws}:apikey:<id>          | string | the API key with the hash of its text, JSON      | for ever: a revoked key stays listed         |
 * | mh:{ws}:apikeys              | zset   | all API keys, as above                           | for ever                                     |
 * | mh:{ws}:apikeys:active       | zset   | the ones that are not revoked                    | member: `revoke`                             |
 * | mh:{ws}:file:<id>            | string | the file, JSON                                   | `delete`, `deleteScope`, `sweep` after expiry |
 * | mh:{ws}:files                | zset   | all files, as above                              | member: with the record                      |
 * | mh:{ws}:files:of:<session>   | zset   | the files of a session                           | member: with the record                      |
 * | mh:{ws}:files:dropped:<session> | hash | outputs that a client deleted: path → SHA-256, so that they are not captured again | `deleteScope` |
 * | mh:{ws}:files:pending        | zset   | bytes that may have no record, since when; 0: they have none | member: with the record, `sweep`  |
 * | mh:{ws}:files:expiring       | zset   | when bytes (`b`) and then the record (`r`) of a file go | member: `sweep`, `delete`             |
 * | mh:{ws}:files:scopes         | zset   | sessions about to be created that have files, since when | member: `sweep`                      |
 * | mh:{files}:workspaces        | set    | workspaces that ever had a file                  | for ever                                     |
 * | mh:keyhash:{<sha256>}        | string | `<workspace id> <key id>` of the key with it     | `revoke`                                     |
 *
 * JSON names its format (`format`, see record-text.ts).
 *
 * The last one is looked up without knowing the workspace, so it has a slot of its own. It is only a pointer: the record decides.
 */
const workspace = (workspaceId: string) => `mh:{${workspaceId}}`;

/** The kinds of record; each has a record key and two indexes, and a name for messages. */
export const RECORD_KINDS = {
  agent: { record: 'agent', index: 'agents', name: 'agent' },
  environment: { record: 'env', index: 'envs', name: 'environment' },
  apiKey: { record: 'apikey', index: 'apikeys', name: 'API key' },
} as const;
export type RecordKind = keyof typeof RECORD_KINDS;

export const keys = {
  record: (kind: RecordKind, workspaceId: string, id: string) => `${workspace(workspaceId)}:${RECORD_KINDS[kind].record}:${id}`,
  index: (kind: RecordKind, workspaceId: string) => `${workspace(workspaceId)}:${RECORD_KINDS[kind].index}`,
  activeIndex: (kind: RecordKind, workspaceId: string) => `${workspace(workspaceId)}:${RECORD_KINDS[kind].index}:active`,
  agentVersions: (workspaceId: string, id: string) => `${workspace(workspaceId)}:agent:${id}:versions`,
  referring: (kind: RecordKind, workspaceId: string, id: string) =>
    `${workspace(workspaceId)}:${RECORD_KINDS[kind].record}:${id}:referring`,
  file: (workspaceId: string, id: string) => `${workspace(workspaceId)}:file:${id}`,
  files: (workspaceId: string, scope: string | null) => `${workspace(workspaceId)}:files${scope === null ? '' : `:of:${scope}`}`,
  filesDropped: (workspaceId: string, scope: string) => `${workspace(workspaceId)}:files:dropped:${scope}`,
  filesPending: (workspaceId: string) => `${workspace(workspaceId)}:files:pending`,
  filesExpiring: (workspaceId: string) => `${workspace(workspaceId)}:files:expiring`,
  fileScopes: (workspaceId: string) => `${workspace(workspaceId)}:files:scopes`,
  fileWorkspaces: 'mh:{files}:workspaces',
  keyHash: (sha256Hex: string) => `mh:keyhash:{${sha256Hex}}`,
};
