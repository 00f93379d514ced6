/** Lines and keys of a terminal: a line editor with history between turns, single keys while the agent works. */
import { createInterface } from 'node:readline';
import type { ReadStream } from 'node:tty';

const CTRL_C = '\x03';
const CTRL_D = '\x04';
const ESCAPE = '\x1b';

/** What the user did at the prompt. */
export type Answer = { type: 'line'; text: string } | { type: 'ctrl-c' } | { type: 'end' };

export interface TerminalInput {
  ask(prompt: string): Promise<Answer>;
  /** Tells of keys until the returned function is called. */
  watchKeys(onKey: (key: 'stop' | 'end') => void): () => void;
}

export function createTerminalInput(stdin: ReadStream, stdout: NodeJS.WriteStream): TerminalInput {
  /** Newest first, as readline keeps it. */
  let history: string[] = [];
  return {
    ask(prompt) {
      return new Promise((resolve) => {
        const editor = createInterface({ input: stdin, output: stdout, terminal: true, history: [...history], historySize: 200 });
        let answer: Answer = { type: 'end' };
        editor.on('history', (lines: string[]) => {
          history = [...lines];
        });
        editor.on('SIGINT', () => {
          answer = { type: 'ctrl-c' };
          editor.close();
        });
        editor.on('line', (text) => {
          answer = { type: 'line', text };
          editor.close();
        });
        editor.on('close', () => {
          if (answer.type !== 'line') stdout.write('\n');
          resolve(answer);
        });
        editor.setPrompt(prompt);
        editor.prompt();
      });
    },
    watchKeys(onKey) {
      const onData = (chunk: Buffer | string) => {
        const text = chunk.toString();
        // Arrow keys and the like begin with the escape character but come in one piece.
        if (text === ESCAPE || text.includes(CTRL_C)) onKey('stop');
        else if (text.includes(CTRL_D)) onKey('end');
      };
      stdin.setRawMode(true);
      stdin.on('data', onData);
      stdin.resume();
      return () => {
        stdin.off('data', onData);
        stdin.setRawMode(false);
        stdin.pause();
      };
    },
  };
}
