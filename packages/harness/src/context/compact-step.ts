/**
 * One compaction: a model request whose answer is the summary, then `agent.thread_context_compacted` in the same append as the span's end.
 * A crash before that append leaves the conversation as it was, and the next worker compacts again.
 */
import type Anthropic from '@anthropic-ai/sdk';
import { type ModelResponse, SILENT } from '@manyhands/model';
import { buildPrompt } from '../prompt/prompt.ts';
import { giveUp } from '../thread/go-idle.ts';
import { appendAll, type JournalEntry } from '../thread/journal.ts';
import { type ModelStepEnd, openSpan, requestFailed, spanEnd } from '../thread/request-span.ts';
import type { Turn } from '../thread/turn.ts';
import { charge } from '../thread/usage.ts';
import { writeCheckpoint } from './checkpoint.ts';
import { COMPACTIONS_MAX, fullAt, keptTokens, summaryInPlace, summaryOfTranscript } from './compaction.ts';
import { tokensOf } from './context-size.ts';

/** Whether the next request, `lead` included, would come too near the end of the window. */
export function needsCompaction({ context, agent, deps }: Turn, lead: readonly JournalEntry[]): boolean {
  const coming = lead.reduce((sum, entry) => {
    const content = 'processed' in entry && 'content' in entry.processed.event ? entry.processed.event.content : undefined;
    return sum + tokensOf((content ?? []) as Anthropic.ContentBlockParam[]);
  }, 0);
  const limit = fullAt(deps.contextWindow(agent.model.id), deps.settings.maxTokens);
  return context.messages.length > 1 && context.tokens + context.grown + coming > limit;
}

/** Compacts what is in the context. `tooLong`: the model could not take the conversation whole. */
export async function compactStep(turn: Turn, tooLong: boolean): Promise<ModelStepEnd> {
  const { context, deps, journal, agent } = turn;
  const window = deps.contextWindow(agent.model.id);
  turn.report.phase('compaction');
  let shortened = tooLong || context.compactions > 0;
  for (;;) {
    if (context.compactions >= COMPACTIONS_MAX) return tooLarge(turn);
    const spanId = await openSpan(turn, []);
    if (spanId === null) return 'capped';
    const interrupt = turn.inbox.interruptSignal();
    let response: ModelResponse | null = null;
    try {
      response = await summarise(turn, shortened, window, AbortSignal.any([interrupt.signal, turn.lost, turn.drain.due]));
    } catch (error) {
      const end = await requestFailed(turn, spanId, error, interrupt.signal.aborted);
      if (end !== 'too_long') return end;
    } finally {
      interrupt.done();
    }
    if (response) {
      const usage = charge(turn, response, response.usage);
      const text = summaryOf(response);
      const told: JournalEntry[] = [spanEnd(spanId, response.usage, { compaction: true })];
      const kept = keptTokens(window, shortened);
      if (text !== '') told.push({ body: { type: 'agent.thread_context_compacted' }, hidden: { summary: { text, kept } } });
      await appendAll(journal, told, { usage, progress: true, failures: 0 });
      turn.failures = 0;
      if (text !== '') return await compactedNow(turn);
    }
    if (shortened) return tooLarge(turn);
    shortened = true;
  }
}

async function compactedNow(turn: Turn): Promise<ModelStepEnd> {
  turn.log.info({ op: 'compaction', tokens: turn.context.tokens, compactions: turn.context.compactions }, 'conversation compacted');
  const checkpoint = await writeCheckpoint(turn, 'compacted');
  if (checkpoint) await appendAll(turn.journal, [], { checkpoint });
  return 'answered';
}

function summarise(turn: Turn, shortened: boolean, window: number, signal: AbortSignal): Promise<ModelResponse> {
  const { deps, agent, context, lease } = turn;
  const messages = shortened ? summaryOfTranscript(context.messages, window) : summaryInPlace(context.messages);
  const prompt = buildPrompt(agent, { ...context, messages }, deps.settings.maxTokens, lease.sessionId);
  return deps.model.stream(shortened ? { ...prompt, system: [], tools: [] } : prompt, SILENT, signal);
}

/** '' if the model did something else than sum up. */
function summaryOf({ content, stopReason }: ModelResponse): string {
  if (stopReason === 'refusal') return '';
  return content
    .flatMap((block) => (block.type === 'text' ? [block.text] : []))
    .join('\n')
    .trim();
}

async function tooLarge(turn: Turn): Promise<ModelStepEnd> {
  const message = 'The conversation does not fit the model even after it was summed up. A shorter message, or a new session, may work.';
  await giveUp(turn, [], 'compaction_limit_reached_error', message);
  return 'gave_up';
}
