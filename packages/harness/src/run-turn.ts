/**
 * The turn as a loop over the context: each round does the one thing that comes next, and every step leaves the log in a state from which
 * another worker can go on.
 *
 *   interrupt waiting  → end the open calls, stamp it; the current message's work is over
 *   client confirmed   → stamp it, and `session.status_running` if nothing waits for the client any more
 *   calls to run       → run them
 *   calls waiting      → park: tell idle with the calls that wait for the client, and leave
 *   model awaited      → ask it
 *   message waiting    → take it up (with `session.status_running` if the turn is not open) and ask the model
 *   nothing            → tell idle
 */

import type { LogEntry } from '@manyhands/session-log';
import { writeCheckpoint } from './checkpoint.ts';
import type { OpenCall } from './context.ts';
import { endTurn, giveUp, leaveIdle, park, stopAtBudget } from './go-idle.ts';
import { appendAll, type JournalEntry } from './journal.ts';
import { modelStep } from './model-step.ts';
import { startableCalls, waitingCalls } from './open-calls.ts';
import { runningEvents } from './status-events.ts';
import { toolStep } from './tool-step.ts';
import { checkLost, type Turn } from './turn.ts';
import { NO_MODEL_USAGE } from './usage.ts';

/** Workers that may take a turn over without progress before it is given up: a poison turn does not take workers down for ever. */
const TAKEOVERS_MAX = 3;

export type TurnEnd = 'idle' | 'handover' | 'waiting';

export async function runTurn(turn: Turn): Promise<TurnEnd> {
  const { context, inbox, journal, lease } = turn;
  if (context.openSpan !== null) {
    // A request cut by a crash is closed; the take-over tells nothing else (CONTRACT 8 O).
    await appendAll(journal, [
      { body: { type: 'span.model_request_end', model_request_start_id: context.openSpan, is_error: true, model_usage: NO_MODEL_USAGE } },
    ]);
  }
  if (lease.takeovers >= TAKEOVERS_MAX) {
    turn.log.error({ takeovers: lease.takeovers }, 'turn given up');
    await giveUp(turn, [], 'unknown_error', `The turn was given up: ${TAKEOVERS_MAX} workers in a row ended while they ran it.`);
    return 'idle';
  }

  for (;;) {
    checkLost(turn);
    const interrupts = inbox.interrupts();
    const settled = context.openCalls.length === 0;
    if (interrupts.length > 0 && settled) {
      await appendAll(journal, interruptEntries(turn, interrupts.map(stamp), interrupts[0]!.position));
      continue;
    }
    const confirmations = interrupts.length > 0 ? [] : inbox.confirmations();
    const calls = interrupts.length > 0 ? context.openCalls : callsToRun(turn);
    // Nothing waits for the client any more, and its calls have still to run.
    const resumes = !settled && !context.turnOpen && interrupts.length === 0 && waitingCalls(context).length === 0;
    const message = settled && !context.awaitsModel ? inbox.message() : null;
    const busy = confirmations.length > 0 || calls.length > 0 || resumes || (settled && context.awaitsModel) || message !== null;
    // What only needs to be told idle is told by this worker.
    if (busy && turn.drain.begun.aborted) return 'handover';
    // The session was idle when this worker came, so its agent may have been changed before this input: whoever comes next reads it anew.
    if (busy && turn.state.status === 'idle') return 'handover';
    const checkpoint = await writeCheckpoint(turn, 'running');
    if (checkpoint) await appendAll(journal, [], { state: { checkpoint } });

    if (confirmations.length > 0) {
      await appendAll(journal, [...confirmations.map(stamp), ...resumingEvents(turn, confirmations)]);
      continue;
    }
    if (resumes) {
      await appendAll(journal, runningEvents(turn));
      continue;
    }
    if (calls.length > 0) {
      if ((await toolStep(turn, calls)) === 'drained') return 'handover';
      continue;
    }
    if (!settled) {
      if (await park(turn)) return 'idle';
      continue;
    }
    const systemMessages = inbox.systemMessages();
    if (systemMessages.length > 0) {
      const resuming = context.awaitsModel && !context.turnOpen ? runningEvents(turn) : [];
      await appendAll(journal, [...resuming, ...systemMessages.map(stamp)]);
      continue;
    }
    if (busy) {
      const lead: JournalEntry[] = [...(context.turnOpen ? [] : runningEvents(turn)), ...(message ?? []).map(stamp)];
      const end = await modelStep(turn, lead);
      if (end === 'gave_up') return 'idle';
      if (end === 'capped' && (await stopAtBudget(turn))) return 'idle';
      if (end === 'handed_over') return 'handover';
      if (end === 'drained') return 'waiting';
      continue;
    }
    if (context.turnOpen || turn.state.status !== 'idle') {
      if (await endTurn(turn)) return 'idle';
      continue;
    }
    if (await leaveIdle(turn)) return 'idle';
  }
}

function stamp(entry: LogEntry): JournalEntry {
  return { stamp: entry };
}

/** What may run now, and what has not been put to the client's hand yet. */
function callsToRun({ context, awaited }: Turn): OpenCall[] {
  return [...startableCalls(context), ...waitingCalls(context).filter(({ id }) => !awaited.has(id))];
}

/** A parked session runs again once the client has said something to every call: with these confirmations it has. */
function resumingEvents(turn: Turn, confirmations: readonly LogEntry[]): JournalEntry[] {
  const { context } = turn;
  const confirmed = new Set(confirmations.map(({ event }) => (event.type === 'user.tool_confirmation' ? event.tool_use_id : '')));
  const waiting = waitingCalls(context);
  const all = waiting.length > 0 && waiting.every(({ id }) => confirmed.has(id));
  return all && !context.turnOpen ? runningEvents(turn) : [];
}

/**
 * An interrupt jumps the queue and ends the work of the current message. A message that was sent before it and that nobody took up yet is
 * that current message when no turn is open: it is stamped with it, and stays in the context.
 */
function interruptEntries(turn: Turn, stamps: JournalEntry[], position: number): JournalEntry[] {
  // The current message of a parked session is the one whose calls have just been ended: idle is told again, nothing ran.
  if (turn.context.turnOpen || turn.context.parkedOn) return stamps;
  const message = turn.inbox.message();
  const current: JournalEntry[] = message && message[0]!.position < position ? message.map(stamp) : [];
  return [...runningEvents(turn), ...current, ...stamps];
}
