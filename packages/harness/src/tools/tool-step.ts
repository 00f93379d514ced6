/**
 * Open tool calls, run side by side; each result is appended as soon as it is there. A call is in the log before it is executed and
 * its event id is its key in the sandbox, so the next worker re-attaches instead of running it again (I4).
 *
 * An interrupt cancels what runs: every call still gets a result, an error that says so, also one that waits for the client. A drain leaves the calls running and the turn to
 * the next worker.
 */
import { AppError } from '@manyhands/base';
import { type BuiltinToolResult, isSandboxTool, toolText } from '@manyhands/contract';
import type { OpenCall } from '../context/context.ts';
import type { JournalEntry } from '../thread/journal.ts';
import { checkLost, type Turn } from '../thread/turn.ts';
import { chargeWeb } from '../thread/usage.ts';
import { closedCall, failedCall } from './open-calls.ts';

const LOG_LINE_CHARS = 200;

export type ToolStepEnd = 'done' | 'drained';

export async function toolStep(turn: Turn, calls: readonly OpenCall[]): Promise<ToolStepEnd> {
  turn.report.phase(`tools: ${calls.map(({ name }) => name).join(', ')}`);
  const interrupt = turn.inbox.interruptSignal();
  try {
    const ends = await turn.scope.all(calls.map((call) => (ended: AbortSignal) => runCall(turn, call, interrupt.signal, ended)));
    return ends.includes('drained') ? 'drained' : 'done';
  } finally {
    interrupt.done();
  }
}

/** `ended`: this worker is done with these calls, because one of them threw or the lease is lost. */
async function runCall(turn: Turn, call: OpenCall, interrupt: AbortSignal, ended: AbortSignal): Promise<ToolStepEnd> {
  const { deps } = turn;
  const startedAt = deps.clock.now();
  const measured = (how: 'ok' | 'error' | 'refused' | 'detached') =>
    deps.metrics.toolEnded(call.name, how, (deps.clock.now() - startedAt) / 1000);
  const outcome = call.refusal !== null ? failure(call.refusal) : await turn.tools.run(call, interrupt, ended, turn.inherited.has(call.id));
  checkLost(turn);
  if (outcome === 'detached') {
    measured('detached');
    return 'drained';
  }
  if (outcome === 'awaited') {
    turn.awaited.add(call.id);
    return 'done';
  }
  const ranHere = call.refusal === null && call.gate !== 'client';
  const written = await turn.journal.append([resultEntry(call, outcome)], {
    progress: true,
    ...(ranHere && !outcome.is_error ? { usage: chargeWeb(turn, call.name) } : {}),
    ...(ranHere && isSandboxTool(call.name) ? { sandboxUses: 1 } : {}),
    calls: call.gate === 'ask' || call.gate === 'client' ? [closedCall(call)] : [],
  });
  if ('refused' in written) {
    // The client answered in the same moment: its answer is the result.
    await turn.journal.catchUp();
    if (turn.context.openCalls.some(({ id }) => id === call.id))
      throw new AppError('internal', `call ${call.id} waits for no answer, and its log has none`);
    return 'done';
  }
  turn.tools.recorded(call);
  measured(call.refusal !== null ? 'refused' : outcome.is_error ? 'error' : 'ok');
  turn.log.info(
    { op: 'tool', tool: call.name, eventId: call.id, ok: !outcome.is_error, durationMs: deps.clock.now() - startedAt },
    'tool finished',
  );
  turn.report.line(`${call.name} ${outcome.is_error ? 'failed' : 'done'} in ${deps.clock.now() - startedAt} ms`.slice(0, LOG_LINE_CHARS));
  return 'done';
}

function resultEntry(call: OpenCall, { content, is_error }: BuiltinToolResult): JournalEntry {
  if (call.gate === 'client') return failedCall(call, toolText(content));
  return { body: { type: 'agent.tool_result', tool_use_id: call.id, content, is_error } };
}

function failure(text: string): BuiltinToolResult {
  return { is_error: true, content: [{ type: 'text', text }] };
}
