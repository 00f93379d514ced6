/** Agents, environments, files and API keys on Redis. */
export { DEFAULT_EFFORT, overrideAgent } from './agents/agent-definition.ts';
export { type AgentStore, createAgentStore } from './agents/agent-store.ts';
export {
  type ApiKeyStore,
  createApiKeyStore,
  DEFAULT_WORKSPACE_ID,
  hashKey,
  KEY_PREFIX,
  type KeyIdentity,
} from './api-keys/api-key-store.ts';
export { createEnvironmentStore, type EnvironmentStore, environmentArchived } from './environments/environment-store.ts';
export { type CapturedOutput, createFileStore, type FileStore, type NewFile, type StoredFile, toFileMetadata } from './files/file-store.ts';
export { extensionOf, mediaTypeOf, UNKNOWN_MEDIA_TYPE } from './files/media-types.ts';
export type { ListQuery } from './kit/records.ts';
