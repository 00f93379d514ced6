/** EN-1..6: environments. */
import { invalidRequest, notFound } from '@manyhands/base';
import { EnvironmentCreate, EnvironmentUpdate, isId } from '@manyhands/contract';
import type { SessionLog } from '@manyhands/session-log';
import type { EnvironmentStore } from '@manyhands/store';
import type { FastifyInstance } from 'fastify';
import { identityOf } from '../../http/auth.ts';
import { parseBody, refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';

interface EnvironmentRoute {
  Params: { environment_id: string };
}
function checkId(id: string): string {
  if (!isId('environment', id)) throw notFound('environment', id);
  return id;
}

/** Every stored environment is a cloud one, so naming the other type is a change of type. */
function refuseTypeChange(body: unknown): void {
  const config = (body as { config?: { type?: unknown } | null } | null)?.config;
  if (config?.type === 'self_hosted') {
    throw invalidRequest('config.type: the type of an environment cannot be changed; create a new environment', {
      errorCode: 'invalid_config_type_change',
    });
  }
}

export function registerEnvironments(app: FastifyInstance, environments: EnvironmentStore, sessionLog: SessionLog): void {
  app.post('/v1/environments', async (request) => {
    readQuery(request, []);
    return environments.create(identityOf(request).workspace_id, parseBody(EnvironmentCreate, request.body));
  });

  app.get('/v1/environments', async (request) => {
    const query = readQuery(request, ['limit', 'page', 'include_archived']);
    return environments.list(identityOf(request).workspace_id, {
      limit: query.limit(),
      cursor: query.text('page'),
      includeInactive: query.flag('include_archived'),
    });
  });

  app.get<EnvironmentRoute>('/v1/environments/:environment_id', async (request) => {
    readQuery(request, []);
    const id = checkId(request.params.environment_id);
    const environment = await environments.get(identityOf(request).workspace_id, id);
    if (!environment) throw notFound('environment', id);
    return environment;
  });

  app.post<EnvironmentRoute>('/v1/environments/:environment_id', async (request) => {
    readQuery(request, []);
    const { workspace_id } = identityOf(request);
    const id = checkId(request.params.environment_id);
    if (!(await environments.get(workspace_id, id))) throw notFound('environment', id);
    refuseTypeChange(request.body);
    return environments.update(workspace_id, id, parseBody(EnvironmentUpdate, request.body ?? {}));
  });

  app.delete<EnvironmentRoute>('/v1/environments/:environment_id', async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    const { workspace_id } = identityOf(request);
    const id = checkId(request.params.environment_id);
    await environments.delete(workspace_id, id, sessionLog.existing);
    return { id, type: 'environment_deleted' };
  });

  app.post<EnvironmentRoute>('/v1/environments/:environment_id/archive', async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    return environments.archive(identityOf(request).workspace_id, checkId(request.params.environment_id));
  });
}
