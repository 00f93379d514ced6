/**
 * The turn as a loop over the context: each round does the one thing that comes next, and every step leaves the log in a state from which
 * another worker can go on.
 *
 *   interrupt waiting  → end the open calls, take it up; the current message's work is over
 *   client confirmed   → take it up, and tell running if nothing waits for the client any more
 *   calls to run       → run them
 *   calls waiting      → await action: tell idle with the calls that wait for the client, and leave
 *   model awaited      → ask it
 *   message waiting    → take it up (and tell running if the turn is not open) and ask the model
 *   nothing            → tell idle
 */
import { AppError } from '@manyhands/base';
import type { LogEntry } from '@manyhands/session-log';
import { writeCheckpoint } from '../context/checkpoint.ts';
import type { OpenCall } from '../context/context.ts';
import { startableCalls, waitingCalls } from '../tools/open-calls.ts';
import { toolStep } from '../tools/tool-step.ts';
import { EXCEPTIONS_MAX } from './exception.ts';
import { awaitAction, endTurn, giveUp, stopAtBudget } from './go-idle.ts';
import { appendAll, type JournalEntry } from './journal.ts';
import { modelStep } from './model-step.ts';
import { runningEvents } from './status-events.ts';
import { checkLost, type Turn } from './turn.ts';
import { NO_MODEL_USAGE } from './usage.ts';

/** Workers that may end while they run a turn, without progress, before it is given up: a poison turn does not take workers down for ever. */
const RECOVERIES_MAX = 3;

export type TurnEnd = 'idle' | 'handover' | 'waiting';

export async function runTurn(turn: Turn): Promise<TurnEnd> {
  const { context, inbox, journal, lease, state } = turn;
  // A thread at rest has no work: its log went on for so long without a turn that it is folded, so that the next one starts soon (I14).
  if (state.status === 'idle') return foldLog(turn);
  if (context.openSpan !== null) {
    // A request cut by a crash is closed; the recovery tells nothing else (CONTRACT 8 O).
    await appendAll(journal, [
      { body: { type: 'span.model_request_end', model_request_start_id: context.openSpan, is_error: true, model_usage: NO_MODEL_USAGE } },
    ]);
  }
  if (lease.recoveries >= RECOVERIES_MAX) {
    turn.log.error({ recoveries: lease.recoveries }, 'turn given up');
    await giveUp(turn, [], 'unknown_error', `The turn was given up: ${RECOVERIES_MAX} workers in a row ended while they ran it.`);
    return 'idle';
  }
  if (state.exceptions >= EXCEPTIONS_MAX) {
    await giveUp(turn, [], 'unknown_error', `The turn was given up: it failed ${EXCEPTIONS_MAX} times in a row.`);
    return 'idle';
  }

  /** What was known when the log last refused to let the thread rest. */
  let refused = '';
  for (;;) {
    checkLost(turn);
    const known = `${context.position} ${inbox.waiting().map(({ position }) => position)} ${inbox.sessionInterrupt()}`;
    // It refuses for what is new only; anything else would go round for ever.
    if (known === refused) throw new AppError('internal', 'the log refuses the end of the turn, and nothing is new');
    const interrupts = inbox.interrupts();
    const stoppedBy = inbox.sessionInterrupt();
    const interrupted = interrupts.length > 0 || stoppedBy > 0;
    const settled = context.openCalls.length === 0;
    if (interrupts.length > 0 && settled) {
      await appendAll(journal, [...unbegun(turn, interrupts[0]!.sequence), ...interrupts.map(processed)]);
      continue;
    }
    if (stoppedBy > 0 && settled) {
      const current = unbegun(turn, stoppedBy);
      if (current.length > 1) {
        await appendAll(journal, current);
        continue;
      }
    }
    // Calls that an interrupt ends need no more words.
    const confirmations = interrupted && !settled ? [] : inbox.confirmations();
    const calls = interrupted ? context.openCalls : callsToRun(turn);
    // Nothing waits for the client any more, and its calls have still to run.
    const resumes = !settled && !context.turnOpen && !interrupted && waitingCalls(context).length === 0;
    // An interrupt of the whole session ends what this child is at; it is handled with what comes next, be it a message or the end.
    const awaitsModel = context.awaitsModel && stoppedBy === 0;
    const message = settled && !awaitsModel ? inbox.message() : null;
    const busy = confirmations.length > 0 || calls.length > 0 || resumes || (settled && awaitsModel) || message !== null;
    // What only needs to be told idle is told by this worker.
    if (busy && turn.drain.begun.aborted) return 'handover';
    const checkpoint = await writeCheckpoint(turn, 'running');
    if (checkpoint) await appendAll(journal, [], { checkpoint });

    if (confirmations.length > 0) {
      await appendAll(journal, [...confirmations.map(processed), ...resumingEvents(turn, confirmations)]);
      continue;
    }
    if (resumes || (calls.length > 0 && context.rescheduled)) {
      await appendAll(journal, runningEvents());
      continue;
    }
    if (calls.length > 0) {
      if ((await toolStep(turn, calls)) === 'drained') return 'handover';
      continue;
    }
    if (!settled) {
      if (await awaitAction(turn)) return 'idle';
      refused = known;
      continue;
    }
    const systemMessages = inbox.systemMessages();
    if (systemMessages.length > 0) {
      const resuming = awaitsModel && !context.turnOpen ? runningEvents() : [];
      await appendAll(journal, [...resuming, ...systemMessages.map(processed)]);
      continue;
    }
    if (busy) {
      const lead: JournalEntry[] = [...(context.turnOpen ? [] : runningEvents()), ...(message ?? []).map(processed)];
      const end = await modelStep(turn, lead, stoppedBy);
      if (end === 'gave_up' || end === 'ended') return 'idle';
      if (end === 'capped' && (await stopAtBudget(turn, stoppedBy))) return 'idle';
      if (end === 'handed_over') return 'handover';
      if (end === 'drained') return 'waiting';
      continue;
    }
    if (await endTurn(turn, stoppedBy)) return 'idle';
    refused = known;
  }
}

