/**
 * The agent, environment and session that `chat` talks in. Agent and environment are made once per server and kept: they are found again by
 * their metadata.
 */
import type Anthropic from '@anthropic-ai/sdk';

const NAME = 'chat';
const MARK = { made_by: 'manyhands chat' };
/** Looked at for one of ours; with more than that, another one does no harm. */
const LOOK_AT = 100;

export interface ChatSessionOptions {
  model: string | undefined;
  system: string | undefined;
}

export async function createChatSession(client: Anthropic, { model, system }: ChatSessionOptions): Promise<string> {
  const [agentId, environmentId] = await Promise.all([
    findAgent(client, model ?? (await firstModel(client)), system ?? null),
    findEnvironment(client),
  ]);
  const session = await client.beta.sessions.create({ agent: agentId, environment_id: environmentId, title: NAME });
  return session.id;
}

async function firstModel(client: Anthropic): Promise<string> {
  const page = await client.models.list({ limit: 1 });
  const model = page.data[0]?.id;
  if (model === undefined) throw new Error('The server lists no model. Name one with --model ID.');
  return model;
}

async function findAgent(client: Anthropic, model: string, system: string | null): Promise<string> {
  const page = await client.beta.agents.list({ limit: LOOK_AT });
  const ours = page.data.find((agent) => isOurs(agent) && agent.model.id === model && agent.system === system);
  if (ours) return ours.id;
  const made = await client.beta.agents.create({
    name: NAME,
    model,
    ...(system === null ? {} : { system }),
    tools: [{ type: 'agent_toolset_20260401' }],
    metadata: MARK,
  });
  return made.id;
}

async function findEnvironment(client: Anthropic): Promise<string> {
  const page = await client.beta.environments.list({ limit: LOOK_AT });
  const ours = page.data.find(isOurs);
  if (ours) return ours.id;
  return (await client.beta.environments.create({ name: NAME, metadata: MARK })).id;
}

function isOurs({ name, metadata }: { name: string; metadata: Record<string, string> }): boolean {
  return name === NAME && metadata['made_by'] === MARK.made_by;
}
