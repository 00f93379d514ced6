/**
 * The default job, for a conversation without a script: look at the workspace, write a small program, run it, read what it wrote,
 * report its true output. Decided from the conversation alone: each step that ended in a tool error is tried once more.
 *
 * The language of the program is chosen by what the first look found in the sandbox.
 */
import type { Answer, AnswerBlock, Pace } from './answer.ts';
import { type Run, resultsOf, type ToolResult, type UserText } from './conversation.ts';
import { REPORT_FILE, type ReportProgram, reportProgram, reportPrograms } from './report-program.ts';

/** Small deltas at a pace that a reader can follow. */
const TALKING: Pace = { delayMs: 0, deltaMs: 4, deltaChars: 16, chunkBytes: 0 };
const QUOTE_MAX_CHARS = 160;
const OUTPUT_MAX_CHARS = 4000;
const WHO = 'I am the built-in fake model, a scripted stand-in: set MANYHANDS_MODEL_API_KEY to talk to a real model.';

type Stage = 'look' | 'write' | 'run' | 'read' | 'report';
/** Where to go on after a failed stage: a program that does not run may be gone with its sandbox, so it is written again. */
const RETRY_FROM: Record<Exclude<Stage, 'report'>, Stage> = { look: 'look', write: 'write', run: 'write', read: 'read' };

interface Progress {
  stage: Stage;
  /** The results of the newest attempt of each stage. */
  results: Partial<Record<Stage, ToolResult[]>>;
  /** The stage that has just failed for the first time. */
  failed: Stage | null;
  step: number;
}

export function defaultAnswer(runs: readonly Run[], user: UserText, tools: ReadonlySet<string>): Answer {
  const said = quote(user.text);
  if (!tools.has('bash')) return answer([{ type: 'text', text: withoutBash(said, tools) }], 0);
  const plan = stagesFor(runs, user, tools);
  const progress = walk(runs, user, plan);
  const program = chosenProgram(runs, progress);
  const blocks = stageBlocks(progress, { said, tools, program, again: plan[0] === 'run' });
  return answer(blocks, progress.step);
}

function answer(blocks: AnswerBlock[], step: number): Answer {
  const stopReason = blocks.some((block) => block.type === 'tool_use') ? 'tool_use' : 'end_turn';
  return { blocks, stopReason, pace: TALKING, failure: null, contextWindow: null, source: 'default', step };
}

/** A workspace that holds the program already needs no look and no writing. */
function stagesFor(runs: readonly Run[], user: UserText, tools: ReadonlySet<string>): Stage[] {
  const reading: Stage[] = tools.has('read') ? ['read'] : [];
  const ranBefore = runs.some(
    (run, index) =>
      index < user.runIndex &&
      run.role === 'assistant' &&
      run.blocks.some((block) => isRun(block)) &&
      resultsOf(runs, index).every((result) => !result.isError),
  );
  return ranBefore ? ['run', ...reading, 'report'] : ['look', 'write', 'run', ...reading, 'report'];
}

function isRun(block: Record<string, unknown>): boolean {
  const command = (block['input'] as { command?: unknown } | undefined)?.command;
  return block['type'] === 'tool_use' && block['name'] === 'bash' && reportPrograms.some((program) => program.command === command);
}

/** Follows the turn so far: which stage each answer was, and how it ended. */
function walk(runs: readonly Run[], user: UserText, plan: readonly Stage[]): Progress {
  const progress: Progress = { stage: plan[0]!, results: {}, failed: null, step: 0 };
  const tried = new Set<Stage>();
  for (let index = user.runIndex + 1; index < runs.length; index++) {
    if (runs[index]!.role !== 'assistant') continue;
    progress.step += 1;
    const { stage } = progress;
    if (stage === 'report') continue;
    const results = resultsOf(runs, index);
    progress.results[stage] = results;
    // A sandbox without files may answer a glob with an error; the shell decides.
    const failed = results.some((result) => result.isError && (stage !== 'look' || result.name === 'bash'));
    progress.failed = failed && !tried.has(stage) ? stage : null;
    if (progress.failed) {
      tried.add(stage);
      progress.stage = RETRY_FROM[stage];
    } else progress.stage = next(plan, stage, failed);
  }
  return progress;
}

