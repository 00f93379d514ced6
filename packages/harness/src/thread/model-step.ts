/**
 * One model request: span start, the streamed answer with previews, and the whole answer in one append that ends with the span's end.
 *
 * Calls whose policy is `auto` are classified before the answer is written; what that takes counts as the request's.
 *
 * What can end it without an answer stands in request-span.ts. A conversation that comes near the end of the model's window is compacted first.
 */
import type { ModelResponse, ModelUsageCounts } from '@manyhands/model';
import type { CallWait } from '@manyhands/session-log';
import { compactStep, needsCompaction } from '../context/compact-step.ts';
import type { HiddenFacts } from '../context/context.ts';
import { buildPrompt } from '../prompt/prompt.ts';
import { type PermissionClassifier, wantedCall } from '../tools/permission.ts';
import { classifyCall } from '../tools/permission-classifier.ts';
import { endWithAnswer, giveUp } from './go-idle.ts';
import { appendAll, handled, type JournalEntry } from './journal.ts';
import { createPreviewSender } from './preview-sender.ts';
import { backToWork, type ModelStepEnd, openSpan, requestFailed, spanEnd } from './request-span.ts';
import type { Turn } from './turn.ts';
import { addCounts, charge } from './usage.ts';

/** `stoppedBy`: the interrupt of the whole session after which this is asked. */
export async function modelStep(turn: Turn, lead: JournalEntry[], stoppedBy: number): Promise<ModelStepEnd> {
  const { deps, journal, context, inbox } = turn;
  turn.report.phase('model');
  const taken = lead.some((entry) => 'processed' in entry);
  if (!taken && context.rounds >= deps.settings.toolRounds) {
    const message = `The agent called tools in ${context.rounds} answers in a row, which is the limit for one turn.`;
    await giveUp(turn, [], 'tool_use_limit_reached_error', message);
    return 'gave_up';
  }
  if (needsCompaction(turn, lead)) {
    const begun = [...backToWork(turn), ...lead];
    if (begun.length > 0) await appendAll(journal, begun, handled(stoppedBy));
    return compactStep(turn, false);
  }
  // An event that began the turn set the time with it; what joins a turn that is open does not count.
  const begunAtMs = lead.length > 0 && !context.turnOpen ? turn.startedMs : null;
  const spanId = await openSpan(turn, lead, stoppedBy);
  if (spanId === null) return 'capped';

  const interrupt = inbox.interruptSignal();
  const startedAt = deps.clock.now();
  if (begunAtMs !== null) deps.metrics.turnStart.observe(Math.max(0, startedAt - begunAtMs) / 1000);
  let asked: { response: ModelResponse; answer: AnswerEvents };
  try {
    asked = await ask(turn, AbortSignal.any([interrupt.signal, turn.lost, turn.drain.due]));
  } catch (error) {
    const end = await requestFailed(turn, spanId, error, interrupt.signal.aborted);
    return end === 'too_long' ? await compactStep(turn, true) : end;
  } finally {
    interrupt.done();
  }
  const { response, answer } = asked;
  const usage = charge(turn, response, answer.usage);
  turn.failures = 0;
  const entries = [...answer.entries, spanEnd(spanId, answer.usage, factsOf(response))];
  const rest = { usage, progress: true, failures: 0, calls: answer.calls };
  const end = callsTools(answer) || response.stopReason === 'refusal' ? null : endWithAnswer(turn);
  const ended = end !== null && !('refused' in (await journal.append(entries, { ...rest, ...end })));
  if (!ended) await appendAll(journal, entries, rest);
  turn.log.info(
    { op: 'model', durationMs: deps.clock.now() - startedAt, stopReason: response.stopReason, ...response.usage },
    'model answered',
  );
  return ended ? 'ended' : 'answered';
}

async function ask(turn: Turn, stopped: AbortSignal): Promise<{ response: ModelResponse; answer: AnswerEvents }> {
  const { response, eventIds } = await request(turn, stopped);
  const answer = await answerEntries(turn, response, eventIds, stopped);
  // A classification that was broken off is none: the answer is asked for again.
  if (answer.classified) stopped.throwIfAborted();
  return { response, answer };
}

