/** Creating a session: the agent is resolved and copied, the environment checked, the first events stored, a worker woken (SE-1). */
import { invalidRequest, notFound } from '@manyhands/base';
import { type Agent, enabledTools, isId, isSandboxTool, type Session, type SessionAgent, type SessionCreate } from '@manyhands/contract';
import { toSession } from '@manyhands/session-log';
import { environmentArchived, type KeyIdentity } from '@manyhands/store';
import type { GatewayDeps } from './deps.ts';
import type { Wakes } from './wakes.ts';

async function resolveAgent({ agents }: GatewayDeps, workspaceId: string, wanted: SessionCreate['agent']): Promise<Agent> {
  const { id, version } = typeof wanted === 'string' ? { id: wanted, version: undefined } : wanted;
  const agent = isId('agent', id) ? await agents.get(workspaceId, id, version) : null;
  if (!agent) throw notFound(version === undefined ? 'agent' : `version ${version} of agent`, id);
  if (agent.archived_at !== null) throw invalidRequest(`agent: ${id} is archived; use another agent`);
  return agent;
}

async function checkEnvironment({ environments }: GatewayDeps, workspaceId: string, id: string): Promise<void> {
  const environment = isId('environment', id) ? await environments.get(workspaceId, id) : null;
  if (!environment) throw notFound('environment', id);
  if (environment.archived_at !== null) throw environmentArchived(id);
}

function snapshot(agent: Agent): SessionAgent {
  const { metadata: _metadata, created_at: _created, updated_at: _updated, archived_at: _archived, ...definition } = agent;
  return definition;
}

export async function startSession(deps: GatewayDeps, wakes: Wakes, identity: KeyIdentity, wanted: SessionCreate): Promise<Session> {
  const { sessionLog, clock, ids } = deps;
  const { workspace_id } = identity;
  const [agent] = await Promise.all([
    resolveAgent(deps, workspace_id, wanted.agent),
    checkEnvironment(deps, workspace_id, wanted.environment_id),
  ]);
  const id = ids.id('session');
  const { startsWork } = await sessionLog.create({
    record: { id, workspace_id, agent: snapshot(agent), environment_id: wanted.environment_id, created_at_ms: clock.now() },
    title: wanted.title ?? null,
    metadata: wanted.metadata ?? {},
    initialEvents: wanted.initial_events ?? [],
  });
  if (startsWork) wakes.wake(workspace_id, id);
  // A sandbox may be got ready meanwhile; the model is never kept waiting for it (I8).
  if ([...enabledTools(agent.tools)].some(isSandboxTool)) wakes.hint(workspace_id, id);
  const stored = await sessionLog.get(id);
  if (!stored) throw notFound('session', id);
  return toSession(stored, clock.now());
}
