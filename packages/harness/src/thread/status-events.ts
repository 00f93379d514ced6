/** The events that tell of a thread's status, in the order of BEHAVIOUR 6. The log makes those of its session. */
import type { SessionErrorType } from '@manyhands/contract';
import type { JournalEntry } from './journal.ts';

export function runningEvents(): JournalEntry[] {
  return [{ status: 'running' }];
}

export function rescheduledEvents(type: SessionErrorType, message: string): JournalEntry[] {
  return [{ body: { type: 'session.error', error: { type, message, retry_status: { type: 'retrying' } } } }, { status: 'rescheduled' }];
}
