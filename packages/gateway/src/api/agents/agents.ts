/** AG-1..6: agents and their versions. */
import { notFound } from '@manyhands/base';
import { AgentCreate, AgentUpdate, isId } from '@manyhands/contract';
import type { AgentStore } from '@manyhands/store';
import type { FastifyInstance } from 'fastify';
import { identityOf } from '../../http/auth.ts';
import { parseBody, refuseBody } from '../../http/body/validation.ts';
import { readQuery } from '../../http/query.ts';

interface AgentRoute {
  Params: { agent_id: string };
}
function checkId(id: string): string {
  if (!isId('agent', id)) throw notFound('agent', id);
  return id;
}

export function registerAgents(app: FastifyInstance, agents: AgentStore): void {
  app.post('/v1/agents', async (request) => {
    readQuery(request, []);
    return agents.create(identityOf(request).workspace_id, parseBody(AgentCreate, request.body));
  });

  app.get('/v1/agents', async (request) => {
    const query = readQuery(request, ['limit', 'page', 'include_archived', 'created_at[gte]', 'created_at[lte]']);
    return agents.list(identityOf(request).workspace_id, {
      limit: query.limit(),
      cursor: query.text('page'),
      includeInactive: query.flag('include_archived'),
      range: query.createdAt(),
    });
  });

  app.get<AgentRoute>('/v1/agents/:agent_id', async (request) => {
    const version = readQuery(request, ['version']).integer('version', 1, Number.MAX_SAFE_INTEGER);
    const id = checkId(request.params.agent_id);
    const agent = await agents.get(identityOf(request).workspace_id, id, version);
    if (!agent) throw notFound(version === undefined ? 'agent' : `version ${version} of agent`, id);
    return agent;
  });

  app.post<AgentRoute>('/v1/agents/:agent_id', async (request) => {
    readQuery(request, []);
    const id = checkId(request.params.agent_id);
    return agents.update(identityOf(request).workspace_id, id, parseBody(AgentUpdate, request.body ?? {}));
  });

  app.post<AgentRoute>('/v1/agents/:agent_id/archive', async (request) => {
    readQuery(request, []);
    refuseBody(request.body);
    return agents.archive(identityOf(request).workspace_id, checkId(request.params.agent_id));
  });

  app.get<AgentRoute>('/v1/agents/:agent_id/versions', async (request) => {
    const query = readQuery(request, ['limit', 'page']);
    const id = checkId(request.params.agent_id);
    return agents.versions(identityOf(request).workspace_id, id, { limit: query.limit(), cursor: query.text('page') });
  });
}
