/** Agents: versioned records. Every effective change makes a new immutable version; an update that changes nothing makes none. */
import { isDeepStrictEqual } from 'node:util';
import { type Clock, decodeCursor, encodeCursor, type IdSource, notFound, type Redis } from '@manyhands/base';
import { type Agent, type AgentCreate, type AgentUpdate, type Page, timestamp } from '@manyhands/contract';
import { keys } from '../kit/keys.ts';
import { readRecord } from '../kit/record-text.ts';
import { createRecords, type ListQuery, laterTimestamp } from '../kit/records.ts';
import { changeAgent, defineAgent } from './agent-definition.ts';

/** A page of versions starts behind one. */
const isVersion = (value: unknown): value is number => Number.isSafeInteger(value);

/** Methods that name an agent throw a WireError `not_found_error` if the workspace has no such agent; `get` answers null. */
export interface AgentStore {
  create(workspaceId: string, input: AgentCreate): Promise<Agent>;
  /** The newest version, or the one asked for. */
  get(workspaceId: string, id: string, version?: number): Promise<Agent | null>;
  /** 400 for an archived agent, 409 for a stale `version`. */
  update(workspaceId: string, id: string, change: AgentUpdate): Promise<Agent>;
  /** Newest first; `includeInactive` shows archived ones. */
  list(workspaceId: string, query: ListQuery): Promise<Page<Agent>>;
  /** For good. Archiving an archived agent changes nothing. */
  archive(workspaceId: string, id: string): Promise<Agent>;
  /** Newest first. */
  versions(workspaceId: string, id: string, query: { limit: number; cursor?: string | undefined }): Promise<Page<Agent>>;
}

export function createAgentStore(redis: Redis, clock: Clock, ids: IdSource): AgentStore {
  const records = createRecords<Agent>(redis, 'agent');
  const history = (workspaceId: string, agent: Agent) => ({
    key: keys.agentVersions(workspaceId, agent.id),
    field: String(agent.version),
  });

  /** A version never changes; whether the agent is archived is told by the agent as it is now. */
  function versionOf(newest: Agent, version: number | string | undefined, text: string): Agent {
    return { ...readRecord<Agent>(text, `version ${version} of the stored agent ${newest.id}`), archived_at: newest.archived_at };
  }
  async function mustGet(workspaceId: string, id: string): Promise<Agent> {
    const agent = await records.get(workspaceId, id);
    if (!agent) throw notFound('agent', id);
    return agent;
  }

  return {
    async create(workspaceId, input) {
      const { definition, metadata } = defineAgent(input);
      const now = timestamp(clock.now());
      const id = ids.id('agent');
      const agent: Agent = { type: 'agent', id, version: 1, ...definition, metadata, created_at: now, updated_at: now, archived_at: null };
      await records.create(workspaceId, agent, history(workspaceId, agent));
      return agent;
    },
    async get(workspaceId, id, version) {
      const newest = await records.get(workspaceId, id);
      if (!newest || version === undefined || version === newest.version) return newest;
      const text = await redis.hget(keys.agentVersions(workspaceId, id), String(version));
      return text === null ? null : versionOf(newest, version, text);
    },
    async update(workspaceId, id, change) {
      const agent = await records.update(workspaceId, id, (stored) => {
        const changed = changeAgent(stored, change);
        if (isDeepStrictEqual(changed, stored)) return null;
        const record = { ...changed, version: stored.version + 1, updated_at: laterTimestamp(clock.now(), stored.updated_at) };
        return { record, history: history(workspaceId, record) };
      });
      if (!agent) throw notFound('agent', id);
      return agent;
    },
    list: (workspaceId, query) => records.list(workspaceId, query),
    async archive(workspaceId, id) {
      const agent = await records.update(workspaceId, id, (stored) => {
        if (stored.archived_at !== null) return null;
        return { record: { ...stored, archived_at: laterTimestamp(clock.now(), stored.updated_at) }, deactivate: true };
      });
      if (!agent) throw notFound('agent', id);
      return agent;
    },
    async versions(workspaceId, id, query) {
      const list = `versions:${id}`;
      const newest = await mustGet(workspaceId, id);
      const after = query.cursor === undefined ? newest.version + 1 : decodeCursor(list, 'desc', isVersion, query.cursor);
      const wanted: string[] = [];
      for (let version = Math.min(after - 1, newest.version); version >= 1 && wanted.length < query.limit; version--)
        wanted.push(String(version));
      const texts = wanted.length === 0 ? [] : await redis.hmget(keys.agentVersions(workspaceId, id), ...wanted);
      const last = wanted.at(-1);
      return {
        data: texts.flatMap((text, i) => (text === null ? [] : [versionOf(newest, wanted[i], text)])),
        next_page: last !== undefined && last !== '1' ? encodeCursor(list, 'desc', Number(last)) : null,
      };
    },
  };
}
