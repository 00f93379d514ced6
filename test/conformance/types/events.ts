/** Session events, stored and streamed, against the SDK's unions, kind by kind. */
import type {
  BetaManagedAgentsSessionEvent,
  BetaManagedAgentsSessionEventType,
  BetaManagedAgentsStreamSessionEvents,
} from '@anthropic-ai/sdk/resources/beta/sessions/events';
import type { BetaManagedAgentsDeltaType } from '@anthropic-ai/sdk/resources/beta/sessions/sessions';
import type { BetaManagedAgentsStreamSessionThreadEvents } from '@anthropic-ai/sdk/resources/beta/sessions/threads/threads';
import type { EVENT_DELTA_TYPES, EventType, FILTERABLE_EVENT_TYPES, PreviewEvent, SessionEvent } from '@manyhands/contract';
import type { Assignable, Expect, KindGaps, Owned } from './assignable.ts';

type Told = SessionEvent;

/** Whatever we tell, a program written for the SDK can read. No exceptions. */
export type WhatWeTell = [
  Expect<Assignable<KindGaps<Told, BetaManagedAgentsSessionEvent>, never>>,
  Expect<Assignable<KindGaps<Told | PreviewEvent, BetaManagedAgentsStreamSessionEvents>, never>>,
  Expect<Assignable<KindGaps<Told | PreviewEvent, BetaManagedAgentsStreamSessionThreadEvents>, never>>,
  // The lists of names are the SDK's, both ways.
  Expect<Assignable<(typeof FILTERABLE_EVENT_TYPES)[number], BetaManagedAgentsSessionEventType>>,
  Expect<Assignable<BetaManagedAgentsSessionEventType, (typeof FILTERABLE_EVENT_TYPES)[number]>>,
  Expect<Assignable<(typeof EVENT_DELTA_TYPES)[number], BetaManagedAgentsDeltaType>>,
  Expect<Assignable<BetaManagedAgentsDeltaType, (typeof EVENT_DELTA_TYPES)[number]>>,
];

/** Kinds that the log records for child threads, while nothing that a client sends makes one, yet. */
type ForChildrenOnly = Extract<EventType, 'agent.thread_message_received' | 'agent.thread_message_sent' | 'session.thread_created'>;
const children = { why: 'told with child threads only', closedBy: 'multi-agent sessions' } as const satisfies Owned;

/** Kinds that the contract knows and no client ever gets, yet. */
const outcomes = { why: 'never written', closedBy: 'outcomes' } as const satisfies Owned;
const workflows = { why: 'never written', closedBy: 'workflow runs' } as const satisfies Owned;
const mcp = { why: 'never written', closedBy: 'MCP servers' } as const satisfies Owned;
export const KINDS_NOT_YET = {
  'user.tool_result': { why: 'never written', closedBy: 'self-hosted environments' },
  'user.define_outcome': outcomes,
  'span.outcome_evaluation_start': outcomes,
  'span.outcome_evaluation_ongoing': outcomes,
  'span.outcome_evaluation_end': outcomes,
  'agent.mcp_tool_use': mcp,
  'agent.mcp_tool_result': mcp,
  'workflow_run.created': workflows,
  'workflow_run.status_running': workflows,
  'workflow_run.status_idle': workflows,
  'workflow_run.status_ended': workflows,
  'workflow_run.error': workflows,
  'workflow_run.phase_started': workflows,
  'workflow_run.phase_ended': workflows,
  'agent.thread_message_received': children,
  'agent.thread_message_sent': children,
  'session.thread_created': children,
} as const satisfies Record<
  Exclude<BetaManagedAgentsStreamSessionEvents['type'], EventType | PreviewEvent['type']> | ForChildrenOnly,
  Owned
>;

/** Kinds that we write, with less in them than the SDK's type allows. */
const toolContent = {
  why: 'images and documents as base64 only, and media types by name',
  closedBy: 'nothing planned',
} as const satisfies Owned;
export const NARROWER_KINDS = {
  'user.message': { why: 'no redacted blocks, and media types by name', closedBy: 'nothing planned' },
  'user.interrupt': { why: 'session_thread_id is always told', closedBy: 'nothing: an answer may say more than it must' },
  'agent.message': { why: 'no redacted blocks', closedBy: 'nothing planned' },
  'user.tool_confirmation': { why: 'processed_at is always told', closedBy: 'nothing: an answer may say more than it must' },
  'user.custom_tool_result': { why: 'media types by name', closedBy: 'nothing: models take no others' },
  'system.message': { why: 'processed_at is always told', closedBy: 'nothing: an answer may say more than it must' },
  'agent.tool_use': { why: 'evaluated_permission is always told', closedBy: 'nothing: an answer may say more than it must' },
  'agent.tool_result': toolContent,
  'agent.thread_message_sent': { why: 'no redacted blocks, and media types by name', closedBy: 'nothing planned' },
  'agent.thread_message_received': { why: 'no redacted blocks, and media types by name', closedBy: 'nothing planned' },
  'session.error': { why: 'errors of models and limits only', closedBy: 'MCP servers; session resources' },
  'session.updated': { why: 'an agent without MCP servers and skills', closedBy: 'MCP servers; skills; multi-agent sessions' },
  'session.usage': { why: 'the counts are optional there, always present here', closedBy: 'nothing: an answer may say more than it must' },
  'span.model_request_end': { why: 'no speed in the usage', closedBy: 'nothing planned' },
  event_delta: { why: 'index is always told', closedBy: 'nothing: an answer may say more than it must' },
} as const satisfies Record<
  KindGaps<Extract<BetaManagedAgentsStreamSessionEvents, { type: EventType | PreviewEvent['type'] }>, Told | PreviewEvent>,
  Owned
>;
