/**
 * The kinds of event that a log holds: one entry for each, which says how the log, its scripts and its readers treat it.
 *
 * Complete over `EventType` by the compiler, and in agreement with `ClientEventBody` and `FILTERABLE_EVENT_TYPES` (the checks at the end). An
 * index bit is stored in every log: it is given once, never changed and never used again; 0 is taken by the index itself.
 */
import type { ClientEventBody, EventBody, EventType, FILTERABLE_EVENT_TYPES } from './events.ts';

export interface EventKind {
  sender: 'client' | 'server';
  /** Whether it may wait for a worker, and if so whether lists and streams show it as queued or only once it was taken up. */
  queued: 'shown' | 'hidden' | 'never';
  /**
   * The kind of call that it answers ('ask' waits for the client's confirmation, 'custom' for the result of the client's tool), and the field
   * that names the call; null for what answers none.
   */
  answers: { call: 'ask' | 'custom'; field: string } | null;
  /** Its number in the index of types (packages/session-log/src/log/type-index.ts). */
  indexBit: number;
  /**
   * Whether the primary thread's log shows a child's; 'waiting': while it is a call that waits for the client. What stands in the primary's log
   * alone is not copied.
   */
  copied: 'always' | 'waiting' | 'never';
}

const client = { sender: 'client', queued: 'shown', answers: null, copied: 'never' } as const;
const server = { sender: 'server', queued: 'never', answers: null, copied: 'never' } as const;

export const EVENT_KINDS = {
  'user.message': { ...client, indexBit: 1 },
  'user.interrupt': { ...client, indexBit: 2, copied: 'always' },
  'user.tool_confirmation': { ...client, indexBit: 3, answers: { call: 'ask', field: 'tool_use_id' }, copied: 'always' },
  // Handled as soon as it is stored.
  'user.custom_tool_result': {
    ...client,
    indexBit: 4,
    queued: 'never',
    answers: { call: 'custom', field: 'custom_tool_use_id' },
    copied: 'always',
  },
  'system.message': { ...client, indexBit: 5 },
  'agent.message': { ...server, indexBit: 6 },
  'agent.thinking': { ...server, indexBit: 7 },
  'agent.tool_use': { ...server, indexBit: 8, copied: 'waiting' },
  'agent.custom_tool_use': { ...server, indexBit: 9, copied: 'always' },
  'agent.tool_result': { ...server, indexBit: 10 },
  'agent.thread_context_compacted': { ...server, indexBit: 11 },
  'session.status_running': { ...server, indexBit: 12 },
  'session.status_idle': { ...server, indexBit: 13 },
  'session.status_rescheduled': { ...server, indexBit: 14 },
  'session.status_terminated': { ...server, indexBit: 15 },
  'session.updated': { ...server, indexBit: 16 },
  'session.usage': { ...server, indexBit: 17 },
  'session.error': { ...server, indexBit: 18 },
  'session.deleted': { ...server, indexBit: 19 },
  'session.thread_status_running': { ...server, indexBit: 20, copied: 'always' },
  'session.thread_status_idle': { ...server, indexBit: 21, copied: 'always' },
  'session.thread_status_rescheduled': { ...server, indexBit: 22, copied: 'always' },
  'session.thread_status_terminated': { ...server, indexBit: 23, copied: 'always' },
  'span.model_request_start': { ...server, indexBit: 24 },
  'span.model_request_end': { ...server, indexBit: 25 },
  'session.thread_created': { ...server, indexBit: 26, copied: 'always' },
  'agent.thread_message_sent': { ...server, indexBit: 27 },
  'agent.thread_message_received': { ...server, indexBit: 28, queued: 'hidden' },
} as const satisfies { [T in EventType]: EventKind & { answers: { field: keyof Extract<EventBody, { type: T }> } | null } };

/** The entry of a kind by its name; undefined for a name that no log holds. */
export function eventKind(type: string): EventKind | undefined {
  return Object.hasOwn(EVENT_KINDS, type) ? EVENT_KINDS[type as EventType] : undefined;
}

/** What waits and is sent by nobody outside, a message of another thread, is shown once it is taken up. */
export function isShownQueued(type: string): boolean {
  return eventKind(type)?.queued === 'shown';
}

/** The kinds whose entry says this of them. */
type KindsWith<F> = { [T in EventType]: (typeof EVENT_KINDS)[T] extends F ? T : never }[EventType];
type Same<A, B> = [A, B] extends [B, A] ? true : never;
/** Compile errors here: a list or type of events.ts and the table disagree. */
true satisfies Same<KindsWith<{ sender: 'client' }>, ClientEventBody['type']>;
true satisfies Same<Exclude<EventType, (typeof FILTERABLE_EVENT_TYPES)[number]>, 'session.deleted'>;
