/**
 * What clients may send, both ways. What the SDK's types can say and we refuse is owned with a sample, and `types.test.ts` proves that the
 * sample is refused. What we accept beyond the SDK's types is owned too.
 */
import type {
  AgentCreateParams,
  AgentUpdateParams,
  BetaManagedAgentsAgentToolConfigParams,
  BetaManagedAgentsAgentToolset20260401Params,
  BetaManagedAgentsModelConfigParams,
} from '@anthropic-ai/sdk/resources/beta/agents/agents';
import type {
  BetaCloudConfigParams,
  EnvironmentCreateParams,
  EnvironmentUpdateParams,
} from '@anthropic-ai/sdk/resources/beta/environments/environments';
import type { BetaManagedAgentsEventParams } from '@anthropic-ai/sdk/resources/beta/sessions/events';
import type { SessionCreateParams, SessionUpdateParams } from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import type {
  AgentCreate,
  AgentToolsetIn,
  AgentUpdate,
  ClientEventIn,
  EnvironmentConfigIn,
  EnvironmentCreate,
  EnvironmentUpdate,
  ModelIn,
  SessionCreate,
  SessionUpdate,
} from '@manyhands/contract';
import type { z } from 'zod';
import type { Assignable, Body, Expect, FieldGaps, KindGaps, Owned, Refused, Sent } from './assignable.ts';

type In<Schema extends z.ZodType> = Sent<z.input<Schema>>;

const SERVER = { type: 'url', name: 'docs', url: 'https://mcp.example.com' };
const AGENT_ID = 'agent_1';

const agentFields = {
  execution_identity: {
    why: 'sessions act under the service account only',
    closedBy: 'execution identities',
    sample: { type: 'aws_role', role_arn: 'arn:aws:iam::123456789012:role/x' },
  },
  mcp_servers: { why: 'no MCP connections', closedBy: 'MCP servers', sample: [SERVER] },
  skills: { why: 'no skills', closedBy: 'skills', sample: [{ type: 'anthropic', skill_id: 'xlsx' }] },
  multiagent: { why: 'one agent per session', closedBy: 'multi-agent sessions', sample: { type: 'multiagent_20261001' } },
  model: { why: 'no regions, see MODEL_GAPS', closedBy: 'inference regions', sample: { id: 'claude-opus-4-8', inference_geo: 'eu' } },
  tools: {
    why: 'no tools of MCP servers',
    closedBy: 'MCP servers',
    sample: [{ type: 'mcp_toolset', mcp_server_name: 'docs' }],
  },
} as const;
export const AGENT_CREATE_GAPS = agentFields satisfies Record<FieldGaps<Body<AgentCreateParams>, In<typeof AgentCreate>>, Refused>;
export const AGENT_UPDATE_GAPS = agentFields satisfies Record<FieldGaps<Body<AgentUpdateParams>, In<typeof AgentUpdate>>, Refused>;

export const MODEL_GAPS = {
  inference_geo: { why: 'requests go to the one configured upstream', closedBy: 'inference regions', sample: 'us' },
} as const satisfies Record<FieldGaps<BetaManagedAgentsModelConfigParams, Exclude<In<typeof ModelIn>, string>>, Refused>;

/** The types say all that the SDK's say. */
export type NoToolsetGaps = Expect<Assignable<FieldGaps<BetaManagedAgentsAgentToolset20260401Params, In<typeof AgentToolsetIn>>, never>>;

type ToolConfigIn = NonNullable<In<typeof AgentToolsetIn>['configs']>[number];
type ToolConfigGaps = {
  [N in BetaManagedAgentsAgentToolConfigParams['name']]: FieldGaps<
    Extract<BetaManagedAgentsAgentToolConfigParams, { name: N }>,
    Extract<ToolConfigIn, { name: N }>
  >;
}[BetaManagedAgentsAgentToolConfigParams['name']];
/** Every option has its type. */
export type NoToolConfigGaps = Expect<Assignable<ToolConfigGaps, never>>;

const environmentFields = {
  config: { why: 'only cloud environments', closedBy: 'self-hosted environments', sample: { type: 'self_hosted' } },
  scope: { why: 'there are no accounts inside a workspace', closedBy: 'nothing planned', sample: 'account' },
} as const;
export const ENVIRONMENT_CREATE_GAPS = environmentFields satisfies Record<
  FieldGaps<Body<EnvironmentCreateParams>, In<typeof EnvironmentCreate>>,
  Refused
>;
export const ENVIRONMENT_UPDATE_GAPS = environmentFields satisfies Record<
  FieldGaps<Body<EnvironmentUpdateParams>, In<typeof EnvironmentUpdate>>,
  Refused
>;

