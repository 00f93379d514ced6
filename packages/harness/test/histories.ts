/** What a history says, and what is true of every one. */
import type { SessionEvent } from '@manyhands/contract';
import { expect } from 'vitest';

export type Of<K extends SessionEvent['type']> = Extract<SessionEvent, { type: K }>;
export const only = <K extends SessionEvent['type']>(events: readonly SessionEvent[], kind: K) =>
  events.filter((event): event is Of<K> => event.type === kind);

/** The newest use of a tool. */
export async function use(session: { history(): Promise<SessionEvent[]> }, name: string): Promise<string> {
  const events = await session.history();
  return events.findLast((event) => (event.type === 'agent.tool_use' || event.type === 'agent.custom_tool_use') && event.name === name)!.id;
}

/**
 * What a history says, whatever ids and how many requests it took: events by kind, with the tools of the calls they speak of. Of threads it
 * tells nothing; `threads.ts` has that.
 */
export function told(events: readonly SessionEvent[]): string[] {
  const names = new Map(events.flatMap((event) => ('name' in event ? [[event.id, event.name]] : [])));
  return events.flatMap((event) => {
    if (event.type.startsWith('span.')) return [];
    if (event.type === 'session.status_idle') {
      const { stop_reason } = event;
      return [
        `idle ${stop_reason.type === 'requires_action' ? stop_reason.event_ids.map((id) => names.get(id)).join('+') : stop_reason.type}`,
      ];
    }
    if (event.type === 'agent.tool_result') return [`result ${names.get(event.tool_use_id)}`];
    if (event.type === 'user.custom_tool_result') return [`answer ${names.get(event.custom_tool_use_id)}`];
    if (event.type === 'user.tool_confirmation') return [`${event.result} ${names.get(event.tool_use_id)}`];
    if ('name' in event) return [`use ${event.name}`];
    if (event.type === 'session.usage' || event.type.startsWith('session.thread_')) return [];
    return [event.type];
  });
}

/** No event twice, each request's span closed once and before the next one opens, usage told before each idle, running and rescheduled when it is news. */
export function expectSound(events: readonly SessionEvent[]): void {
  expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
  const starts = only(events, 'span.model_request_start').map(({ id }) => id);
  expect(only(events, 'span.model_request_end').map(({ model_request_start_id }) => model_request_start_id)).toEqual(starts);
  events.forEach((event, at) => {
    if (event.type === 'session.status_idle') expect(events[at - 1]?.type).toBe('session.usage');
  });
  const last = new Map<string, string>();
  for (const { type, ...event } of events) {
    if (!/^session\.(thread_)?status_/.test(type)) continue;
    const of = 'session_thread_id' in event ? String(event.session_thread_id) : 'session';
    if (!type.endsWith('_idle')) expect(type, `told of ${of} behind the same`).not.toBe(last.get(of));
    last.set(of, type);
  }
}

/** The errors that were told, in order: what becomes of the turn. */
export function errors(events: readonly SessionEvent[]): string[] {
  return only(events, 'session.error').map(({ error }) => error.retry_status.type);
}
