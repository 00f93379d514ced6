/**
 * Scripts: a fenced block in the newest user text says what the fake model answers, step by step.
 *
 *     ```fake
 *     [{"blocks":[{"tool":"bash","input":{"command":"date"}}]},{"blocks":[{"text":"It is {{last_tool_result}}"}]}]
 *     ```
 *
 * The step is the number of assistant messages since that text, so any process answers alike, whatever it served before. Only `times`
 * counts in memory: attempts of one identical request of one session.
 */
import { type Answer, type AnswerBlock, AT_ONCE, FAULTS, type Failure, type Fault } from './answer.ts';
import { newestToolResult, type Run, type UserText } from './conversation.ts';
import { NAMES } from './names.ts';

/** One block of a step. `raw_input` is sent as the input's JSON text, well-formed or not. */
export type FakeBlock =
  | { text: string }
  | { thinking: string }
  | { tool: string; input: Record<string, unknown> }
  | { tool: string; raw_input: string };

/** One answer. Times in milliseconds, `retry_after` in seconds. */
export interface FakeStep {
  blocks?: FakeBlock[];
  /** Default: `tool_use` if a tool is called, else `end_turn`. */
  stop_reason?: string;
  /** Told with it, as `stop_details`. */
  stop_details?: Record<string, unknown>;
  delay_ms?: number;
  delta_ms?: number;
  delta_chars?: number;
  chunk_bytes?: number;
  error?: { status: number; type: string; message?: string; times?: number; retry_after?: number };
  fault?: Fault;
  /** How many attempts of the identical request the fault meets; 1 by default. */
  times?: number;
  /** A prompt of more tokens is refused as too long, however often it comes. */
  context_window?: number;
}
export type FakeScript = FakeStep[];

const FENCE = new RegExp(`\`\`\`(?:${NAMES.fence.join('|')})\\s*\\n([\\s\\S]*?)\\n?\`\`\``);
const STEP_FIELDS = new Set([
  'blocks',
  'stop_reason',
  'stop_details',
  'delay_ms',
  'delta_ms',
  'delta_chars',
  'chunk_bytes',
  'error',
  'fault',
  'times',
  'context_window',
]);
const CLOSING = 'That was the last step of the script.';

/** A user text that carries a script; for tests and examples. */
export function fakeScript(steps: FakeScript, said = ''): string {
  // A fence inside a string of the script would end the block early.
  return `${said}${said ? '\n\n' : ''}\`\`\`${NAMES.fence[0]}\n${JSON.stringify(steps).replaceAll('`', '\\u0060')}\n\`\`\``;
}

/** A script that cannot be used; the message says where. */
export class ScriptError extends Error {}

/** The answer of the script in `user`, or null if it holds none. */
export function scriptedAnswer(runs: readonly Run[], user: UserText): Answer | null {
  const fenced = FENCE.exec(user.text);
  if (!fenced) return null;
  const script = parseScript(fenced[1]!);
  const said = runs.slice(user.runIndex + 1).filter((run) => run.role === 'assistant');
  const step = said.length;
  const plan = script[step];
  if (!plan) {
    const blocks: AnswerBlock[] = [{ type: 'text', text: CLOSING }];
    return { blocks, stopReason: 'end_turn', pace: AT_ONCE, failure: null, contextWindow: null, source: 'script', step };
  }
  const fill = (text: string): string =>
    text
      // A function, because `$` in a replacement text has a meaning.
      .replaceAll('{{last_tool_result}}', () => newestToolResult(runs))
      .replaceAll('{{echo}}', () => user.text.replace(FENCE, '').trim());
  const blocks = (plan.blocks ?? []).map((block): AnswerBlock => {
    if ('text' in block) return { type: 'text', text: fill(block.text) };
    if ('thinking' in block) return { type: 'thinking', thinking: fill(block.thinking) };
    return { type: 'tool_use', name: block.tool, json: 'raw_input' in block ? block.raw_input : JSON.stringify(block.input) };
  });
  return {
    blocks,
    stopReason: plan.stop_reason ?? (blocks.some((block) => block.type === 'tool_use') ? 'tool_use' : 'end_turn'),
    ...(plan.stop_details === undefined ? {} : { stopDetails: plan.stop_details }),
    pace: {
      delayMs: plan.delay_ms ?? 0,
      deltaMs: plan.delta_ms ?? 0,
      deltaChars: plan.delta_chars ?? AT_ONCE.deltaChars,
      chunkBytes: plan.chunk_bytes ?? 0,
    },
    failure: failureOf(plan),
    contextWindow: plan.context_window ?? null,
    source: 'script',
    step,
  };
}

