/**
 * API keys. The text of a key is shown once, when it is made; what is stored is its SHA-256, which is also how it is found. The texts carry
 * well over 200 random bits, so a plain digest is enough: there is nothing to guess.
 *
 * A revoked key never works again. Revoking marks the record first, which `authenticate` checks; the pointer is deleted after it.
 */
import { createHash } from 'node:crypto';
import { AppError, type Clock, type IdSource, notFound, type Redis, randomText } from '@manyhands/base';
import { type ApiKey, type CreatedApiKey, ID_PREFIX, type KeyScope, type Page, timestamp } from '@manyhands/contract';
import { keys } from '../kit/keys.ts';
import { createRecords, type ListQuery, laterTimestamp } from '../kit/records.ts';

/** The workspace of an installation that has only one. */
export const DEFAULT_WORKSPACE_ID = `${ID_PREFIX.workspace}default`;
export const KEY_PREFIX = 'mh-';
const KEY_RANDOM_CHARS = 40;
const HINT_CHARS = 4;
/** A key chosen by the operator: something a header can carry, and not a typing mistake. */
const CHOSEN_KEY = /^[\x21-\x7e]{8,512}$/;

export interface KeyIdentity {
  id: string;
  workspace_id: string;
  scopes: readonly KeyScope[];
}
export interface ApiKeyStore {
  create(workspaceId: string, input: { name: string; scopes?: KeyScope[] | undefined }): Promise<CreatedApiKey>;
  get(workspaceId: string, id: string): Promise<ApiKey | null>;
  /** Newest first; `includeInactive` shows revoked ones. */
  list(workspaceId: string, query: ListQuery): Promise<Page<ApiKey>>;
  /** For good. Revoking a revoked key changes nothing; 404 for one that never was. */
  revoke(workspaceId: string, id: string): Promise<ApiKey>;
  /** Who a key text belongs to, or null if it is unknown or revoked. Always the current truth: callers may cache it for a moment. */
  authenticate(keyText: string): Promise<KeyIdentity | null>;
  /**
   * Makes a key text chosen by the operator work, with operator scope, in the default workspace. Any number of processes may do so at
   * once and again. `revoked`: this very text was revoked earlier and stays so.
   */
  installOperatorKey(keyText: string): Promise<'installed' | 'present' | 'revoked'>;
}

interface KeyRecord extends ApiKey {
  sha256: string;
}
function withoutHash({ sha256: _sha256, ...key }: KeyRecord): ApiKey {
  return key;
}
export function hashKey(keyText: string): string {
  return createHash('sha256').update(keyText).digest('hex');
}

export function createApiKeyStore(redis: Redis, clock: Clock, ids: IdSource): ApiKeyStore {
  const records = createRecords<KeyRecord>(redis, 'apiKey');

  async function store(workspaceId: string, id: string, name: string, scopes: KeyScope[], keyText: string): Promise<KeyRecord> {
    const record: KeyRecord = {
      type: 'api_key',
      id,
      name,
      workspace_id: workspaceId,
      scopes,
      hint: keyText.slice(-HINT_CHARS),
      created_at: timestamp(clock.now()),
      revoked_at: null,
      sha256: hashKey(keyText),
    };
    await records.create(workspaceId, record);
    await redis.set(keys.keyHash(record.sha256), `${workspaceId} ${id}`);
    return record;
  }

  return {
    async create(workspaceId, input) {
      const keyText = KEY_PREFIX + randomText(KEY_RANDOM_CHARS);
      const scopes = [...new Set(input.scopes ?? ['api' as const])];
      const record = await store(workspaceId, ids.id('apiKey'), input.name, scopes, keyText);
      return { ...withoutHash(record), key: keyText };
    },
    async get(workspaceId, id) {
      const record = await records.get(workspaceId, id);
      return record ? withoutHash(record) : null;
    },
    async list(workspaceId, query) {
      const page = await records.list(workspaceId, query);
      return { ...page, data: page.data.map(withoutHash) };
    },
    async revoke(workspaceId, id) {
      const record = await records.update(workspaceId, id, (stored) => {
        if (stored.revoked_at !== null) return null;
        return { record: { ...stored, revoked_at: laterTimestamp(clock.now(), stored.created_at) }, deactivate: true };
      });
      if (!record) throw notFound('API key', id);
      await redis.del(keys.keyHash(record.sha256));
      return withoutHash(record);
    },
    async authenticate(keyText) {
      const pointer = await redis.get(keys.keyHash(hashKey(keyText)));
      const [workspaceId, id] = pointer?.split(' ') ?? [];
      if (workspaceId === undefined || id === undefined) return null;
      const record = await records.get(workspaceId, id);
      if (!record || record.revoked_at !== null) return null;
      return { id: record.id, workspace_id: record.workspace_id, scopes: record.scopes };
    },
    async installOperatorKey(keyText) {
      if (!CHOSEN_KEY.test(keyText))
        throw new AppError('configuration', 'MANYHANDS_API_KEY must be 8 to 512 printable ASCII characters without spaces');
      // The id follows from the text, so that any number of processes install the same record.
      const id = `${ID_PREFIX.apiKey}${hashKey(keyText).slice(0, 22)}`;
      const present = await records.get(DEFAULT_WORKSPACE_ID, id);
      if (present) {
        if (present.revoked_at !== null) return 'revoked';
        // The process that made the record may have died before it set the pointer.
        await redis.set(keys.keyHash(present.sha256), `${DEFAULT_WORKSPACE_ID} ${id}`);
        return 'present';
      }
      await store(DEFAULT_WORKSPACE_ID, id, 'MANYHANDS_API_KEY', ['api', 'operator'], keyText);
      return 'installed';
    },
  };
}
