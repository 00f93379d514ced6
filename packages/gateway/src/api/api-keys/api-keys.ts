/** Our own endpoints for API keys, for operators: made (text shown once), listed, revoked. A key belongs to its maker's workspace. */
import { notFound } from '@manyhands/base';
import { ApiKeyCreate, isId } from '@manyhands/contract';
import type { ApiKeyStore } from '@manyhands/store';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Auth, identityOf, requireScope } from '../../http/auth.ts';
import { parseBody, refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';

interface KeyRoute {
  Params: { api_key_id: string };
}
function checkId(id: string): string {
  if (!isId('apiKey', id)) throw notFound('API key', id);
  return id;
}
function operatorWorkspace(request: FastifyRequest): string {
  const identity = identityOf(request);
  requireScope(identity, 'operator');
  return identity.workspace_id;
}

export function registerApiKeys(app: FastifyInstance, apiKeys: ApiKeyStore, auth: Auth): void {
  app.post('/v1/manyhands/api_keys', async (request) => {
    const workspaceId = operatorWorkspace(request);
    readQuery(request, []);
    return apiKeys.create(workspaceId, parseBody(ApiKeyCreate, request.body));
  });

  app.get('/v1/manyhands/api_keys', async (request) => {
    const workspaceId = operatorWorkspace(request);
    const query = readQuery(request, ['limit', 'page', 'include_revoked']);
    return apiKeys.list(workspaceId, {
      limit: query.limit(),
      cursor: query.text('page'),
      includeInactive: query.flag('include_revoked'),
    });
  });

  app.get<KeyRoute>('/v1/manyhands/api_keys/:api_key_id', async (request) => {
    const workspaceId = operatorWorkspace(request);
    readQuery(request, []);
    const id = checkId(request.params.api_key_id);
    const found = await apiKeys.get(workspaceId, id);
    if (!found) throw notFound('API key', id);
    return found;
  });

  app.delete<KeyRoute>('/v1/manyhands/api_keys/:api_key_id', async (request) => {
    const workspaceId = operatorWorkspace(request);
    readQuery(request, []);
    refuseBody(request.body);
    const { id } = await apiKeys.revoke(workspaceId, checkId(request.params.api_key_id));
    auth.forget(id);
    return { id, type: 'api_key_deleted' };
  });
}
