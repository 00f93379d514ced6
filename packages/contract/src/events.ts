/**
 * Session events: what clients send, what the log holds, what streams show (CONTRACT 3).
 *
 * A stored event has `id`, `type` and `processed_at`; for client events `processed_at` is null while they are queued.
 */
import { z } from 'zod';
import { type TextBlock, UserContent } from './content.ts';

export const EVENTS_MAX_PER_REQUEST = 1000;

const UserMessageIn = z.strictObject({ type: z.literal('user.message'), content: UserContent });
const UserInterruptIn = z.strictObject({ type: z.literal('user.interrupt'), session_thread_id: z.string().nullish() });

const LATER_EVENTS = new Set([
  'user.tool_confirmation',
  'user.custom_tool_result',
  'user.tool_result',
  'user.define_outcome',
  'system.message',
]);
/** An event that a client may send for now. The other kinds of the contract are refused with "not supported yet". */
export const ClientEventIn = z.discriminatedUnion('type', [UserMessageIn, UserInterruptIn], {
  error: (issue) => {
    const type = (issue.input as { type?: unknown } | null)?.type;
    if (typeof type === 'string' && LATER_EVENTS.has(type)) return `${type} events are not supported yet`;
    return 'unknown event type; a message is {"type":"user.message","content":[{"type":"text","text":"…"}]}, an interrupt {"type":"user.interrupt"}';
  },
});
export type ClientEventIn = z.infer<typeof ClientEventIn>;
export const EventsSend = z.strictObject({ events: z.array(ClientEventIn).min(1).max(EVENTS_MAX_PER_REQUEST) });
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

export type StopReason = { type: 'end_turn' } | { type: 'retries_exhausted' };
export type RetryStatus = { type: 'retrying' } | { type: 'exhausted' } | { type: 'terminal' };
export type SessionErrorType =
  | 'unknown_error'
  | 'model_overloaded_error'
  | 'model_rate_limited_error'
  | 'model_request_failed_error'
  | 'billing_error';

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
}

/** An event before the log gives it an id and `processed_at`. */
export type EventBody =
  | { type: 'user.message'; content: UserContent }
  | { type: 'user.interrupt'; session_thread_id: string | null }
  | { type: 'agent.message'; content: TextBlock[] }
  | { type: 'agent.thinking' }
  | {
      type: 'agent.tool_use';
      name: string;
      input: Record<string, unknown>;
      evaluated_permission: 'allow' | 'deny';
      evaluation?: { type: 'always_allow' };
    }
  | { type: 'agent.tool_result'; tool_use_id: string; content: TextBlock[]; is_error: boolean }
  | { type: 'session.status_running' }
  | { type: 'session.status_idle'; stop_reason: StopReason; stop_details: null }
  | { type: 'session.status_rescheduled' }
  | { type: 'session.status_terminated' }
  | { type: 'session.updated'; title?: string | null; metadata?: Record<string, string> }
  | { type: 'session.usage'; usage: SessionUsage; budget: null }
  | { type: 'session.error'; error: { type: SessionErrorType; message: string; retry_status: RetryStatus } }
  | { type: 'session.deleted' }
  | { type: 'session.thread_status_running'; session_thread_id: string; agent_name: string }
  | { type: 'session.thread_status_idle'; session_thread_id: string; agent_name: string; stop_reason: StopReason; stop_details: null }
  | { type: 'session.thread_status_rescheduled'; session_thread_id: string; agent_name: string }
  | { type: 'session.thread_status_terminated'; session_thread_id: string; agent_name: string }
  | { type: 'span.model_request_start' }
  | { type: 'span.model_request_end'; model_request_start_id: string; is_error: boolean; model_usage: ModelUsage };
export type EventType = EventBody['type'];

/** The kinds that clients send. Only they may wait; everything else is written when it happens. */
export type ClientEventBody = Extract<EventBody, { type: `user.${string}` }>;

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
