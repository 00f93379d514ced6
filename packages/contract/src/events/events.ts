/**
 * Session events: what clients send, what the log holds, what streams show (CONTRACT 3).
 *
 * A stored event has `id`, `type` and `processed_at`; for client events `processed_at` is null while they are queued.
 */
import { z } from 'zod';
import type { Budget, Money } from '../money.ts';
import type { SessionAgent } from '../resources/agents.ts';
import { type ClientToolContent, CustomToolResultIn, checkSystemMessages, SystemMessageIn, ToolConfirmationIn } from './client-answers.ts';
import { type BuiltinToolContent, type TextBlock, UserContent } from './content.ts';

export const EVENTS_MAX_PER_REQUEST = 1000;

const UserMessageIn = z.strictObject({ type: z.literal('user.message'), content: UserContent });
const UserInterruptIn = z.strictObject({ type: z.literal('user.interrupt'), session_thread_id: z.string().nullish() });

/** Kinds of the contract that are refused for now, and why. */
const LATER_EVENTS = new Map([
  ['user.define_outcome', 'user.define_outcome events are not supported yet'],
  [
    'user.tool_result',
    'user.tool_result answers calls of self_hosted environments, which are not supported yet; custom tools are answered by user.custom_tool_result',
  ],
]);
/** An event that a client may send. */
export const ClientEventIn = z.discriminatedUnion(
  'type',
  [UserMessageIn, UserInterruptIn, ToolConfirmationIn, CustomToolResultIn, SystemMessageIn],
  {
    error: (issue) => {
      const type = (issue.input as { type?: unknown } | null)?.type;
      return (
        (typeof type === 'string' ? LATER_EVENTS.get(type) : undefined) ??
        'unknown event type; a message is {"type":"user.message","content":[{"type":"text","text":"…"}]}, an interrupt {"type":"user.interrupt"}'
      );
    },
  },
);
export type ClientEventIn = z.infer<typeof ClientEventIn>;
export const EventsSend = z.strictObject({
  events: z.array(ClientEventIn).min(1).max(EVENTS_MAX_PER_REQUEST).superRefine(checkSystemMessages),
});
export type EventsSend = z.infer<typeof EventsSend>;

/** Events a session may be created with. */
export const InitialEvents = z
  .array(
    z.discriminatedUnion('type', [UserMessageIn], {
      error: (issue) =>
        (issue.input as { type?: unknown } | null)?.type === 'user.define_outcome'
          ? 'user.define_outcome is not supported yet'
          : 'initial_events take user.message events: {"type":"user.message","content":[{"type":"text","text":"…"}]}',
    }),
  )
  .max(50);

/** The 41 kinds that `types[]` may name: every persisted kind but `session.deleted` (CONTRACT 3.2). */
export const FILTERABLE_EVENT_TYPES = [
  'user.message',
  'user.interrupt',
  'user.tool_confirmation',
  'user.custom_tool_result',
  'user.tool_result',
  'user.define_outcome',
  'system.message',
  'agent.message',
  'agent.thinking',
  'agent.tool_use',
  'agent.tool_result',
  'agent.mcp_tool_use',
  'agent.mcp_tool_result',
  'agent.custom_tool_use',
  'agent.thread_message_sent',
  'agent.thread_message_received',
  'agent.thread_context_compacted',
  'session.status_running',
  'session.status_idle',
  'session.status_rescheduled',
  'session.status_terminated',
  'session.updated',
  'session.usage',
  'session.error',
  'session.thread_created',
  'session.thread_status_running',
  'session.thread_status_rescheduled',
  'session.thread_status_terminated',
  'session.thread_status_idle',
  'span.model_request_start',
  'span.model_request_end',
  'span.outcome_evaluation_start',
  'span.outcome_evaluation_ongoing',
  'span.outcome_evaluation_end',
  'workflow_run.created',
  'workflow_run.status_running',
  'workflow_run.status_idle',
  'workflow_run.status_ended',
  'workflow_run.error',
  'workflow_run.phase_started',
  'workflow_run.phase_ended',
] as const;

export const EVENT_DELTA_TYPES = ['agent.message', 'agent.thinking'] as const;

export type StopReason =
  | { type: 'end_turn' }
  | { type: 'requires_action'; event_ids: string[] }
  | { type: 'retries_exhausted' }
  | { type: 'budget_reached' }
  | { type: 'refusal' };
/** Why a model refused; null for every other stop. */
export type StopDetails = {
  type: 'refusal';
  category: 'cyber' | 'bio' | 'frontier_llm' | 'reasoning_extraction' | 'general_harms' | null;
  explanation: string | null;
} | null;
/** Which policy decided about a call, and under `auto` the judgement; its type is that of `evaluated_permission`. */
export type ToolEvaluation =
  | { type: 'always_allow' }
  | { type: 'always_ask' }
  | { type: 'auto'; evaluated_permission: { type: 'allow' } | { type: 'ask' | 'deny'; reason_code: string } };
export type RetryStatus = { type: 'retrying' } | { type: 'exhausted' } | { type: 'terminal' };
export type SessionErrorType =
  | 'unknown_error'
  | 'model_overloaded_error'
  | 'model_rate_limited_error'
  | 'model_request_failed_error'
  | 'billing_error'
  | 'tool_use_limit_reached_error'
  | 'compaction_limit_reached_error';

