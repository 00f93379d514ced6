/**
 * The `ToolExecutor` that is the session's own client. The event of a call is the request to it and the client's event the result, both in the log
 * by themselves: nothing is started here and nothing waited for, so that no worker is held while a client thinks (I9).
 */
import type { ToolResult } from '@manyhands/contract';
import type { ToolExecutor } from '../tool-executor.ts';
import { INTERRUPTED } from '../tool-results.ts';

export function createClientExecutor(): ToolExecutor<ToolResult | 'awaited'> {
  const nothing = async () => {};
  return {
    provision: nothing,
    execute: async (_call, { signal } = {}) => (signal?.aborted ? INTERRUPTED : 'awaited'),
    acknowledge: nothing,
    park: nothing,
    release: nothing,
  };
}
