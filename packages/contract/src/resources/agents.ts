/** Agents: requests and the resource (CONTRACT 1.1, 2.1; BEHAVIOUR 3). */
import { z } from 'zod';
import { Metadata, MetadataPatch, notSupportedYet, notSupportedYetList } from '../common.ts';
import { type Tool, ToolsIn } from './tools/toolset.ts';

export const EFFORTS = ['low', 'medium', 'high', 'xhigh', 'max'] as const;
export type Effort = (typeof EFFORTS)[number];
const EffortIn = z.union([z.enum(EFFORTS), z.strictObject({ type: z.enum(EFFORTS) })]);

const modelId = z.string().min(1).max(256);
export const ModelIn = z.union([
  modelId,
  z.strictObject({
    id: modelId,
    effort: EffortIn.nullish(),
    speed: z.enum(['standard', 'fast']).nullish(),
    inference_geo: notSupportedYet('inference_geo'),
  }),
]);
export type ModelIn = z.infer<typeof ModelIn>;

export interface ModelConfig {
  id: string;
  effort: { type: Effort };
  speed?: 'standard' | 'fast';
}

const name = z.string().min(1).max(256);
const description = z.string().max(2048);
export const SYSTEM_MAX_CHARS = 100_000;
const system = z.string().max(SYSTEM_MAX_CHARS);

const laterFields = {
  mcp_servers: notSupportedYetList('mcp_servers'),
  skills: notSupportedYetList('skills'),
  multiagent: notSupportedYet('multiagent'),
  execution_identity: z
    .strictObject({ type: z.literal('service_account', { error: 'only {"type":"service_account"} is supported' }) })
    .nullish(),
};

export const AgentCreate = z.strictObject({
  name,
  model: ModelIn,
  description: description.nullish(),
  system: system.nullish(),
  tools: ToolsIn.optional(),
  metadata: Metadata.optional(),
  ...laterFields,
});
export type AgentCreate = z.infer<typeof AgentCreate>;

export const AgentUpdate = z.strictObject({
  version: z.int().min(1).optional(),
  name: name.optional(),
  model: ModelIn.optional(),
  description: description.nullish(),
  system: system.nullish(),
  tools: ToolsIn.nullish(),
  metadata: MetadataPatch.nullish(),
  ...laterFields,
});
export type AgentUpdate = z.infer<typeof AgentUpdate>;

/** What a session may have its own way. Each field that is given replaces the agent's whole; null clears, but not the model. */
export const AgentOverrides = {
  model: ModelIn.nullish(),
  system: system.nullish(),
  tools: ToolsIn.nullish(),
  mcp_servers: laterFields.mcp_servers,
  skills: laterFields.skills,
};
export type AgentOverrides = z.infer<z.ZodObject<typeof AgentOverrides>>;

/** What an agent is, apart from its id and times. A session holds a copy of it. */
export interface AgentDefinition {
  name: string;
  description: string | null;
  system: string | null;
  model: ModelConfig;
  tools: Tool[];
  mcp_servers: never[];
  skills: never[];
  multiagent: null;
  execution_identity: { type: 'service_account' };
}
export interface Agent extends AgentDefinition {
  type: 'agent';
  id: string;
  version: number;
  metadata: Metadata;
  created_at: string;
  updated_at: string;
  archived_at: string | null;
}
/** The snapshot in a session: an agent without metadata and times. */
export interface SessionAgent extends AgentDefinition {
  type: 'agent';
  id: string;
  version: number;
}
export type ThreadAgent = Omit<SessionAgent, 'multiagent'>;