/** What the end of a request keeps: the size of the conversation, and why a model refused. */
function factsOf({ stopReason, stopDetails, usage }: ModelResponse): HiddenFacts {
  const { input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens } = usage;
  const tokens = input_tokens + cache_creation_input_tokens + cache_read_input_tokens + output_tokens;
  if (stopReason !== 'refusal') return { tokens };
  return { tokens, refused: stopDetails ?? { type: 'refusal', category: null, explanation: null } };
}

/** Streams the answer; each text or thinking block gets its event id when it starts, and previews under that id. */
async function request(turn: Turn, signal: AbortSignal): Promise<{ response: ModelResponse; eventIds: Map<number, string> }> {
  const { deps, journal, lease } = turn;
  const eventIds = new Map<number, string>();
  const previews = createPreviewSender(deps.writer, lease, journal.head, turn.nextPreviewNumber);
  const begin = (index: number, kind: 'agent.message' | 'agent.thinking'): string => {
    const known = eventIds.get(index);
    if (known) return known;
    const id = journal.mintEventId();
    eventIds.set(index, id);
    previews.start(id, kind);
    return id;
  };
  try {
    const streaming = deps.model.stream(
      buildPrompt(turn.agent, turn.context, deps.settings.maxTokens, lease.sessionId),
      {
        onBlockStart(index, kind) {
          if (kind === 'thinking') begin(index, 'agent.thinking');
        },
        // A text block is announced with its first text: an empty one never becomes an event.
        onText: (index, text) => previews.text(begin(index, 'agent.message'), text),
      },
      signal,
    );
    turn.tools.hint();
    return { response: await streaming, eventIds };
  } finally {
    await previews.end();
  }
}

interface AnswerEvents {
  entries: JournalEntry[];
  calls: { id: string; waitsFor: CallWait }[];
  /** The answer's and that of its classifications. */
  usage: ModelUsageCounts;
  classified: boolean;
}

function callsTools({ entries }: AnswerEvents): boolean {
  return entries.some((entry) => 'body' in entry && (entry.body.type === 'agent.tool_use' || entry.body.type === 'agent.custom_tool_use'));
}

/** The events of an answer, in the order of its blocks. Calls of an answer that is a refusal are not made. */
async function answerEntries(
  turn: Turn,
  response: ModelResponse,
  eventIds: Map<number, string>,
  signal: AbortSignal,
): Promise<AnswerEvents> {
  const { deps, lease, context } = turn;
  const { agent } = turn;
  const told: AnswerEvents = { entries: [], calls: [], usage: response.usage, classified: false };
  const classify: PermissionClassifier = async (name, input) => {
    const { model } = deps;
    told.classified = true;
    const classified = await classifyCall({ model, agent, sessionId: lease.sessionId, messages: context.messages, signal }, name, input);
    if (classified.usage) told.usage = addCounts(told.usage, classified.usage);
    return classified.evaluation;
  };
  const entries = response.content.map(async (block, index): Promise<JournalEntry[]> => {
    const id = eventIds.get(index) ?? turn.journal.mintEventId();
    switch (block.type) {
      case 'text':
        return block.text.trim() === '' ? [] : [{ id, body: { type: 'agent.message', content: [{ type: 'text', text: block.text }] } }];
      case 'thinking':
      case 'redacted_thinking':
        return [{ id, body: { type: 'agent.thinking' }, hidden: { block } }];
      case 'tool_use': {
        if (response.stopReason === 'refusal') return [];
        const { entry, waitsFor } = await wantedCall(agent.tools, id, block, response.invalidInputs[index], classify);
        if (waitsFor) told.calls.push({ id, waitsFor });
        return [entry];
      }
      default:
        turn.log.warn({ blockType: (block as { type: string }).type }, 'the model sent a block that is not supported; left out');
        return [];
    }
  });
  told.entries = (await Promise.all(entries)).flat();
  return told;
}
