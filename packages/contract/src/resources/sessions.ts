/** Sessions and threads: requests and resources (CONTRACT 1.4, 1.5, 2.2). */
import { z } from 'zod';
import { Metadata, MetadataPatch, notSupportedYetList } from '../common.ts';
import { InitialEvents, type SessionUsage } from '../events/events.ts';
import { Budget } from '../money.ts';
import { AgentOverrides, type SessionAgent, type ThreadAgent } from './agents.ts';
import { ResourcesIn, type SessionResource } from './files.ts';
import { ToolsIn } from './tools/toolset.ts';

export const SESSION_STATUSES = ['idle', 'running', 'rescheduling', 'terminated'] as const;
export type SessionStatus = (typeof SESSION_STATUSES)[number];

const agentPin = { id: z.string(), version: z.int().min(1).optional() };
const AgentWithOverrides = z.strictObject({ type: z.literal('agent_with_overrides'), ...agentPin, ...AgentOverrides });
const AgentRefIn = z.discriminatedUnion('type', [z.strictObject({ type: z.literal('agent'), ...agentPin }), AgentWithOverrides], {
  error: 'must be an agent id, {"type":"agent","id":"agent_…","version":1} or {"type":"agent_with_overrides","id":"agent_…","system":"…"}',
});

const title = z.string().max(1024);

export const SessionCreate = z.strictObject({
  agent: z.union([z.string(), AgentRefIn]),
  environment_id: z.string(),
  title: title.nullish(),
  metadata: Metadata.optional(),
  initial_events: InitialEvents.optional(),
  resources: ResourcesIn.nullish(),
  vault_ids: notSupportedYetList('vault_ids'),
  budget: Budget.nullish(),
});
export type SessionCreate = z.infer<typeof SessionCreate>;

/** Each field that is given replaces the session's whole; an empty list clears. */
const SessionAgentUpdate = z.strictObject({ tools: ToolsIn.optional(), mcp_servers: notSupportedYetList('mcp_servers') });

export const SessionUpdate = z.strictObject({
  title: title.nullish(),
  metadata: MetadataPatch.nullish(),
  agent: SessionAgentUpdate.nullish(),
  /** Null takes the budget away for good. */
  budget: Budget.nullish(),
  vault_ids: z.undefined({ error: 'vault_ids cannot be updated' }).optional(),
});
export type SessionUpdate = z.infer<typeof SessionUpdate>;

export interface Session {
  type: 'session';
  id: string;
  status: SessionStatus;
  title: string | null;
  agent: SessionAgent;
  environment_id: string;
  vault_ids: string[];
  resources: SessionResource[];
  outcome_evaluations: never[];
  stats: { active_seconds: number; duration_seconds: number };
  usage: SessionUsage;
  budget: Budget | null;
  metadata: Metadata;
  deployment_id: null;
  created_at: string;
  updated_at: string;
  archived_at: string | null;
}

export interface SessionThread {
  type: 'session_thread';
  id: string;
  session_id: string;
  parent_thread_id: string | null;
  agent: ThreadAgent;
  status: SessionStatus;
  workflow_run_id: null;
  stats: { active_seconds: number; duration_seconds: number; startup_seconds: number };
  /** Of the thread alone: its cost leaves the session's running time out. */
  usage: SessionUsage;
  created_at: string;
  updated_at: string;
  archived_at: string | null;
}
