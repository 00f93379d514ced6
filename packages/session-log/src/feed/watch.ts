/**
 * One watched thread: those who follow it, and what is known of its log. Its head is told by messages and by looks at the thread's state;
 * nothing else of the log is kept.
 */
import type { PreviewFrame } from '@manyhands/contract';
import type { ThreadKeys } from '../keys.ts';
import type { Follower } from './follower.ts';

export interface Watch {
  readonly sessionId: string;
  readonly threadId: string;
  readonly keys: ThreadKeys;
  readonly followers: Set<Follower>;
  readonly previews: Set<{ onFrames(frames: PreviewFrame[]): void }>;
  readonly interrupts: Set<{ onInterrupt(sequence: number): void }>;
  /** The highest position that was told of or read; 0 for none. */
  head: number;
  /**
   * The log was read to its end since the last doubt: whatever is behind `head` is yet to be told of. What was lost without a doubt is for
   * the looks to find.
   */
  sure: boolean;
  /** How often messages may have been missed. A read that began before the last doubt says nothing about the end of the log. */
  doubts: number;
  /** How often something was told of. */
  news: number;
  /** It was running or rescheduling at the last look, or something was appended since. */
  working: boolean;
  /** A message that could not be read was logged. */
  complained: boolean;
}

export function createWatch(sessionId: string, threadId: string, keys: ThreadKeys): Watch {
  return {
    sessionId,
    threadId,
    keys,
    followers: new Set(),
    previews: new Set(),
    interrupts: new Set(),
    head: 0,
    sure: false,
    doubts: 0,
    news: 0,
    working: true,
    complained: false,
  };
}

/** Positions up to this one exist. */
export function told(watch: Watch, head: number): void {
  watch.news++;
  watch.head = Math.max(watch.head, head);
}
/** Messages may be missing. */
export function doubt(watch: Watch): void {
  watch.doubts++;
  watch.sure = false;
}
