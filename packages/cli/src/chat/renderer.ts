/**
 * The conversation on a terminal or as plain lines. Plain: answers on stdout, everything else on stderr, no escape sequence. On a terminal a
 * running tool call is a line that its result completes.
 */
import type { ConversationListener } from './conversation.ts';
import type { ToolUse } from './session-events.ts';
import { describeResult, describeUse, harmless, oneLine } from './tool-line.ts';

const DIM = '\x1b[2m';
const BOLD = '\x1b[1m';
const RESET = '\x1b[0m';
const CLEAR_LINE = '\r\x1b[K';
const DEFAULT_COLUMNS = 100;
/** Kept for the size of the result. */
const RESULT_COLUMNS = 20;

interface Output {
  write(text: string): unknown;
  columns?: number;
}

export interface Renderer extends ConversationListener {
  /** Something is awaited: shown until the next output, on a terminal only. */
  waiting(text: string): void;
}

export function plainRenderer(stdout: Output, stderr: Output): Renderer {
  return {
    text: (piece) => void stdout.write(harmless(piece)),
    textEnd: () => void stdout.write('\n'),
    toolUse: () => {},
    toolResult: (use, result) => void stderr.write(`[${describeUse(use, DEFAULT_COLUMNS)} -> ${describeResult(result)}]\n`),
    userText: () => {},
    notice: (text) => void stderr.write(`[${oneLine(text, 500)}]\n`),
    waiting: () => {},
  };
}

export function terminalRenderer(stdout: Output): Renderer {
  /** What stands on the last line and goes when something else comes. */
  let transient = '';
  let midLine = false;
  const columns = () => stdout.columns || DEFAULT_COLUMNS;

  function clear(): void {
    if (transient !== '') stdout.write(CLEAR_LINE);
    transient = '';
  }
  function line(text: string): void {
    clear();
    if (midLine) stdout.write('\n');
    midLine = false;
    stdout.write(`${text}\n`);
  }
  function show(text: string): void {
    clear();
    if (midLine) stdout.write('\n');
    midLine = false;
    transient = text;
    stdout.write(`${DIM}${text}${RESET}`);
  }
  const useText = (use: ToolUse) => describeUse(use, Math.max(20, columns() - RESULT_COLUMNS));
  return {
    text(piece) {
      const text = harmless(piece);
      if (text === '') return;
      clear();
      stdout.write(text);
      midLine = !text.endsWith('\n');
    },
    textEnd() {
      if (midLine) stdout.write('\n');
      midLine = false;
    },
    toolUse: (use) => show(`  ${useText(use)} …`),
    toolResult: (use, result) => line(`${DIM}  ${useText(use)} → ${describeResult(result)}${RESET}`),
    userText: (text) => line(`${BOLD}> ${harmless(text)}${RESET}`),
    notice: (text) => line(`${DIM}[${oneLine(text, 500)}]${RESET}`),
    waiting: (text) => show(text),
  };
}
