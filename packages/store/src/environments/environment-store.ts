/** Environments: templates of sandboxes, not versioned (BEHAVIOUR 4). A change affects sandboxes made after it. */
import { isDeepStrictEqual } from 'node:util';
import { type Clock, type IdSource, invalidRequest, notFound, type Redis } from '@manyhands/base';
import { type Environment, type EnvironmentCreate, type EnvironmentUpdate, type Page, timestamp } from '@manyhands/contract';
import { createRecords, type ListQuery, laterTimestamp } from '../kit/records.ts';
import { createCloudConfig, mergeCloudConfig, mergeEnvironmentMetadata } from './environment-config.ts';

/** Between the claim of a session and its creation; far longer than a command may take. */
const CREATION_MS = 60_000;

/** Methods that name an environment throw a WireError `not_found_error` if the workspace has no such one; `get` answers null. */
export interface EnvironmentStore {
  create(workspaceId: string, input: EnvironmentCreate): Promise<Environment>;
  get(workspaceId: string, id: string): Promise<Environment | null>;
  /** 400 `environment_archived` for an archived one. */
  update(workspaceId: string, id: string, change: EnvironmentUpdate): Promise<Environment>;
  /** Newest first; `includeInactive` shows archived ones. */
  list(workspaceId: string, query: ListQuery): Promise<Page<Environment>>;
  archive(workspaceId: string, id: string): Promise<Environment>;
  /** Before a session is created in it: from here on it cannot be deleted. 400 `environment_archived` for an archived one. */
  claim(workspaceId: string, id: string, sessionId: string): Promise<void>;
  /** After the session is gone. One that is not released, because of a crash, is found to be gone when the environment is deleted. */
  release(workspaceId: string, id: string, sessionId: string): Promise<void>;
  /** 400 while a session refers to it; `existing` says which sessions there are. */
  delete(workspaceId: string, id: string, existing: (sessionIds: string[]) => Promise<ReadonlySet<string>>): Promise<void>;
}

export function environmentArchived(id: string) {
  return invalidRequest(`environment ${id} is archived; use another environment`, { errorCode: 'environment_archived' });
}

export function createEnvironmentStore(redis: Redis, clock: Clock, ids: IdSource): EnvironmentStore {
  const records = createRecords<Environment>(redis, 'environment');

  return {
    async create(workspaceId, input) {
      const now = timestamp(clock.now());
      const environment: Environment = {
        type: 'environment',
        id: ids.id('environment'),
        name: input.name,
        description: input.description ?? null,
        config: createCloudConfig(input.config),
        metadata: input.metadata ?? {},
        scope: 'organization',
        created_at: now,
        updated_at: now,
        archived_at: null,
      };
      await records.create(workspaceId, environment);
      return environment;
    },
    get: (workspaceId, id) => records.get(workspaceId, id),
    async update(workspaceId, id, change) {
      const environment = await records.update(workspaceId, id, (stored) => {
        if (stored.archived_at !== null) throw environmentArchived(id);
        const changed: Environment = {
          ...stored,
          name: change.name ?? stored.name,
          description: change.description === undefined ? stored.description : change.description,
          config: mergeCloudConfig(stored.config, change.config),
          metadata: mergeEnvironmentMetadata(stored.metadata, change.metadata),
        };
        if (isDeepStrictEqual(changed, stored)) return null;
        return { record: { ...changed, updated_at: laterTimestamp(clock.now(), stored.updated_at) } };
      });
      if (!environment) throw notFound('environment', id);
      return environment;
    },
    list: (workspaceId, query) => records.list(workspaceId, query),
    async archive(workspaceId, id) {
      const environment = await records.update(workspaceId, id, (stored) => {
        if (stored.archived_at !== null) return null;
        const now = laterTimestamp(clock.now(), stored.updated_at);
        return { record: { ...stored, updated_at: now, archived_at: now }, deactivate: true };
      });
      if (!environment) throw notFound('environment', id);
      return environment;
    },
    async claim(workspaceId, id, sessionId) {
      const outcome = await records.claim(workspaceId, id, sessionId, clock.now());
      if (outcome === 'missing') throw notFound('environment', id);
      if (outcome === 'archived') throw environmentArchived(id);
    },
    release: (workspaceId, id, sessionId) => records.release(workspaceId, id, sessionId),
    async delete(workspaceId, id, existing) {
      const existed = await records.delete(workspaceId, id, async ({ first, count }) => {
        const alive = await existing(first.map((one) => one.id));
        // A session that is not there yet may be just about to be created.
        const used = first.some((one) => alive.has(one.id) || one.sinceMs > clock.now() - CREATION_MS);
        if (!used) return first.map((one) => one.id);
        const sessions = count === 1 ? '1 session' : `${count} sessions`;
        throw invalidRequest(`environment ${id} is used by ${sessions}; delete them first, or archive the environment`);
      });
      if (!existed) throw notFound('environment', id);
    },
  };
}
