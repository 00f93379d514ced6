/** API keys: our own endpoints under /v1/manyhands/api_keys (CONTRACT 8 G). The key text is shown once, on create. */
import { z } from 'zod';

export const KEY_SCOPES = ['api', 'operator'] as const;
export type KeyScope = (typeof KEY_SCOPES)[number];

export const ApiKeyCreate = z.strictObject({
  name: z.string().min(1).max(256),
  /** `api` (default) serves the API; `operator` also opens /admin/queues, keys and workspaces. */
  scopes: z.array(z.enum(KEY_SCOPES)).min(1).optional(),
});
export type ApiKeyCreate = z.infer<typeof ApiKeyCreate>;

export interface ApiKey {
  type: 'api_key';
  id: string;
  name: string;
  workspace_id: string;
  scopes: KeyScope[];
  /** The last four characters, to tell keys apart. */
  hint: string;
  created_at: string;
  revoked_at: string | null;
}
export interface CreatedApiKey extends ApiKey {
  key: string;
}
