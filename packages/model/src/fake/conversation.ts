/** The messages of a request as runs of one role, and what the fake model reads out of them. A pure view: nothing here checks or answers. */
import { createHash } from 'node:crypto';

export type Block = Record<string, unknown> & { type: string };
/** Consecutive messages of one role count as one, as the API merges them. */
export interface Run {
  role: 'user' | 'assistant';
  blocks: Block[];
}

export function sha(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

/** The content of a message or tool result as blocks. */
export function blocksOf(content: unknown): Block[] {
  if (typeof content === 'string') return [{ type: 'text', text: content }];
  return Array.isArray(content) ? (content as Block[]) : [];
}

export function mergeRuns(messages: readonly { role: 'user' | 'assistant'; content: unknown }[]): Run[] {
  const runs: Run[] = [];
  for (const { role, content } of messages) {
    const last = runs.at(-1);
    if (last?.role === role) last.blocks.push(...blocksOf(content));
    else runs.push({ role, blocks: [...blocksOf(content)] });
  }
  return runs;
}

export interface UserText {
  text: string;
  /** The run it stands in. */
  runIndex: number;
}

/** The newest text of the user: the last text block that says something, in the last user run that has one. */
export function newestUserText(runs: readonly Run[]): UserText | null {
  for (let runIndex = runs.length - 1; runIndex >= 0; runIndex--) {
    const run = runs[runIndex]!;
    if (run.role !== 'user') continue;
    const text = run.blocks.findLast((block) => block.type === 'text' && String(block['text']).trim() !== '');
    if (text) return { text: String(text['text']), runIndex };
  }
  return null;
}

export interface ToolResult {
  name: string;
  isError: boolean;
  text: string;
}

/** The results that answer the tool calls of the assistant run at `runIndex`, in the order of the calls. */
export function resultsOf(runs: readonly Run[], runIndex: number): ToolResult[] {
  const answers = new Map((runs[runIndex + 1]?.blocks ?? []).map((block) => [block['tool_use_id'], block]));
  return runs[runIndex]!.blocks.flatMap((call) => {
    const answer = call.type === 'tool_use' ? answers.get(call['id']) : undefined;
    return answer ? [{ name: String(call['name']), isError: answer['is_error'] === true, text: plainText(answer['content']) }] : [];
  });
}

/** The text of the newest tool result, or '' before there is one. */
export function newestToolResult(runs: readonly Run[]): string {
  for (const run of [...runs].reverse()) {
    const result = run.blocks.findLast((block) => block.type === 'tool_result');
    if (result) return plainText(result['content']);
  }
  return '';
}

function plainText(content: unknown): string {
  return blocksOf(content)
    .filter((block) => block.type === 'text')
    .map((block) => String(block['text']))
    .join('\n');
}
