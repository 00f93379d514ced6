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
import type { Assignable, Expect, FieldGaps, MissingFields, Owned } from './assignable.ts';

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

export const AGENT_ANSWERS = {} as const satisfies Record<FieldGaps<BetaManagedAgentsAgent, Agent>, Owned>;
export const X = {} as const satisfies Record<FieldGaps<BetaManagedAgentsSession, Session>, Owned>;
export const Y = {} as const satisfies Record<FieldGaps<BetaManagedAgentsSessionThread, SessionThread>, Owned>;
export const Z = {} as const satisfies Record<FieldGaps<BetaEnvironment, Environment>, Owned>;
export const V = {} as const satisfies Record<FieldGaps<BetaCloudConfig, CloudConfig>, Owned>;
export const W = {} as const satisfies Record<FieldGaps<BetaModelInfo, ModelInfo>, Owned>;
export const U = {} as const satisfies Record<FieldGaps<BetaManagedAgentsModelConfig, ModelConfig>, Owned>;
export const T = {} as const satisfies Record<FieldGaps<BetaManagedAgentsAgentToolset20260401, AgentToolset>, Owned>;
export const S = {} as const satisfies Record<FieldGaps<BetaManagedAgentsSessionUsage, SessionUsage>, Owned>;
export type M = MissingFields<Agent, BetaManagedAgentsAgent>;