function next(plan: readonly Stage[], stage: Stage, failed: boolean): Stage {
  if (failed && stage !== 'read') return 'report';
  // `write` is outside a short plan; after it the program runs.
  const at = plan.indexOf(stage);
  return at < 0 ? 'run' : (plan[at + 1] ?? 'report');
}

/** By what the first look of this conversation found; the newest look counts. */
function chosenProgram(runs: readonly Run[], progress: Progress): ReportProgram {
  const look = progress.results.look?.find((result) => result.name === 'bash');
  if (look) return reportProgram(look.text);
  for (let index = runs.length - 1; index >= 0; index--)
    for (const block of runs[index]!.blocks)
      for (const program of reportPrograms)
        if (isRun(block) && (block['input'] as { command: string }).command === program.command) return program;
  return reportProgram('');
}

interface Telling {
  said: string;
  tools: ReadonlySet<string>;
  program: ReportProgram;
  /** A later turn, in a workspace that was looked at before. */
  again: boolean;
}

function stageBlocks(progress: Progress, telling: Telling): AnswerBlock[] {
  const { said, tools, program, again } = telling;
  const excuse = progress.failed ? `That did not work (${firstLine(failureText(progress))}). I will try once more. ` : '';
  const say = (text: string): AnswerBlock => ({ type: 'text', text: excuse + text });
  const bash = (command: string): AnswerBlock => ({ type: 'tool_use', name: 'bash', json: JSON.stringify({ command }) });
  switch (progress.stage) {
    case 'look':
      return [
        say(`You wrote: “${said}” I will start by looking at what is in the workspace.`),
        bash('pwd && ls -la && for tool in node python3; do command -v "$tool" || true; done'),
        ...(tools.has('glob') ? [{ type: 'tool_use' as const, name: 'glob', json: JSON.stringify({ pattern: '**/*' }) }] : []),
      ];
    case 'write':
      return [
        say(`Now I will write a small program, ${program.file}, that measures the workspace.`),
        tools.has('write')
          ? { type: 'tool_use', name: 'write', json: JSON.stringify({ file_path: `/workspace/${program.file}`, content: program.source }) }
          : bash(`cat > ${program.file} <<'END_OF_PROGRAM'\n${program.source}END_OF_PROGRAM`),
      ];
    case 'run':
      return [
        say(
          again && !progress.failed
            ? `You wrote: “${said}” The workspace still holds ${program.file}, so I will run it again.`
            : 'Let us run it.',
        ),
        bash(program.command),
      ];
    case 'read':
      return [
        say('It ran. I will check the report that it left.'),
        { type: 'tool_use', name: 'read', json: JSON.stringify({ file_path: `/workspace/${REPORT_FILE}` }) },
      ];
    case 'report':
      return [{ type: 'text', text: report(progress, program) }];
  }
}

function report(progress: Progress, program: ReportProgram): string {
  const run = progress.results.run?.at(-1);
  if (!run || run.isError) {
    const last = progress.results.run ?? progress.results.write ?? progress.results.look ?? [];
    const text = last.find((result) => result.isError)?.text ?? 'the tool gave no result';
    return `I could not finish: a tool failed twice. Its last words were:\n\n\`\`\`\n${clip(text)}\n\`\`\`\n\n${WHO}`;
  }
  const read = progress.results.read?.at(-1);
  const checked = read && !read.isError ? ` The report is in ${REPORT_FILE} (${read.text.length} characters).` : '';
  return `Done. This is what ${program.file} printed:\n\n\`\`\`\n${clip(run.text)}\n\`\`\`\n\nThe numbers come from the program, not from me.${checked}\n\n${WHO}`;
}

function withoutBash(said: string, tools: ReadonlySet<string>): string {
  const why = tools.size === 0 ? 'no tools are switched on for this agent' : 'the bash tool is not switched on for this agent';
  return `You wrote: “${said}” I cannot run anything here, because ${why}. ${WHO}`;
}

function failureText(progress: Progress): string {
  return progress.results[progress.failed!]?.find((result) => result.isError)?.text ?? '';
}
function quote(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > QUOTE_MAX_CHARS ? `${line.slice(0, QUOTE_MAX_CHARS)}…` : line;
}
function firstLine(text: string): string {
  return quote(text.split('\n', 1)[0] ?? '') || 'no message';
}
function clip(text: string): string {
  return text.length > OUTPUT_MAX_CHARS ? `${text.slice(0, OUTPUT_MAX_CHARS)}\n…` : text.trimEnd();
}