/**
 * The first tool call of this turn whose thinking was left out, as the place of its message; null if all came back. Whether what came back
 * is unchanged is told by its signature.
 */
export function lostThinking(runs: readonly Run[], user: UserText): number | null {
  const fenced = FENCE.exec(user.text);
  if (!fenced) return null;
  const script = parseScript(fenced[1]!);
  let step = 0;
  for (let at = user.runIndex + 1; at < runs.length; at++) {
    const run = runs[at]!;
    if (run.role !== 'assistant') continue;
    const thought = script[step++]?.blocks?.filter((block) => 'thinking' in block).length ?? 0;
    const came = run.blocks.filter((block) => block.type === 'thinking').length;
    if (thought > came && run.blocks.some((block) => block.type === 'tool_use')) return at;
  }
  return null;
}

function failureOf(plan: FakeStep): Answer['failure'] {
  if (plan.error) {
    const { status, type, message = 'scripted failure', times = 1, retry_after: retryAfterSeconds = null } = plan.error;
    return { how: { type: 'status', status, errorType: type, message, retryAfterSeconds }, times };
  }
  const how: Failure | null = plan.fault ? { type: 'fault', fault: plan.fault } : null;
  return how && { how, times: plan.times ?? 1 };
}

function parseScript(json: string): FakeScript {
  let script: unknown;
  try {
    script = JSON.parse(json);
  } catch (error) {
    throw new ScriptError(`the script is not JSON: ${(error as Error).message}`);
  }
  if (!Array.isArray(script) || script.length === 0) throw new ScriptError('the script must be a JSON array of at least one step');
  script.forEach(checkStep);
  return script as FakeScript;
}

function checkStep(step: unknown, index: number): void {
  const fail: (what: string) => never = (what) => {
    throw new ScriptError(`step ${index} of the script: ${what}`);
  };
  if (!isRecord(step)) fail('must be an object');
  for (const field of Object.keys(step)) if (!STEP_FIELDS.has(field)) fail(`unknown field ${JSON.stringify(field)}`);
  for (const field of ['delay_ms', 'delta_ms', 'chunk_bytes']) checkNumber(step[field], field, 0, fail);
  for (const field of ['delta_chars', 'times', 'context_window']) checkNumber(step[field], field, 1, fail);
  if (step['fault'] !== undefined && !FAULTS.includes(step['fault'] as Fault)) fail(`fault must be one of ${FAULTS.join(', ')}`);
  if (step['stop_reason'] !== undefined && typeof step['stop_reason'] !== 'string') fail('stop_reason must be text');
  if (step['stop_details'] !== undefined && !isRecord(step['stop_details'])) fail('stop_details must be an object');
  const error = step['error'];
  if (error !== undefined) {
    if (!isRecord(error) || typeof error['type'] !== 'string') fail('error must be {"status", "type", …}');
    if (!(Number(error['status']) >= 400 && Number(error['status']) <= 599)) fail('error.status must be 400 to 599');
    checkNumber(error['times'], 'error.times', 1, fail);
    checkNumber(error['retry_after'], 'error.retry_after', 0, fail);
  }
  const blocks = step['blocks'] ?? [];
  if (!Array.isArray(blocks)) fail('blocks must be an array');
  blocks.forEach((block, at) => {
    const ok =
      isRecord(block) &&
      (typeof block['text'] === 'string' ||
        typeof block['thinking'] === 'string' ||
        (typeof block['tool'] === 'string' && (isRecord(block['input']) || typeof block['raw_input'] === 'string')));
    if (!ok) fail(`blocks[${at}] must be {"text"}, {"thinking"}, {"tool", "input"} or {"tool", "raw_input"}`);
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function checkNumber(value: unknown, field: string, min: number, fail: (what: string) => never): void {
  if (value !== undefined && !(typeof value === 'number' && Number.isInteger(value) && value >= min && value <= 600_000))
    fail(`${field} must be a whole number from ${min} to 600000`);
}
