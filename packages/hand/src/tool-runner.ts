/** Finds the tool, checks its input, runs it and turns whatever happens into an outcome: a call never throws. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isSandboxTool, type SandboxTool, TOOL_INPUT, type ToolOutcome } from '@manyhands/contract';
import { createBashTool } from './bash-tool.ts';
import { createConfinement } from './confine.ts';
import { runGlob } from './glob-tool.ts';
import { runGrep } from './grep-tool.ts';
import { failure, INTERRUPTED, quoted, success, ToolFailure } from './outcome.ts';
import { runRead } from './read-tool.ts';
import type { HandSettings } from './settings.ts';
import { runEdit, runWrite } from './write-tools.ts';

/** Text longer than this goes to a file; the model gets its start and the path (BEHAVIOUR 9). `bash` keeps its own limit. */
export const INLINE_TEXT_MAX_CHARS = 100_000;
const PREVIEW_CHARS = 20_000;

export interface ToolRunner {
  run(tool: string, input: Record<string, unknown>, signal: AbortSignal): Promise<ToolOutcome>;
  /** Kills what still runs. */
  close(): void;
}

export function createToolRunner(settings: Pick<HandSettings, 'paths' | 'shellEnv'>): ToolRunner {
  const { paths, shellEnv } = settings;
  const confinement = createConfinement(paths);
  const bash = createBashTool({ cwd: paths.workspace, env: shellEnv, fifoDirectory: dirname(paths.handSocket) });
  let spills = 0;

  function dispatch(tool: SandboxTool, raw: Record<string, unknown>, signal: AbortSignal): Promise<ToolOutcome> {
    switch (tool) {
      case 'bash':
        return bash.run(parseInput(tool, raw), signal);
      case 'read':
        return runRead(confinement, parseInput(tool, raw), signal);
      case 'write':
        return runWrite(confinement, parseInput(tool, raw));
      case 'edit':
        return runEdit(confinement, parseInput(tool, raw));
      case 'glob':
        return runGlob(confinement, parseInput(tool, raw), signal);
      case 'grep':
        return runGrep(confinement, shellEnv, parseInput(tool, raw), signal);
    }
  }

  /** Numbers are taken in turn; a file that is there already is never touched. */
  async function spill(text: string): Promise<string> {
    for (;;) {
      const path = join(paths.tmp, `tool-output-${++spills}.txt`);
      try {
        const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
        try {
          await file.writeFile(text, 'utf8');
        } finally {
          await file.close();
        }
        return `the whole is in ${path}`;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'EEXIST') return `the rest could not be kept (${code ?? 'i/o error'})`;
      }
    }
  }

  async function bounded(outcome: ToolOutcome): Promise<ToolOutcome> {
    const text = outcome.content[0]?.text ?? '';
    // A model is never shown an empty block.
    if (text === '') return { ...outcome, content: [{ type: 'text', text: '(no output)' }] };
    if (text.length <= INLINE_TEXT_MAX_CHARS) return outcome;
    const where = await spill(text);
    // Not through the middle of a surrogate pair.
    const preview = text.slice(0, PREVIEW_CHARS).replace(/[\ud800-\udbff]$/, '');
    const told = `[output of ${text.length} characters; ${where}. Its first ${PREVIEW_CHARS} characters:]\n${preview}`;
    return outcome.is_error ? failure(told) : success(told);
  }

  return {
    async run(tool, input, signal) {
      if (!isSandboxTool(tool)) return failure(`there is no tool named ${JSON.stringify(quoted(tool))} in a sandbox`);
      try {
        const outcome = await dispatch(tool, input, signal);
        if (tool === 'bash') return outcome;
        return signal.aborted ? failure(INTERRUPTED) : await bounded(outcome);
      } catch (error) {
        if (signal.aborted) return failure(INTERRUPTED);
        if (error instanceof ToolFailure) return failure(error.message);
        return failure(`${tool}: the tool failed: ${error instanceof Error ? error.message : String(error)}`);
      }
    },
    close: () => bash.close(),
  };
}

/** Checks an input against the contract; a ToolFailure names each field and what is wrong with it. */
function parseInput<T extends SandboxTool>(tool: T, raw: Record<string, unknown>) {
  const parsed = TOOL_INPUT[tool].safeParse(raw);
  if (parsed.success) return parsed.data as ReturnType<(typeof TOOL_INPUT)[T]['parse']>;
  const problems = parsed.error.issues.map((issue) =>
    issue.path.length > 0 ? `${issue.path.join('.')}: ${issue.message}` : issue.message,
  );
  throw new ToolFailure(`${tool}: the input is not usable: ${quoted(problems.join('; '))}`);
}
