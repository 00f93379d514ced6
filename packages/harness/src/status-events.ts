/** The events that tell a session's status, in the order of BEHAVIOUR 6: the session's and its primary thread's together. */
import { primaryThreadId, type SessionErrorType, type StopReason } from '@manyhands/contract';
import type { JournalEntry } from './journal.ts';
import type { Turn } from './turn.ts';
import { activeMs } from './usage.ts';

function thread(turn: Turn) {
  return { session_thread_id: primaryThreadId(turn.record.id), agent_name: turn.record.agent.name };
}

export function runningEvents(turn: Turn): JournalEntry[] {
  return [{ body: { type: 'session.status_running' } }, { body: { type: 'session.thread_status_running', ...thread(turn) } }];
}

export function rescheduledEvents(turn: Turn, type: SessionErrorType, message: string): JournalEntry[] {
  return [
    { body: { type: 'session.error', error: { type, message, retry_status: { type: 'retrying' } } } },
    { body: { type: 'session.thread_status_rescheduled', ...thread(turn) } },
    { body: { type: 'session.status_rescheduled' } },
  ];
}

/** `session.usage` directly precedes every idle. */
export function idleEvents(turn: Turn, stopReason: StopReason, nowMs: number): JournalEntry[] {
  const usage = { ...turn.usage, active_seconds: Math.round(activeMs(turn.state, nowMs)) / 1000 };
  return [
    { body: { type: 'session.thread_status_idle', ...thread(turn), stop_reason: stopReason, stop_details: null } },
    { body: { type: 'session.usage', usage, budget: null } },
    { body: { type: 'session.status_idle', stop_reason: stopReason, stop_details: null } },
  ];
}
