/**
 * The turn as a loop over the context: each round does the one thing that comes next, and every step leaves the log in a state from which
 * another worker can go on.
 *
 *   interrupt waiting  → stamp it; the current message's work is over
 *   calls open         → run them
 *   model awaited      → ask it
 *   message waiting    → take it up (with `session.status_running` if the turn is not open) and ask the model
 *   nothing            → tell idle
 */

import { writeCheckpoint } from './checkpoint.ts';
import { endTurn, giveUp } from './go-idle.ts';
import { appendAll, type JournalEntry } from './journal.ts';
import { modelStep } from './model-step.ts';
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
    if (interrupts.length > 0 && context.openCalls.length === 0) {
      await appendAll(
        journal,
        interruptEntries(
          turn,
          interrupts.map((entry) => ({ stamp: entry })),
          interrupts[0]!.position,
        ),
      );
      continue;
    }
    if (turn.drain.aborted) return 'handover';
    const checkpoint = await writeCheckpoint(turn, 'running');
    if (checkpoint) await appendAll(journal, [], { state: { checkpoint } });

    if (context.openCalls.length > 0) {
      if ((await toolStep(turn)) === 'drained') return 'handover';
      continue;
    }
    const message = context.awaitsModel ? null : inbox.message();
    if (context.awaitsModel || message) {
      const lead: JournalEntry[] = message ? [...(context.turnOpen ? [] : runningEvents(turn)), { stamp: message }] : [];
      const end = await modelStep(turn, lead);
      if (end === 'gave_up') return 'idle';
      if (end === 'drained') return 'waiting';
      continue;
    }
    if (context.turnOpen || turn.state.status !== 'idle') {
      if (await endTurn(turn)) return 'idle';
      continue;
    }
    // Nothing to do: the dirty mark goes, nothing is appended.
    if ((await journal.append([], { goIdle: true })) !== false) return 'idle';
    await inbox.refresh();
  }
}

/**
 * An interrupt jumps the queue and ends the work of the current message. A message that was sent before it and that nobody took up yet is
 * that current message when no turn is open: it is stamped with it, and stays in the context.
 */
function interruptEntries(turn: Turn, stamps: JournalEntry[], position: number): JournalEntry[] {
  if (turn.context.turnOpen) return stamps;
  const message = turn.inbox.message();
  const current: JournalEntry[] = message && message.position < position ? [{ stamp: message }] : [];
  return [...runningEvents(turn), ...current, ...stamps];
}
