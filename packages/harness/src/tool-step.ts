/**
 * The open tool calls, run side by side; each result is appended as soon as it is there. A call is in the log before it is executed and
 * its event id is its key in the sandbox, so a worker that takes over re-attaches instead of running it again (I4).
 *
 * An interrupt cancels what runs: every call still gets a result, an error that says so. A drain leaves the calls running and the turn to
 * the next worker.
 */
import type { ToolOutcome } from '@manyhands/contract';
import type { OpenCall } from './context.ts';
import { appendAll } from './journal.ts';
import { checkLost, type Turn } from './turn.ts';

const LOG_LINE_CHARS = 200;

export type ToolStepEnd = 'done' | 'drained';

export async function toolStep(turn: Turn): Promise<ToolStepEnd> {
  const calls = [...turn.context.openCalls];
  turn.report.phase(`tools: ${calls.map(({ name }) => name).join(', ')}`);
  const interrupt = turn.inbox.interruptSignal();
  try {
    const ends = await Promise.all(calls.map((call) => runCall(turn, call, interrupt.signal)));
    return ends.includes('drained') ? 'drained' : 'done';
  } finally {
    interrupt.done();
  }
}

async function runCall(turn: Turn, call: OpenCall, interrupt: AbortSignal): Promise<ToolStepEnd> {
  const { deps } = turn;
  const startedAt = deps.clock.now();
  const outcome = call.refusal !== null ? failure(call.refusal) : await turn.tools.run(call, interrupt, turn.inherited.has(call.id));
  checkLost(turn);
  if (outcome === 'detached') return 'drained';
  await appendAll(
    turn.journal,
    [{ body: { type: 'agent.tool_result', tool_use_id: call.id, content: outcome.content, is_error: outcome.is_error } }],
    { state: { takeovers: 0 } },
  );
  turn.tools.recorded(call);
  turn.log.info(
    { op: 'tool', tool: call.name, eventId: call.id, ok: !outcome.is_error, durationMs: deps.clock.now() - startedAt },
    'tool finished',
  );
  turn.report.line(`${call.name} ${outcome.is_error ? 'failed' : 'done'} in ${deps.clock.now() - startedAt} ms`.slice(0, LOG_LINE_CHARS));
  return 'done';
}

function failure(text: string): ToolOutcome {
  return { is_error: true, content: [{ type: 'text', text }] };
}
