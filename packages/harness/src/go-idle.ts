/**
 * The end of a turn: one append tells idle, sets the state and clears the dirty mark, unless new input arrived meanwhile (DESIGN 3.8, I6).
 * Parking is the same while calls wait for their client: no job, no worker and no lease is left (I9).
 */
import type { SessionErrorType, StopDetails, StopReason } from '@manyhands/contract';
import { type AppendBatch, activeMs } from '@manyhands/session-log';
import { budgetMust, spent } from './budget.ts';
import { writeCheckpoint } from './checkpoint.ts';
import type { OpenCall } from './context.ts';
import type { JournalEntry } from './journal.ts';
import { closedCall, failedCall, waitingCalls } from './open-calls.ts';
import { idleEvents, runningEvents } from './status-events.ts';
import type { Turn } from './turn.ts';

interface Idle {
  stop: StopReason;
  details?: StopDetails;
  before?: JournalEntry[];
  /** Calls that `before` answers. */
  answered?: readonly OpenCall[];
  /** Told idle for the same reason already: only the mark has to go. */
  silent?: boolean;
}
const PARKED = 'requires_action';

async function tellIdle(turn: Turn, { stop, details = null, before = [], answered = [], silent = false }: Idle): Promise<boolean> {
  // Told idle, its files are there (I6).
  if (!silent) await turn.tools.capture();
  const now = turn.deps.clock.now();
  return appendWithCheckpoint(turn, silent ? [] : [...before, ...idleEvents(turn, stop, now, details)], {
    ...(stop.type === PARKED ? { parkAt: turn.context.position } : { goIdle: true, calls: answered.map(closedCall) }),
    ...(stop.type === 'budget_reached' ? { budget: budgetMust(turn, 'reached') } : {}),
    state: {
      status: 'idle',
      activeMs: activeMs(turn.state, now),
      runningSinceMs: null,
      takeovers: 0,
      failures: 0,
      usage: turn.usage,
      spentNano: spent(turn, now),
      capped: stop.type === 'budget_reached',
    },
  });
}

/** The last append of a turn; false, with nothing written, when something new is waiting. */
async function appendWithCheckpoint(turn: Turn, entries: JournalEntry[], rest: Omit<AppendBatch, 'entries'>): Promise<boolean> {
  const { checkpointed } = turn;
  const checkpoint = await writeCheckpoint(turn, 'idle');
  const state = { ...rest.state, ...(checkpoint ? { checkpoint } : {}) };
  if ((await turn.journal.append(entries, { ...rest, state })) !== false) return true;
  // Nothing refers to the new checkpoint: the one before still counts.
  turn.checkpointed = checkpointed;
  await lookAgain(turn);
  return false;
}

/** The log knows of something that did not arrive here yet. */
async function lookAgain(turn: Turn): Promise<void> {
  await Promise.all([turn.journal.catchUp(), turn.inbox.refresh()]);
}

/**
 * Nothing to do: the dirty mark goes, nothing is appended. A log that went on without turns is folded, so that the next one starts as soon as
 * ever (I14). False when something is waiting.
 */
export function leaveIdle(turn: Turn): Promise<boolean> {
  return appendWithCheckpoint(turn, [], { goIdle: true });
}

/** Ends the turn, with `end_turn` unless the model refused; false when something new is waiting. */
export function endTurn(turn: Turn): Promise<boolean> {
  const details = turn.context.refused ?? null;
  return tellIdle(turn, details ? { stop: { type: 'refusal' }, details } : { stop: { type: 'end_turn' } });
}

/** Parks the session on the calls that wait for its client; false when something new is there. */
export function park(turn: Turn): Promise<boolean> {
  const event_ids = waitingCalls(turn.context).map(({ id }) => id);
  const silent = turn.context.parkedOn?.join() === event_ids.join();
  return tellIdle(turn, { stop: { type: PARKED, event_ids }, silent });
}

/**
 * Stops at the budget. What is queued is flushed (stamped and kept), and answered with the rest once the budget is raised or taken away. False
 * when that has happened by now, or something new is waiting.
 */
export async function stopAtBudget(turn: Turn): Promise<boolean> {
  // An interrupt is dealt with first, as ever.
  if (turn.inbox.interrupts().length > 0) return false;
  const begun = turn.context.turnOpen ? [] : runningEvents(turn);
  const flushed = turn.inbox.waiting().map((entry): JournalEntry => ({ stamp: entry }));
  return tellIdle(turn, { stop: { type: 'budget_reached' }, before: [...begun, ...flushed] });
}

/**
 * Gives the turn up: open calls are answered with an error, queued input is flushed (stamped and kept), the session goes idle with
 * `retries_exhausted`. A new message may work (BEHAVIOUR 26).
 */
export async function giveUp(turn: Turn, before: JournalEntry[], type: SessionErrorType, message: string): Promise<void> {
  const text = 'The turn was given up before this call was finished; it may have run partly.';
  const error: JournalEntry = { body: { type: 'session.error', error: { type, message, retry_status: { type: 'exhausted' } } } };
  for (;;) {
    const flushed = turn.inbox.waiting().map((entry): JournalEntry => ({ stamp: entry }));
    // A client may answer while this is tried.
    const answered = [...turn.context.openCalls];
    const all = [...before, ...answered.map((call) => failedCall(call, text)), error, ...flushed];
    if (await tellIdle(turn, { stop: { type: 'retries_exhausted' }, before: all, answered })) break;
  }
  turn.deps.metrics.givenUp.add(1);
}