/** The types say what packages are; a rule refuses any. */
export const CLOUD_CONFIG_REFUSED = {
  packages: { why: 'sandboxes have what their image has', closedBy: 'packages', sample: { pip: ['requests'] } },
} as const satisfies Record<string, Refused>;

export const SESSION_CREATE_GAPS = {
  agent: {
    why: 'no overrides of what agents cannot have',
    closedBy: 'MCP servers; skills',
    sample: { type: 'agent_with_overrides', id: AGENT_ID, mcp_servers: [SERVER] },
  },
  initial_events: {
    why: 'only messages, with media types by name',
    closedBy: 'outcomes',
    sample: [{ type: 'user.define_outcome', description: 'x', rubric: { type: 'text', content: 'y' } }],
  },
  resources: {
    why: 'files only',
    closedBy: 'git repositories and memory',
    sample: [{ type: 'github_repository', url: 'https://example.com/a/b' }],
  },
  vault_ids: { why: 'no vaults', closedBy: 'vaults', sample: ['vlt_1'] },
} as const satisfies Record<FieldGaps<Body<SessionCreateParams>, In<typeof SessionCreate>>, Refused>;

export const SESSION_UPDATE_GAPS = {
  agent: { why: 'no MCP connections', closedBy: 'MCP servers', sample: { mcp_servers: [SERVER] } },
  vault_ids: { why: 'reserved: the contract refuses it always', closedBy: 'nothing: it is never accepted', sample: ['vlt_1'] },
} as const satisfies Record<FieldGaps<Body<SessionUpdateParams>, In<typeof SessionUpdate>>, Refused>;

const image = { type: 'image', source: { type: 'base64', media_type: 'image/bmp', data: 'AAAA' } } as const;
export const EVENT_GAPS = {
  'user.message': {
    why: 'media types by name',
    closedBy: 'nothing: models take no others',
    sample: { type: 'user.message', content: [image] },
  },
  'user.custom_tool_result': {
    why: 'media types by name',
    closedBy: 'nothing: models take no others',
    sample: {
      type: 'user.custom_tool_result',
      custom_tool_use_id: 'sevt_1',
      content: [image],
    },
  },
  'user.tool_result': {
    why: 'no self-hosted environments',
    closedBy: 'self-hosted environments',
    sample: { type: 'user.tool_result', tool_use_id: 'sevt_1', content: [] },
  },
  'user.define_outcome': {
    why: 'no grader',
    closedBy: 'outcomes',
    sample: { type: 'user.define_outcome', description: 'x', rubric: { type: 'text', content: 'y' } },
  },
} as const satisfies Record<KindGaps<BetaManagedAgentsEventParams, In<typeof ClientEventIn>>, Refused>;

/** What we accept, a client of the SDK can say. */
export type WhatWeAccept = [
  Expect<Assignable<In<typeof EnvironmentCreate>, Body<EnvironmentCreateParams>>>,
  Expect<Assignable<In<typeof EnvironmentConfigIn>, BetaCloudConfigParams>>,
  Expect<Assignable<In<typeof ClientEventIn>, BetaManagedAgentsEventParams>>,
  Expect<Assignable<Exclude<In<typeof ModelIn>, string>, BetaManagedAgentsModelConfigParams>>,
];
const nothingMeansNothing = { why: 'null is read as left out', closedBy: 'nothing: old clients send it' } as const satisfies Owned;
const overridesCleared = {
  why: 'null clears like an empty list; of the model it is refused with a reason of its own',
  closedBy: 'nothing: the documentation says so',
} as const satisfies Owned;
export const LENIENT = {
  agent_create: { mcp_servers: nothingMeansNothing, skills: nothingMeansNothing } satisfies Record<
    FieldGaps<In<typeof AgentCreate>, Body<AgentCreateParams>>,
    Owned
  >,
  agent_update: {} satisfies Record<FieldGaps<In<typeof AgentUpdate>, Body<AgentUpdateParams>>, Owned>,
  environment_update: { metadata: nothingMeansNothing } satisfies Record<
    FieldGaps<In<typeof EnvironmentUpdate>, Body<EnvironmentUpdateParams>>,
    Owned
  >,
  session_create: {
    agent: overridesCleared,
    resources: nothingMeansNothing,
    vault_ids: nothingMeansNothing,
    budget: nothingMeansNothing,
  } satisfies Record<FieldGaps<In<typeof SessionCreate>, Body<SessionCreateParams>>, Owned>,
  session_update: { agent: nothingMeansNothing } satisfies Record<FieldGaps<In<typeof SessionUpdate>, Body<SessionUpdateParams>>, Owned>,
  toolset: {} satisfies Record<FieldGaps<In<typeof AgentToolsetIn>, BetaManagedAgentsAgentToolset20260401Params>, Owned>,
};
