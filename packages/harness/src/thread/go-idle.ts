/**
 * The end of a turn: one append tells idle, sets the state and, if no thread is left at work, tells it of the session, unless new input
 * arrived meanwhile (DESIGN 3.8, I6). Awaiting action is the same while calls wait for their client: no job, no worker and no lease is left (I9).
 */
import { AppError } from '@manyhands/base';
import type { SessionErrorType, StopDetails } from '@manyhands/contract';
import type { AppendBatch, GoIdle } from '@manyhands/session-log';
import { hasOldCheckpoint, isCheckpointDue, writeCheckpoint } from '../context/checkpoint.ts';
import type { OpenCall } from '../context/context.ts';
import { closedCall, failedCall, waitingCalls } from '../tools/open-calls.ts';
import { handled, type JournalEntry } from './journal.ts';
import { runningEvents } from './status-events.ts';
import type { Turn } from './turn.ts';

/** Clients that go on sending do not keep a turn from its end for so long; a state that contradicts itself would. */
const GIVE_UP_TRIES = 100;

interface Idle {
  stop: GoIdle['stop'];
  details?: StopDetails;
  before?: JournalEntry[];
  /** Calls that `before` answers. */
  answered?: readonly OpenCall[];
  /** Told idle for the same reason already: only the mark has to go. */
  silent?: boolean;
  /** The interrupt of the whole session that this ends for; 0 for none. One that came since refuses the end. */
  stoppedBy?: number;
}

/** False, with nothing written, when something new is waiting. */
async function tellIdle(turn: Turn, idle: Idle): Promise<boolean> {
  const { stop, details = null, before = [], answered = [], silent = false, stoppedBy = 0 } = idle;
  const { context, journal, inbox } = turn;
  for (;;) {
    // Told idle, its files are there (I6). What a sibling did in the sandbox meanwhile is captured, too, before the session is told idle.
    const captured = journal.sandboxUses;
    if (!silent) await turn.tools.capture();
    const { checkpointed } = turn;
    const checkpoint = await writeCheckpoint(turn, 'idle');
    const rest: Omit<AppendBatch, 'entries'> = {
      idle: { stop, details, known: context.position, captured, silent, release: checkpoint === null && isFree(turn) },
      calls: answered.map(closedCall),
      ...(checkpoint ? { checkpoint } : {}),
      ...(stop.type === 'budget_reached' ? { budget: 'reached' } : {}),
      ...handled(stoppedBy),
    };
    const written = await journal.append(before, rest);
    if (!('refused' in written)) return true;
    // Nothing refers to the new checkpoint: the one before still counts.
    turn.checkpointed = checkpointed;
    const { refused } = written;
    if (refused.outcome === 'uncaptured') {
      journal.learnUses(refused.sandboxUses);
      continue;
    }
    await Promise.all([journal.catchUp(), inbox.refresh()]);
    return false;
  }
}

/** Nothing is left to do behind the append that ends the turn: no sandbox to put away, no old checkpoint to drop. */
function isFree(turn: Turn): boolean {
  return !turn.tools.hasSandbox && !hasOldCheckpoint(turn);
}

/**
 * How an answer without calls ends its turn in the very append that brings it; null if something else is to be done first. Refused like any end
 * if something new is waiting, and then the answer is appended by itself.
 */
export function endWithAnswer(turn: Turn): Pick<AppendBatch, 'idle'> | null {
  const { context, inbox, journal } = turn;
  const isLast = context.openCalls.length === 0 && inbox.waiting().length === 0 && inbox.sessionInterrupt() === 0;
  if (!isLast || !isFree(turn) || isCheckpointDue(turn, 'idle')) return null;
  return { idle: { stop: { type: 'end_turn' }, known: context.position, captured: journal.sandboxUses, release: true } };
}

/** Ends the turn, with `end_turn` unless the model refused; false when something new is waiting. */
export function endTurn(turn: Turn, stoppedBy: number): Promise<boolean> {
  const details = turn.context.refused ?? null;
  return tellIdle(turn, details ? { stop: { type: 'refusal' }, details, stoppedBy } : { stop: { type: 'end_turn' }, stoppedBy });
}

/** Rests the thread on the calls that wait for its client; false when something new is there. */
export function awaitAction(turn: Turn): Promise<boolean> {
  const event_ids = waitingCalls(turn.context).map(({ id }) => id);
  const silent = !turn.context.rescheduled && turn.context.parkedOn?.join() === event_ids.join();
  return tellIdle(turn, { stop: { type: 'requires_action' }, silent });
}

/**
 * Stops at the budget. What is queued is flushed (processed and kept), and answered with the rest once the budget is raised or taken away. False
 * when that has happened by now, or something new is waiting.
 */
export async function stopAtBudget(turn: Turn, stoppedBy: number): Promise<boolean> {
  // An interrupt is dealt with first, as ever.
  if (turn.inbox.interrupts().length > 0 || turn.inbox.sessionInterrupt() > stoppedBy) return false;
  const begun = turn.context.turnOpen ? [] : runningEvents();
  const flushed = turn.inbox.waiting().map((entry): JournalEntry => ({ processed: entry }));
  return tellIdle(turn, { stop: { type: 'budget_reached' }, before: [...begun, ...flushed], stoppedBy });
}

/**
 * Gives the turn up: open calls are answered with an error, queued input is flushed (processed and kept), the thread goes idle with
 * `retries_exhausted`. A new message may work (BEHAVIOUR 26).
 */
export async function giveUp(turn: Turn, before: JournalEntry[], type: SessionErrorType, message: string): Promise<void> {
  const text = 'The turn was given up before this call was finished; it may have run partly.';
  const error: JournalEntry = { body: { type: 'session.error', error: { type, message, retry_status: { type: 'exhausted' } } } };
  for (let tries = 0; tries < GIVE_UP_TRIES; tries++) {
    const flushed = turn.inbox.waiting().map((entry): JournalEntry => ({ processed: entry }));
    // A client may answer while this is tried.
    const answered = [...turn.context.openCalls];
    const all = [...before, ...answered.map((call) => failedCall(call, text)), error, ...flushed];
    const stoppedBy = turn.inbox.sessionInterrupt();
    if (!(await tellIdle(turn, { stop: { type: 'retries_exhausted' }, before: all, answered, stoppedBy }))) continue;
    turn.deps.metrics.givenUp.add(1);
    return;
  }
  throw new AppError('internal', 'the log refuses the end of a turn again and again');
}
