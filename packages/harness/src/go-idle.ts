/** The end of a turn: one append tells idle, sets the state and clears the dirty mark, unless new input arrived meanwhile (DESIGN 3.8, I6). */
import type { SessionErrorType } from '@manyhands/contract';
import { writeCheckpoint } from './checkpoint.ts';
import type { JournalEntry } from './journal.ts';
import { idleEvents } from './status-events.ts';
import type { Turn } from './turn.ts';
import { activeMs } from './usage.ts';

async function tellIdle(turn: Turn, stop: 'end_turn' | 'retries_exhausted', before: JournalEntry[]): Promise<boolean> {
  const { deps, journal } = turn;
  const checkpoint = await writeCheckpoint(turn, 'idle');
  const now = deps.clock.now();
  const told = await journal.append([...before, ...idleEvents(turn, { type: stop }, now)], {
    goIdle: true,
    state: {
      status: 'idle',
      activeMs: activeMs(turn.state, now),
      runningSinceMs: null,
      takeovers: 0,
      failures: 0,
      usage: turn.usage,
      ...(checkpoint ? { checkpoint } : {}),
    },
  });
  if (told === false) await turn.inbox.refresh();
  return told !== false;
}

/** Ends the turn with `end_turn`; false when something new is waiting. */
export function endTurn(turn: Turn): Promise<boolean> {
  return tellIdle(turn, 'end_turn', []);
}

/**
 * Gives the turn up: open calls are answered with an error, queued input is flushed (stamped and kept), the session goes idle with
 * `retries_exhausted`. A new message may work (BEHAVIOUR 26).
 */
export async function giveUp(turn: Turn, before: JournalEntry[], type: SessionErrorType, message: string): Promise<void> {
  const results: JournalEntry[] = turn.context.openCalls.map(({ id }) => ({
    body: {
      type: 'agent.tool_result',
      tool_use_id: id,
      is_error: true,
      content: [{ type: 'text', text: 'The turn was given up before this call was finished; it may have run partly.' }],
    },
  }));
  const error: JournalEntry = { body: { type: 'session.error', error: { type, message, retry_status: { type: 'exhausted' } } } };
  for (;;) {
    const flushed = turn.inbox.waiting().map((entry): JournalEntry => ({ stamp: entry }));
    if (await tellIdle(turn, 'retries_exhausted', [...before, ...results, error, ...flushed])) return;
  }
}
