/** Runs one check of the repository and tells how it went; its output is shown in full if it failed. */
import { once } from 'node:events';
import { join } from 'node:path';
import { spawnTied } from '@manyhands/infra';

const STOP_MS = 5_000;
const running = new Set();

/**
 * Starts a program of node_modules/.bin that ends with this process.
 * @param {{ root: string, command: string[], env: NodeJS.ProcessEnv, stdio: import('node:child_process').StdioOptions }} options
 */
export function startTool({ root, command: [name, ...args], env, stdio }) {
  const child = spawnTied(join(root, 'node_modules/.bin', name), args, { cwd: root, env, stdio });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Ends whatever still runs; to be called at the end and on a signal. */
export async function stopStages() {
  await Promise.all(
    [...running].map(async (child) => {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await gone;
      clearTimeout(timer);
    }),
  );
}

/**
 * @param {{ name: string, root: string, command: string[], env: NodeJS.ProcessEnv }} stage
 * @returns {Promise<boolean>} whether it passed
 */
export async function runStage({ name, root, command, env }) {
  const startedMs = performance.now();
  const child = startTool({ root, command, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const [code, signal] = await once(child, 'close');
  const passed = code === 0;
  const ending = passed ? '' : `: ${command.join(' ')} ended with ${signal ?? `code ${code}`}`;
  if (!passed) console.log(output.trimEnd());
  console.log(`${passed ? '✓' : '✗'} ${name} (${((performance.now() - startedMs) / 1000).toFixed(1)} s)${ending}`);
  return passed;
}
