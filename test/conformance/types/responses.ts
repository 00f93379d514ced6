/** What we answer, against what the SDK says an answer is. Ours must fit the SDK's types whole; the other way round the gaps are owned. */

import type {
  BetaManagedAgentsAgent,
  BetaManagedAgentsAgentToolConfig,
  BetaManagedAgentsAgentToolset20260401,
  BetaManagedAgentsModelConfig,
  BetaManagedAgentsSessionThreadAgent,
} from '@anthropic-ai/sdk/resources/beta/agents/agents';
import type {
  BetaCloudConfig,
  BetaEnvironment,
  BetaEnvironmentDeleteResponse,
} from '@anthropic-ai/sdk/resources/beta/environments/environments';
import type { BetaModelInfo } from '@anthropic-ai/sdk/resources/beta/models';
import type {
  BetaManagedAgentsDeletedSession,
  BetaManagedAgentsSession,
  BetaManagedAgentsSessionAgent,
  BetaManagedAgentsSessionUsage,
} from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import type { BetaManagedAgentsSessionThread } from '@anthropic-ai/sdk/resources/beta/sessions/threads/threads';
import type { ErrorResponse } from '@anthropic-ai/sdk/resources/shared';
import type {
  Agent,
  AgentToolset,
  CloudConfig,
  Environment,
  ModelConfig,
  ModelInfo,
  Session,
  SessionAgent,
  SessionThread,
  SessionUsage,
  ThreadAgent,
  ToolConfig,
  WireErrorBody,
} from '@manyhands/contract';
import type { Assignable, Expect, FieldGaps, Owned } from './assignable.ts';

/** Whatever we answer, a program written for the SDK can read. No exceptions. */
export type WhatWeAnswer = [
  Expect<Assignable<Agent, BetaManagedAgentsAgent>>,
  Expect<Assignable<ModelConfig, BetaManagedAgentsModelConfig>>,
  Expect<Assignable<AgentToolset, BetaManagedAgentsAgentToolset20260401>>,
  Expect<Assignable<ToolConfig, BetaManagedAgentsAgentToolConfig>>,
  Expect<Assignable<Environment, BetaEnvironment>>,
  Expect<Assignable<CloudConfig, BetaCloudConfig>>,
  Expect<Assignable<{ id: string; type: 'environment_deleted' }, BetaEnvironmentDeleteResponse>>,
  Expect<Assignable<Session, BetaManagedAgentsSession>>,
  Expect<Assignable<SessionAgent, BetaManagedAgentsSessionAgent>>,
  Expect<Assignable<SessionUsage, BetaManagedAgentsSessionUsage>>,
  Expect<Assignable<{ id: string; type: 'session_deleted' }, BetaManagedAgentsDeletedSession>>,
  Expect<Assignable<SessionThread, BetaManagedAgentsSessionThread>>,
  Expect<Assignable<ThreadAgent, BetaManagedAgentsSessionThreadAgent>>,
  Expect<Assignable<ModelInfo, BetaModelInfo>>,
  Expect<Assignable<WireErrorBody['error']['message'], ErrorResponse['error']['message']>>,
  // Every field that the SDK knows is there, optional ones too.
  Expect<Assignable<keyof BetaManagedAgentsAgent, keyof Agent>>,
  Expect<Assignable<keyof BetaEnvironment, keyof Environment>>,
  Expect<Assignable<keyof BetaManagedAgentsSession, keyof Session>>,
  Expect<Assignable<keyof BetaManagedAgentsSessionAgent, keyof SessionAgent>>,
  Expect<Assignable<keyof BetaManagedAgentsSessionThread, keyof SessionThread>>,
  Expect<Assignable<keyof BetaManagedAgentsSessionThreadAgent, keyof ThreadAgent>>,
  Expect<Assignable<keyof BetaModelInfo, keyof ModelInfo>>,
];

/**
 * What the hosted service may answer and we never do, yet: these fields are narrower here. A program written for our types would meet a
 * surprise there, and each later feature widens one of them.
 */
