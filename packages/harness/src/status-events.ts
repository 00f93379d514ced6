/** The events that tell a session's status, in the order of BEHAVIOUR 6: the session's and its primary thread's together. */
import { primaryThreadId, type SessionErrorType, type StopDetails, type StopReason } from '@manyhands/contract';
import { activeMs, usageReport } from '@manyhands/session-log';
import { currentBudget } from './budget.ts';
import type { JournalEntry } from './journal.ts';
import type { Turn } from './turn.ts';

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
export function idleEvents(turn: Turn, stopReason: StopReason, nowMs: number, details: StopDetails = null): JournalEntry[] {
  const { list_cost, server_tool_use, ...counts } = usageReport(turn.usage, activeMs(turn.state, nowMs), turn.deps.prices.runtimeCost);
  const usage = { ...counts, ...(list_cost ? { list_cost } : {}), ...(server_tool_use ? { server_tool_use } : {}) };
  return [
    { body: { type: 'session.thread_status_idle', ...thread(turn), stop_reason: stopReason, stop_details: details } },
    { body: { type: 'session.usage', usage, budget: currentBudget(turn) } },
    { body: { type: 'session.status_idle', stop_reason: stopReason, stop_details: details } },
  ];
}
