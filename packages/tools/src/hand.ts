/**
 * The `Hand` port: where a tool runs is no business of the harness. A sandbox over NATS (sandbox-hand.ts) and a client's custom tool
 * (client-hand.ts) stand behind it; an MCP server comes behind the same interface.
 */
import type { ToolOutcome } from '@manyhands/contract';

export interface HandCall {
  /** The id of the `agent.tool_use` event: the same call has the same key on every worker (I4). */
  key: string;
  name: string;
  input: Record<string, unknown>;
  /** The call was in the log before this worker came: an earlier one may have started it. */
  resumed?: boolean;
  /**
   * A resumed call that may have been started in a sandbox that was given up since, while the session has another one by now: a sibling leased
   * it. It is collected from the present one if it is there after all, and started nowhere.
   */
  astray?: boolean;
}

export interface ExecuteOptions {
  /** Fires when the call is no longer wanted: it is killed, and its outcome says that it was interrupted. */
  signal?: AbortSignal;
  /** Fires when this worker has to leave: the call runs on, and `execute` rejects with AppError `drained`. */
  detach?: AbortSignal;
}

/** `End`: what a call comes to. A hand that cannot be waited for ends with `awaited`: the outcome comes into the log by itself. */
export interface Hand<End = ToolOutcome> {
  /** Gets ready for calls, so that the first one need not wait. Rejects with AppError `unavailable` when that cannot be had for now. */
  provision(options?: ExecuteOptions): Promise<void>;
  /**
   * Runs a tool at most once, however often and by however many workers it is asked for (I4). Whatever goes wrong with the tool or with what
   * it runs in is an outcome that says so. Rejects only with `drained`, or with what the caller's own callbacks throw (`fenced`).
   */
  execute(call: HandCall, options?: ExecuteOptions): Promise<End>;
  /** The outcomes of these calls are in the log. Best effort, never rejects; what could not be told is told with the next. */
  acknowledge(keys: readonly string[]): Promise<void>;
  /**
   * The session is idle, as far as this thread knows: what it used may be saved and let go after a while, unless another thread has used it
   * since. Best effort; rejects only with what the caller's own callbacks throw.
   */
  park(): Promise<void>;
  /** The session is over: lets go at once, saves nothing. Best effort, never rejects. */
  release(): Promise<void>;
}
