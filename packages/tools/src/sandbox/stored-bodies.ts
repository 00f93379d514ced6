/** The bodies of a session that go through the blob store: inputs and results too large for a message, and what pools leave behind. */
import { backoffMs, ensureError, type Logger, pause } from '@manyhands/base';
import { callOutcomeKey, INLINE_BODY_MAX_BYTES, OutputFile, SandboxEnd, sandboxEndKey, ToolResult } from '@manyhands/contract';
import { z } from 'zod';
import type { ToolCall } from '../tool-executor.ts';
import { refused } from '../tool-results.ts';
import type { BoundSandbox } from './binding.ts';

const BACKOFF_BASE_MS = 100;
const BACKOFF_CAP_MS = 1_000;
const ATTEMPTS = 4;

export interface StoredBodiesDeps {
  workspaceId: string;
  sessionId: string;
  log: Logger;
  putBody: (key: string, body: Buffer) => Promise<unknown>;
  getBody: (key: string) => Promise<Buffer | null>;
}

export type StoredBodies = ReturnType<typeof createStoredBodies>;

export function createStoredBodies({ workspaceId, sessionId, log, putBody, getBody }: StoredBodiesDeps) {
  async function read<T>(key: string, schema: z.ZodType<T>): Promise<T | null> {
    const body = await getBody(key);
    return body && schema.parse(JSON.parse(body.toString('utf8')));
  }

  return {
    /** The result that a pool put under a key; one that says so if it cannot be had. */
    async outcome(key: string): Promise<ToolResult> {
      for (let attempt = 0; ; attempt++) {
        try {
          return (await read(key, ToolResult)) ?? refused('it ran, but its result is not in the blob store');
        } catch (error) {
          log.warn({ err: ensureError(error), key }, 'outcome could not be read');
          if (attempt + 1 >= ATTEMPTS) return refused('it ran, but its result could not be read');
          await pause(backoffMs(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
        }
      }
    },
    /** The result that a pool kept of a call which nobody had collected when its sandbox was shut down. */
    async keptOutcome(callKey: string): Promise<ToolResult | null> {
      try {
        return await read(callOutcomeKey(workspaceId, sessionId, callKey), ToolResult);
      } catch (error) {
        log.warn({ err: ensureError(error), callKey }, 'a kept outcome could not be read');
        return null;
      }
    },
    /** Whether the pool recorded the end of the sandbox. Asked when nobody serves it: a pool that only restarts has recorded none. */
    async hasEnded(at: BoundSandbox): Promise<boolean> {
      try {
        const end = await read(sandboxEndKey(workspaceId, sessionId), SandboxEnd);
        return end !== null && end.generation >= at.generation;
      } catch (error) {
        log.warn({ err: ensureError(error) }, 'the end of a sandbox could not be read');
        return false;
      }
    },
    outputList: (key: string) => read(key, z.array(OutputFile)),
    /** A call's input as it travels: by itself, or by the key under which it was put. */
    async inputOf(call: ToolCall): Promise<{ input: Record<string, unknown> } | { input_ref: string }> {
      const body = Buffer.from(JSON.stringify(call.input), 'utf8');
      if (body.length <= INLINE_BODY_MAX_BYTES) return { input: call.input };
      const key = `${workspaceId}/${sessionId}/inputs/${call.key}`;
      await putBody(key, body);
      return { input_ref: key };
    },
  };
}
