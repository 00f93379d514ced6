/**
 * The calls of a sandbox's life, by key (I4): a key that was seen once never runs again. A finished result is kept until it is
 * acknowledged, then forgotten; of acknowledged keys the last ACKED_MAX are remembered, so that a late start is not taken for a new call.
 */
import type { CallState, ToolResult } from '@manyhands/contract';
import { failure } from '../tools/tool-result.ts';

const ACKED_MAX = 10_000;
/** Larger results are kept as bytes, outside the small heap of the daemon. */
const PACKED_FROM_CHARS = 64 * 1024;
/** How long a cancel waits for the result that it brought about, in milliseconds. */
const CANCEL_PATIENCE_MS = 2_000;

/** The shell of calls that name no thread. */
const NO_THREAD = '';

export type RunTool = (tool: string, input: Record<string, unknown>, signal: AbortSignal, thread: string) => Promise<ToolResult>;

interface Call {
  abort: AbortController;
  outcome: ToolResult | Buffer | null;
  done: Promise<void>;
}

export interface Calls {
  start(key: string, tool: string, input: Record<string, unknown>, thread?: string): CallState;
  /** The state as soon as the call is done, or after `waitMs`. */
  wait(key: string, waitMs: number): Promise<CallState>;
  cancel(key: string): Promise<CallState>;
  acknowledge(keys: readonly string[]): void;
}

function pack(outcome: ToolResult): ToolResult | Buffer {
  const json = JSON.stringify(outcome);
  return json.length < PACKED_FROM_CHARS ? outcome : Buffer.from(json, 'utf8');
}
function unpack(outcome: ToolResult | Buffer): ToolResult {
  return Buffer.isBuffer(outcome) ? (JSON.parse(outcome.toString('utf8')) as ToolResult) : outcome;
}

export function createCalls(run: RunTool): Calls {
  const calls = new Map<string, Call>();
  // A Set keeps the order of insertion: its first key is the oldest.
  const acked = new Set<string>();

  function stateOf(key: string): CallState {
    const call = calls.get(key);
    if (!call) return { state: 'unknown' };
    return call.outcome ? { state: 'done', outcome: unpack(call.outcome) } : { state: 'running' };
  }

  async function wait(key: string, waitMs: number): Promise<CallState> {
    const call = calls.get(key);
    if (call && !call.outcome && waitMs > 0) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        call.done,
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, waitMs);
        }),
      ]);
      clearTimeout(timer);
      // The result of a call that was acknowledged meanwhile is still what this caller waited for.
      if (call.outcome) return { state: 'done', outcome: unpack(call.outcome) };
    }
    return stateOf(key);
  }

  return {
    wait,
    start(key, tool, input, thread = NO_THREAD) {
      if (calls.has(key) || acked.has(key)) return stateOf(key);
      const abort = new AbortController();
      const call: Call = { abort, outcome: null, done: Promise.resolve() };
      calls.set(key, call);
      call.done = run(tool, input, abort.signal, thread)
        .catch((error: unknown) => failure(`the tool failed: ${String(error)}`))
        .then((outcome) => {
          call.outcome = pack(outcome);
          // Acknowledged while it ran: nobody will ask for it.
          if (acked.has(key)) calls.delete(key);
        });
      return { state: 'running' };
    },
    async cancel(key) {
      calls.get(key)?.abort.abort();
      return wait(key, CANCEL_PATIENCE_MS);
    },
    acknowledge(keys) {
      for (const key of keys) {
        acked.delete(key);
        acked.add(key);
        if (calls.get(key)?.outcome) calls.delete(key);
      }
      for (const oldest of acked) {
        if (acked.size <= ACKED_MAX) break;
        acked.delete(oldest);
      }
    },
  };
}
