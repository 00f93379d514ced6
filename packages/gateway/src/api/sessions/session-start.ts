/** Creating a session: the agent is resolved and copied, the environment claimed, the first events stored, a worker woken (SE-1). */
import { invalidRequest, notFound } from '@manyhands/base';
import { type Agent, enabledTools, isId, isSandboxTool, type Session, type SessionAgent, type SessionCreate } from '@manyhands/contract';
import { toSession } from '@manyhands/session-log';
import { type KeyIdentity, overrideAgent } from '@manyhands/store';
import type { GatewayDeps } from '../../deps.ts';
import type { Enqueuer } from '../enqueuer.ts';
import { checkAttachments } from '../files/attachments.ts';
import { checkResources, mountAll } from '../files/session-files.ts';
import { checkBudgetable } from './session-budget.ts';

function snapshot(agent: Agent): SessionAgent {
  const { metadata: _metadata, created_at: _created, updated_at: _updated, archived_at: _archived, ...definition } = agent;
  return definition;
}

/** The agent as this session has it. */
async function resolveAgent({ agents }: GatewayDeps, workspaceId: string, wanted: SessionCreate['agent']): Promise<SessionAgent> {
  const { id, version } = typeof wanted === 'string' ? { id: wanted, version: undefined } : wanted;
  const agent = isId('agent', id) ? await agents.get(workspaceId, id, version) : null;
  if (!agent) throw notFound(version === undefined ? 'agent' : `version ${version} of agent`, id);
  if (agent.archived_at !== null) throw invalidRequest(`agent: ${id} is archived; use another agent`);
  const copy = snapshot(agent);
  return typeof wanted === 'object' && wanted.type === 'agent_with_overrides' ? overrideAgent(copy, wanted) : copy;
}

export async function startSession(deps: GatewayDeps, enqueuer: Enqueuer, identity: KeyIdentity, wanted: SessionCreate): Promise<Session> {
  const { sessionLog, clock, ids, prices } = deps;
  const { workspace_id } = identity;
  const { environment_id } = wanted;
  const agent = await resolveAgent(deps, workspace_id, wanted.agent);
  if (wanted.budget) checkBudgetable(prices, agent);
  if (!isId('environment', environment_id)) throw notFound('environment', environment_id);
  const resources = wanted.resources ?? [];
  const uploads = await checkResources(deps, workspace_id, resources);
  const attachments = await checkAttachments(deps, workspace_id, wanted.initial_events ?? [], 'initial_events');
  const id = ids.id('session');
  const files = await mountAll(deps, workspace_id, id, resources, uploads);
  if (attachments) {
    await deps.files.announceScope(workspace_id, id);
    await attachments.keep(id);
  }
  const begunAtMs = clock.now();
  // Everything else was checked: from here on the environment stays while the session does.
  await deps.environments.claim(workspace_id, environment_id, id);
  const { wakes: woken } = await sessionLog.create({
    record: { id, workspace_id, agent, environment_id },
    begunAtMs,
    title: wanted.title ?? null,
    metadata: wanted.metadata ?? {},
    budget: wanted.budget ?? null,
    files,
    initialEvents: wanted.initial_events ?? [],
  });
  enqueuer.wake(workspace_id, id, woken);
  // Prewarms a sandbox beside the turn; no model request waits for it (I8).
  if ([...enabledTools(agent.tools)].some(isSandboxTool)) enqueuer.prewarm(workspace_id, id);
  const stored = await sessionLog.get(id);
  if (!stored) throw notFound('session', id);
  return toSession(stored, prices.runtimeCost);
}
