/**
 * The `ToolExecutor` port: the harness does not know where a tool runs. A sandbox over NATS (sandbox/sandbox-executor.ts) and a custom tool of the
 * client (client/client-executor.ts) implement it; an MCP server will implement the same interface.
 */
import type { ToolResult } from '@manyhands/contract';

export interface ToolCall {
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
  /** Fires when the call is no longer wanted: it is killed, and its result says that it was interrupted. */
  signal?: AbortSignal;
  /** Fires when this worker has to leave: the call runs on, and `execute` rejects with AppError `drained`. */
  detach?: AbortSignal;
}

/** `End`: what a call comes to. An executor that cannot be waited for ends with `awaited`: the result comes into the log by itself. */
export interface ToolExecutor<End = ToolResult> {
  /** Gets ready for calls, so that the first one need not wait. Rejects with AppError `unavailable` when that cannot be had for now. */
  provision(options?: ExecuteOptions): Promise<void>;
  /**
   * Runs a tool at most once, however often and by however many workers it is asked for (I4). Whatever goes wrong with the tool or with what
   * it runs in is a result that says so. Rejects only with `drained`, or with what the caller's own callbacks throw (`fenced`).
   */
  execute(call: ToolCall, options?: ExecuteOptions): Promise<End>;
  /** The results of these calls are in the log. Best effort, never rejects; what could not be told is told with the next. */
  acknowledge(keys: readonly string[]): Promise<void>;
  /**
   * The session is idle, as far as this thread knows: what it used may be saved and evicted after a while, unless another thread has used it
   * since. Best effort; rejects only with what the caller's own callbacks throw.
   */
  park(): Promise<void>;
  /** The session is over: releases what it used at once, saves nothing. Best effort, never rejects. */
  release(): Promise<void>;
}