const identities = { why: 'sessions act under the service account only', closedBy: 'execution identities' } as const satisfies Owned;
const mcpServers = { why: 'always empty', closedBy: 'MCP servers' } as const satisfies Owned;
const skills = { why: 'always empty', closedBy: 'skills' } as const satisfies Owned;
const multiagent = { why: 'always null', closedBy: 'multi-agent sessions' } as const satisfies Owned;
const model = {
  why: 'effort is always told and inference_geo never, see MODEL_GAPS',
  closedBy: 'inference regions',
} as const satisfies Owned;
const tools = { why: 'no tools of MCP servers, see TOOLSET_GAPS', closedBy: 'MCP servers' } as const satisfies Owned;

export const AGENT_GAPS = {
  execution_identity: identities,
  mcp_servers: mcpServers,
  skills,
  multiagent,
  model,
  tools,
} as const satisfies Record<FieldGaps<BetaManagedAgentsAgent, Agent>, Owned>;

export const SESSION_AGENT_GAPS = AGENT_GAPS satisfies Record<FieldGaps<BetaManagedAgentsSessionAgent, SessionAgent>, Owned>;

export const MODEL_GAPS = {
  effort: { why: 'optional there, always present here', closedBy: 'nothing: an answer may say more than it must' },
  inference_geo: { why: 'never told', closedBy: 'inference regions' },
} as const satisfies Record<FieldGaps<BetaManagedAgentsModelConfig, ModelConfig>, Owned>;

export const TOOLSET_GAPS = {
  configs: { why: 'options of the web tools are told where they are set, never as null', closedBy: 'nothing: that is the same' },
} as const satisfies Record<FieldGaps<BetaManagedAgentsAgentToolset20260401, AgentToolset>, Owned>;

export const ENVIRONMENT_GAPS = {
  config: { why: 'always a cloud configuration', closedBy: 'self-hosted environments' },
  scope: { why: 'always "organization"', closedBy: 'nothing: there are no accounts inside a workspace' },
} as const satisfies Record<FieldGaps<BetaEnvironment, Environment>, Owned>;

export const CLOUD_CONFIG_GAPS = {
  packages: { why: 'its type is optional there, always present here', closedBy: 'nothing: an answer may say more than it must' },
} as const satisfies Record<FieldGaps<BetaCloudConfig, CloudConfig>, Owned>;

export const SESSION_GAPS = {
  agent: { why: 'see AGENT_GAPS', closedBy: 'the features named there' },
  deployment_id: { why: 'always null', closedBy: 'deployments' },
  outcome_evaluations: { why: 'always empty', closedBy: 'outcomes' },
  resources: { why: 'always empty', closedBy: 'session resources' },
  stats: { why: 'both numbers are optional there, always present here', closedBy: 'nothing: an answer may say more than it must' },
  usage: { why: 'see USAGE_GAPS', closedBy: 'the features named there' },
} as const satisfies Record<FieldGaps<BetaManagedAgentsSession, Session>, Owned>;

const always = {
  why: 'optional there, always present here',
  closedBy: 'nothing: an answer may say more than it must',
} as const satisfies Owned;
export const USAGE_GAPS = {
  active_seconds: always,
  cache_creation: always,
  cache_read_input_tokens: always,
  input_tokens: always,
  output_tokens: always,
  list_cost: always,
  server_tool_use: always,
} as const satisfies Record<FieldGaps<BetaManagedAgentsSessionUsage, SessionUsage>, Owned>;

export const THREAD_GAPS = {
  agent: { why: 'see AGENT_GAPS; no advisors and inline agents', closedBy: 'multi-agent sessions' },
  workflow_run_id: { why: 'always null', closedBy: 'workflow runs' },
  stats: { why: 'nullable there, always present here', closedBy: 'nothing: an answer may say more than it must' },
  usage: { why: 'nullable there, always present here; see USAGE_GAPS', closedBy: 'the features named there' },
} as const satisfies Record<FieldGaps<BetaManagedAgentsSessionThread, SessionThread>, Owned>;

const unknownFact = { why: 'nothing is known about a model but its id', closedBy: 'a model table' } as const satisfies Owned;
export const MODEL_INFO_GAPS = {
  allowed_fallback_models: unknownFact,
  capabilities: unknownFact,
  deprecated_at: unknownFact,
  lifecycle: unknownFact,
  line: unknownFact,
  retires_at: unknownFact,
} as const satisfies Record<FieldGaps<BetaModelInfo, ModelInfo>, Owned>;