/** Nothing is told. Input that comes meanwhile has its own wake-up. */
async function foldLog(turn: Turn): Promise<TurnEnd> {
  const checkpoint = await writeCheckpoint(turn, 'idle');
  // Workers that ended while they folded it say nothing about the next turn.
  if (checkpoint) await appendAll(turn.journal, [], { checkpoint, progress: true });
  return 'idle';
}

function processed(entry: LogEntry): JournalEntry {
  return { processed: entry };
}
/** What may run now, and what has not been put to the client yet. */
function callsToRun({ context, awaited }: Turn): OpenCall[] {
  return [...startableCalls(context), ...waitingCalls(context).filter(({ id }) => !awaited.has(id))];
}

/** A thread that awaits action runs again once the client has said something to every call: with these confirmations it has. */
function resumingEvents(turn: Turn, confirmations: readonly LogEntry[]): JournalEntry[] {
  const { context } = turn;
  const confirmed = new Set(confirmations.map(({ event }) => (event.type === 'user.tool_confirmation' ? event.tool_use_id : '')));
  const waiting = waitingCalls(context);
  const all = waiting.length > 0 && waiting.every(({ id }) => confirmed.has(id));
  return all && !context.turnOpen ? runningEvents() : [];
}

/**
 * An interrupt jumps the queue and ends the work of the current message. A message that came before it and that nobody took up yet is that
 * current message when no turn is open: it is taken up with it, and stays in the context.
 */
function unbegun({ context, inbox }: Turn, interrupt: number): JournalEntry[] {
  // The current message of a thread that awaited action is the one whose calls have just been ended: idle is told again, nothing ran.
  if (context.turnOpen || context.parkedOn) return [];
  const message = inbox.message();
  return [...runningEvents(), ...(message && message[0]!.sequence < interrupt ? message.map(processed) : [])];
}
