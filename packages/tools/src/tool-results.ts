/** What a model is told when a call has no result of its own. */
import type { ToolResult } from '@manyhands/contract';

function failure(text: string): ToolResult {
  return { is_error: true, content: [{ type: 'text', text }] };
}

/** CONTRACT: the text of a call that was stopped before its end. */
export const INTERRUPTED: ToolResult = failure('Tool execution was interrupted before completion. Please retry.');

export const SANDBOX_LOST: ToolResult = failure(
  'The sandbox was lost while this call ran, so its result is unknown: it may have run completely, partly or not at all. A new sandbox is used for ' +
    'the next call; files in /workspace are restored from the last snapshot if there was one, running processes are gone. Check what is there before ' +
    'you run it again.',
);

export const NOT_RUN_AGAIN: ToolResult = failure(
  'This call was run before and its result is no longer kept. It is not run a second time; check what it did before you repeat it.',
);

export function sandboxesBusy(waitedMs: number): ToolResult {
  return failure(
    `All sandboxes are busy: none could be had within ${Math.round(waitedMs / 1000)} seconds. The call was not run. Try again later.`,
  );
}

export function noSandbox(reason: string): ToolResult {
  return failure(`No sandbox could be made for this session: ${reason}. The call was not run.`);
}

export function refused(reason: string): ToolResult {
  return failure(`The sandbox could not run this call: ${reason}`);
}
