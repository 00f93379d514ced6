/** Agents, environments, files and API keys on Redis. */
export { DEFAULT_EFFORT, overrideAgent } from './agent-definition.ts';
export { type AgentStore, createAgentStore } from './agent-store.ts';
export { type ApiKeyStore, createApiKeyStore, DEFAULT_WORKSPACE_ID, hashKey, KEY_PREFIX, type KeyIdentity } from './api-key-store.ts';
export { createEnvironmentStore, type EnvironmentStore, environmentArchived } from './environment-store.ts';
export { type CapturedOutput, createFileStore, type FileStore, type NewFile, type StoredFile, toFileMetadata } from './file-store.ts';
export { extensionOf, mediaTypeOf, UNKNOWN_MEDIA_TYPE } from './media-types.ts';
export type { ListQuery } from './records.ts';