export interface ModelUsage {
  input_tokens: number;
  output_tokens: number;
  cache_creation_input_tokens: number;
  cache_read_input_tokens: number;
}
export interface SessionUsage {
  input_tokens: number;
  output_tokens: number;
  cache_read_input_tokens: number;
  cache_creation: { ephemeral_5m_input_tokens: number; ephemeral_1h_input_tokens: number };
  active_seconds: number;
  /** At list prices, running time included; null once something was used that has no list price. */
  list_cost: Money | null;
  /** Null as long as none was used. */
  server_tool_use: { web_search_requests: number; web_fetch_requests: number } | null;
}

/** The same in an event: what is not known is left out. */
export type ToldUsage = Omit<SessionUsage, 'list_cost' | 'server_tool_use'> & {
  list_cost?: Money;
  server_tool_use?: NonNullable<SessionUsage['server_tool_use']>;
};

/** An event before the log gives it an id and `processed_at`. `session_thread_id` stands on what the primary thread's log shows of a child. */
export type EventBody =
  | { type: 'user.message'; content: UserContent }
  | { type: 'user.interrupt'; session_thread_id: string | null }
  | {
      type: 'user.tool_confirmation';
      tool_use_id: string;
      result: 'allow' | 'deny';
      deny_message?: string | null;
      session_thread_id?: string | null;
    }
  | {
      type: 'user.custom_tool_result';
      custom_tool_use_id: string;
      content?: ClientToolContent;
      is_error?: boolean | null;
      session_thread_id?: string | null;
    }
  | { type: 'system.message'; content: TextBlock[] }
  | { type: 'agent.message'; content: TextBlock[] }
  | { type: 'agent.thinking' }
  | {
      type: 'agent.tool_use';
      name: string;
      input: Record<string, unknown>;
      evaluated_permission: 'allow' | 'ask' | 'deny';
      /** Not there for a call that was refused before any policy applied. */
      evaluation?: ToolEvaluation;
      session_thread_id?: string | null;
    }
  | { type: 'agent.custom_tool_use'; name: string; input: Record<string, unknown>; session_thread_id?: string | null }
  | { type: 'agent.tool_result'; tool_use_id: string; content: BuiltinToolContent; is_error: boolean }
  | { type: 'session.status_running' }
  | { type: 'session.status_idle'; stop_reason: StopReason; stop_details: StopDetails }
  | { type: 'session.status_rescheduled' }
  | { type: 'session.status_terminated' }
  | { type: 'agent.thread_context_compacted' }
  | {
      type: 'agent.thread_message_sent';
      to_session_thread_id: string;
      /** Left out for the primary thread. */
      to_agent_name?: string;
      content: UserContent;
    }
  | {
      type: 'agent.thread_message_received';
      from_session_thread_id: string;
      /** Left out for the primary thread. */
      from_agent_name?: string;
      content: UserContent;
    }
  | { type: 'session.updated'; title?: string | null; metadata?: Record<string, string>; agent?: SessionAgent; budget?: Budget | null }
  | { type: 'session.usage'; usage: ToldUsage; budget: Budget | null }
  | { type: 'session.error'; error: { type: SessionErrorType; message: string; retry_status: RetryStatus } }
  | { type: 'session.deleted' }
  | { type: 'session.thread_created'; session_thread_id: string; agent_name: string; workflow_run_id: string | null }
  | { type: 'session.thread_status_running'; session_thread_id: string; agent_name: string }
  | {
      type: 'session.thread_status_idle';
      session_thread_id: string;
      agent_name: string;
      stop_reason: StopReason;
      stop_details: StopDetails;
    }
  | { type: 'session.thread_status_rescheduled'; session_thread_id: string; agent_name: string }
  | { type: 'session.thread_status_terminated'; session_thread_id: string; agent_name: string }
  | { type: 'span.model_request_start' }
  | { type: 'span.model_request_end'; model_request_start_id: string; is_error: boolean; model_usage: ModelUsage };
export type EventType = EventBody['type'];

/** The kinds that clients send: while they wait for a worker, lists and streams show them as queued. */
export type ClientEventBody = Extract<EventBody, { type: `user.${string}` | 'system.message' }>;

/** An event as lists and streams show it. `processed_at` is null while a client's event is queued. */
export type SessionEvent =
  | (ClientEventBody & { id: string; processed_at: string | null })
  | (Exclude<EventBody, ClientEventBody> & { id: string; processed_at: string });

/** The two stream-only kinds (CONTRACT 3.2). */
export type PreviewEvent =
  | { type: 'event_start'; event: { type: 'agent.message' | 'agent.thinking'; id: string } }
  | { type: 'event_delta'; event_id: string; delta: { type: 'content_delta'; index: number; content: TextBlock } };

/**
 * A preview as published between processes, never stored. Viewers hold it until the log entry at `after_position` was
 * delivered; they drop it once the final event was sent or a newer epoch spoke.
 */
export const PreviewFrame = z.object({
  epoch: z.int(),
  after_position: z.int(),
  n: z.int(),
  event_id: z.string(),
  kind: z.enum(['agent.message', 'agent.thinking']),
  /** Text fragments of this frame; an `event_start` has none. */
  start: z.boolean(),
  index: z.int(),
  text: z.string(),
});
export type PreviewFrame = z.infer<typeof PreviewFrame>;
