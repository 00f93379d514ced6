/** Sessions and threads: requests and resources (CONTRACT 1.4, 1.5, 2.2). */
import { z } from 'zod';
import type { SessionAgent, ThreadAgent } from './agents.ts';
import { Metadata, MetadataPatch, notSupportedYet, notSupportedYetList } from './common.ts';
import { InitialEvents, type SessionUsage } from './events.ts';

export const SESSION_STATUSES = ['idle', 'running', 'rescheduling', 'terminated'] as const;
export type SessionStatus = (typeof SESSION_STATUSES)[number];

const AgentRefIn = z.discriminatedUnion(
  'type',
  [z.strictObject({ type: z.literal('agent'), id: z.string(), version: z.int().min(1).optional() })],
  {
    error: (issue) =>
      (issue.input as { type?: unknown } | null)?.type === 'agent_with_overrides'
        ? 'agent_with_overrides is not supported yet; create an agent with these values'
        : 'must be an agent id or {"type":"agent","id":"agent_…","version":1}',
  },
);

const title = z.string().max(1024);

export const SessionCreate = z.strictObject({
  agent: z.union([z.string(), AgentRefIn]),
  environment_id: z.string(),
  title: title.nullish(),
  metadata: Metadata.optional(),
  initial_events: InitialEvents.optional(),
  resources: notSupportedYetList('resources'),
  vault_ids: notSupportedYetList('vault_ids'),
  budget: notSupportedYet('budget'),
});
export type SessionCreate = z.infer<typeof SessionCreate>;

export const SessionUpdate = z.strictObject({
  title: title.nullish(),
  metadata: MetadataPatch.nullish(),
  agent: notSupportedYet('updating the agent of a session'),
  budget: notSupportedYet('budget'),
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
  resources: never[];
  outcome_evaluations: never[];
  stats: { active_seconds: number; duration_seconds: number };
  usage: SessionUsage;
  budget: null;
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
  parent_thread_id: null;
  agent: ThreadAgent;
  status: SessionStatus;
  workflow_run_id: null;
  stats: { active_seconds: number; duration_seconds: number; startup_seconds: number };
  usage: SessionUsage;
  created_at: string;
  updated_at: string;
  archived_at: string | null;
}
