/**
 * Finds the tool, checks its input, runs it and turns whatever happens into a result: a call never throws. Calls of several threads run side
 * by side; where there is a limit it is shared fairly between them.
 */
import { dirname } from 'node:path';
import { isSandboxTool, type SandboxTool, TOOL_INPUT, type ToolResult } from '@manyhands/contract';
import { createConfinement } from '../files/confine.ts';
import { createSemaphore } from '../limits/semaphore.ts';
import { createSpills } from '../limits/spill.ts';
import type { RunTool } from '../server/calls.ts';
import type { DaemonSettings } from '../settings.ts';
import { createThreadShells } from '../shell/thread-shells.ts';
import { runGlob } from './glob-tool.ts';
import { runGrep } from './grep-tool.ts';
import { runRead } from './read-tool.ts';
import { failure, INLINE_TEXT_MAX_CHARS, INTERRUPTED, quoted, success, ToolFailure } from './tool-result.ts';
import { runEdit, runWrite } from './write-tools.ts';

const PREVIEW_CHARS = 20_000;
/** An image on its way takes a good part of the daemon's heap. */
const READS_AT_ONCE = 4;
const FILE_TOOL_TIMEOUT_MS = 120_000;

/** A call as far as all tools care. */
interface Asked {
  tool: SandboxTool;
  input: Record<string, unknown>;
  signal: AbortSignal;
  thread: string;
}

export interface ToolRunner {
  run: RunTool;
  /** Kills what still runs. */
  close(): void;
}

export function createToolRunner(settings: Pick<DaemonSettings, 'paths' | 'shellEnv'>): ToolRunner {
  const { paths, shellEnv } = settings;
  const confinement = createConfinement(paths);
  const spills = createSpills(paths.tmp);
  const reads = createSemaphore(READS_AT_ONCE);
  const shells = createThreadShells((thread) => ({
    cwd: paths.workspace,
    env: shellEnv,
    fifoDirectory: dirname(paths.handSocket),
    spills: spills.of(thread),
  }));

  function dispatch({ tool, input, signal, thread }: Asked): Promise<ToolResult> {
    switch (tool) {
      case 'bash':
        return shells.run(thread, parseInput(tool, input), signal);
      case 'read':
        return reads.run(thread, () => runRead(confinement, parseInput(tool, input), signal));
      case 'write':
        return runWrite(confinement, parseInput(tool, input));
      case 'edit':
        return runEdit(confinement, parseInput(tool, input));
      case 'glob':
        return runGlob(confinement, parseInput(tool, input), signal);
      case 'grep':
        return runGrep(confinement, shellEnv, parseInput(tool, input), signal, thread);
    }
  }

  function bounded(outcome: ToolResult, thread: string): ToolResult {
    const [block] = outcome.content;
    if (block !== undefined && block.type !== 'text') return outcome;
    const text = block?.text ?? '';
    // A model is never shown an empty block.
    if (text === '') return { ...outcome, content: [{ type: 'text', text: '(no output)' }] };
    if (text.length <= INLINE_TEXT_MAX_CHARS) return outcome;
    const where = spills.of(thread).keep(text);
    // Not through the middle of a surrogate pair.
    const preview = text.slice(0, PREVIEW_CHARS).replace(/[\ud800-\udbff]$/, '');
    const told = `[output of ${text.length} characters; ${where}. Its first ${PREVIEW_CHARS} characters:]\n${preview}`;
    return outcome.is_error ? failure(told) : success(told);
  }

  /** A file system may hang; the call is answered all the same. */
  async function withinTime(asked: Asked): Promise<ToolResult> {
    const limit = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        limit.abort();
        reject(new ToolFailure(`${asked.tool}: timed out after ${FILE_TOOL_TIMEOUT_MS} ms`));
      }, FILE_TOOL_TIMEOUT_MS);
    });
    try {
      return await Promise.race([dispatch({ ...asked, signal: AbortSignal.any([asked.signal, limit.signal]) }), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    async run(tool, input, signal, thread) {
      if (!isSandboxTool(tool)) return failure(`there is no tool named ${JSON.stringify(quoted(tool))} in a sandbox`);
      try {
        if (tool === 'bash') return await dispatch({ tool, input, signal, thread });
        const outcome = await withinTime({ tool, input, signal, thread });
        return signal.aborted ? failure(INTERRUPTED) : bounded(outcome, thread);
      } catch (error) {
        if (signal.aborted) return failure(INTERRUPTED);
        if (error instanceof ToolFailure) return failure(error.message);
        return failure(`${tool}: the tool failed: ${error instanceof Error ? error.message : String(error)}`);
      }
    },
    close: () => shells.close(),
  };
}

/** Checks an input against the contract; a ToolFailure names each field and what is wrong with it. */
function parseInput<T extends SandboxTool>(tool: T, raw: Record<string, unknown>) {
  const schema = TOOL_INPUT[tool];
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data as ReturnType<(typeof TOOL_INPUT)[T]['parse']>;
  const problems = parsed.error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys')
      return `unknown field ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}; there are ${Object.keys(schema.shape).join(', ')}`;
    const field = String(issue.path[0] ?? 'input');
    const given = Object.hasOwn(raw, field) ? raw[field] : undefined;
    // Messages of the contract itself.
    if (/^(must|is) /.test(issue.message)) return `${field} ${issue.message}`;
    return given === undefined || given === '' ? `${field} is required` : `${field}: ${issue.message}`;
  });
  throw new ToolFailure(`${tool}: ${quoted([...new Set(problems)].join('; '))}`);
}
