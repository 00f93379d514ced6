/** Types of the events that a stream carries, taken from the official SDK. */
import type Anthropic from '@anthropic-ai/sdk';

type SessionEvents = Anthropic['beta']['sessions']['events'];
type ItemOf<T> = T extends AsyncIterable<infer Item> ? Item : never;

export type StreamEvent = ItemOf<Awaited<ReturnType<SessionEvents['stream']>>>;
export type StoredEvent = ItemOf<ReturnType<SessionEvents['list']>>;
export type EventOf<T extends StreamEvent['type']> = Extract<StreamEvent, { type: T }>;
export type ToolUse = EventOf<'agent.tool_use'>;
export type ToolResult = EventOf<'agent.tool_result'>;
