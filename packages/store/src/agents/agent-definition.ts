/** Agents as pure functions: what a create request means, and what an update makes of a stored agent (BEHAVIOUR 3). */
import { conflict, invalidRequest } from '@manyhands/base';
import {
  type Agent,
  type AgentCreate,
  type AgentDefinition,
  type AgentOverrides,
  type AgentUpdate,
  type Effort,
  METADATA_MAX_KEYS,
  type Metadata,
  type ModelConfig,
  type ModelIn,
  mergeMetadata,
  resolveTools,
} from '@manyhands/contract';

/** What an agent gets whose request names no effort. */
export const DEFAULT_EFFORT: Effort = 'high';

/**
 * The model is replaced whole: a speed that is left out is gone. Only `effort` survives when it is left out, as long as the model is the
 * same; another model starts from the default again, and so does an explicit null.
 */
function resolveModel(wanted: ModelIn, stored: ModelConfig | null): ModelConfig {
  const { id, effort, speed } = typeof wanted === 'string' ? { id: wanted, effort: undefined, speed: undefined } : wanted;
  let resolved: { type: Effort } = { type: DEFAULT_EFFORT };
  if (typeof effort === 'string') resolved = { type: effort };
  else if (effort) resolved = effort;
  else if (effort === undefined && stored?.id === id) resolved = stored.effort;
  return { id, effort: resolved, ...(speed ? { speed } : {}) };
}

/** Null and the empty text both clear. */
function textOrNull(text: string | null | undefined): string | null {
  return text === undefined || text === '' ? null : text;
}

export function defineAgent(input: AgentCreate): { definition: AgentDefinition; metadata: Metadata } {
  return {
    definition: {
      name: input.name,
      description: textOrNull(input.description),
      system: textOrNull(input.system),
      model: resolveModel(input.model, null),
      tools: resolveTools(input.tools),
      mcp_servers: [],
      skills: [],
      multiagent: null,
      execution_identity: { type: 'service_account' },
    },
    metadata: input.metadata ?? {},
  };
}

/** The agent with the change applied, version and times untouched. Throws what the client is to be told. */
export function changeAgent(stored: Agent, change: AgentUpdate): Agent {
  if (stored.archived_at !== null) throw invalidRequest(`agent ${stored.id} is archived and can no longer be changed`);
  if (change.version !== undefined && change.version !== stored.version) {
    throw conflict(
      `version: the agent is at version ${stored.version}, not ${change.version}; read it again and repeat the change, or leave version out`,
    );
  }
  const metadata = mergeMetadata(stored.metadata, change.metadata);
  checkMetadata(metadata);
  return {
    ...stored,
    name: change.name ?? stored.name,
    description: change.description === undefined ? stored.description : textOrNull(change.description),
    system: change.system === undefined ? stored.system : textOrNull(change.system),
    model: change.model === undefined ? stored.model : resolveModel(change.model, stored.model),
    tools: change.tools === undefined ? stored.tools : resolveTools(change.tools),
    metadata,
  };
}

/**
 * The agent as one session has it: each given field replaces the agent's whole, left out it is inherited, null or empty it is cleared. A
 * model brings its own effort and speed or the defaults; nothing of the agent's model is left.
 */
export function overrideAgent<A extends AgentDefinition>(agent: A, wanted: AgentOverrides): A {
  if (wanted.model === null)
    throw invalidRequest("agent.model: cannot be cleared; leave it out to use the agent's", { errorCode: 'agent_model_required' });
  return {
    ...agent,
    model: wanted.model === undefined ? agent.model : resolveModel(wanted.model, null),
    system: wanted.system === undefined ? agent.system : textOrNull(wanted.system),
    tools: wanted.tools === undefined ? agent.tools : resolveTools(wanted.tools),
  };
}

/** A bag may be within its limits in every request and still grow beyond them. */
export function checkMetadata(merged: Metadata): void {
  const count = Object.keys(merged).length;
  if (count > METADATA_MAX_KEYS)
    throw invalidRequest(`metadata: at most ${METADATA_MAX_KEYS} keys; with this change there would be ${count}, delete some with null`);
}
