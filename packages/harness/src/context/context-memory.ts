/**
 * Folded contexts that a worker remembers between turns, so that the next one folds only what came since. A context is a pure function of the log
 * up to a position; the log says at the lease whether it still has the entry there, so what is remembered is never wrong, only useless
 * (decision 0014).
 *
 * Bounded in number and in size. A context with media, or one that is long, is not kept: the log has it.
 */
import { LRUCache } from 'lru-cache';
import type { Context } from './context.ts';
import { holdsMedia } from './media-bound.ts';

const CONTEXTS_MAX = 500;
const BYTES_MAX = 64 * 1024 * 1024;
const CONTEXT_TOKENS_MAX = 50_000;
const BYTES_PER_TOKEN = 8;
const LEAST_BYTES = 4 * 1024;

export interface Remembered {
  context: Context;
  /** Of the last entry that is folded in. */
  last: { position: number; id: string };
}

export interface ContextMemory {
  /** What is known of a thread's log; it stays remembered. */
  lastOf(threadId: string): Remembered['last'] | undefined;
  /** Gives it to the one turn that goes on from it, which folds into it in place. */
  take(threadId: string): Context | null;
  keep(threadId: string, remembered: Remembered): void;
}

export function createContextMemory(): ContextMemory {
  const contexts = new LRUCache<string, Remembered>({
    max: CONTEXTS_MAX,
    maxSize: BYTES_MAX,
    sizeCalculation: ({ context }) => LEAST_BYTES + sizeOf(context) * BYTES_PER_TOKEN,
  });
  return {
    lastOf: (threadId) => contexts.get(threadId)?.last,
    take(threadId) {
      const known = contexts.get(threadId);
      contexts.delete(threadId);
      return known?.context ?? null;
    },
    keep(threadId, remembered) {
      const { context } = remembered;
      if (sizeOf(context) <= CONTEXT_TOKENS_MAX && !hasMedia(context)) contexts.set(threadId, remembered);
    },
  };
}

/** In tokens, as far as they were counted or estimated. */
function sizeOf({ tokens, grown }: Context): number {
  return tokens + grown;
}
function hasMedia({ messages }: Context): boolean {
  return messages.some(({ content }) => holdsMedia(content));
}
