/**
 * The `Hand` that is the session's own client. The event of a call is the request to it and the client's event the outcome, both in the log
 * by themselves: nothing is started here and nothing waited for, so that no worker is held while a client thinks (I9).
 */
import type { ToolOutcome } from '@manyhands/contract';
import type { Hand } from './hand.ts';
import { INTERRUPTED } from './outcomes.ts';

export function createClientHand(): Hand<ToolOutcome | 'awaited'> {
  const nothing = async () => {};
  return {
    provision: nothing,
    execute: async (_call, { signal } = {}) => (signal?.aborted ? INTERRUPTED : 'awaited'),
    acknowledge: nothing,
    park: nothing,
    release: nothing,
  };
}
