/** Agents, environments and API keys on Redis. */
export { DEFAULT_EFFORT } from './agent-definition.ts';
export { type AgentStore, createAgentStore } from './agent-store.ts';
export { type ApiKeyStore, createApiKeyStore, DEFAULT_WORKSPACE_ID, hashKey, KEY_PREFIX, type KeyIdentity } from './api-key-store.ts';
export { decodeCursor, encodeCursor, type Order } from './cursor.ts';
export { createEnvironmentStore, type EnvironmentStore, environmentArchived } from './environment-store.ts';
export type { ListQuery } from './records.ts';
