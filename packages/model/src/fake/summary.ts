/**
 * The fake model sums a conversation up where it is asked to: a text of the user that begins with the words below, whatever scripts stand in
 * the conversation. The summary says how much there was and names every word of the user that begins with `keep-`, so that tests see what
 * was carried on. It takes a moment, as a real one would.
 */
import type { Answer } from './answer.ts';
import { type Run, sha, type UserText } from './conversation.ts';

const ASKED = 'Summarise the conversation';
const KEEP = /\bkeep-[\w-]+/g;
const PACE = { delayMs: 150, deltaMs: 0, deltaChars: 24, chunkBytes: 0 };

/** Null if no summary is asked for. */
export function summaryAnswer(runs: readonly Run[], user: UserText): Answer | null {
  if (!user.text.startsWith(ASKED)) return null;
  const said = JSON.stringify(runs);
  const kept = [...new Set(said.match(KEEP) ?? [])];
  const text = `Summary ${sha(said).slice(0, 8)} of ${runs.length} turns. Kept: ${kept.join(' ') || 'nothing'}.`;
  return {
    blocks: [{ type: 'text', text }],
    stopReason: 'end_turn',
    pace: PACE,
    failure: null,
    contextWindow: null,
    source: 'summary',
    step: 0,
  };
}
