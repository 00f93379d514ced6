/** Runs a long command with a line of progress every few seconds; its own output is kept for the case that it fails. */
import { once } from 'node:events';
import { spawnTied } from './tied-process.js';

const HEARTBEAT_MS = 10_000;
const FIRST_MS = 1000;
const OUTPUT_CHARACTERS = 200_000;

/**
 * @param {(line: string) => void} log
 * @param {string} what
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv }} options
 * @returns {Promise<{ code: number | null, output: string }>}
 */
export async function runStep(log, what, command, args, { cwd, env }) {
  const startedMs = performance.now();
  const seconds = () => ((performance.now() - startedMs) / 1000).toFixed(0);
  const child = spawnTied(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-OUTPUT_CHARACTERS);
    });
  }
  let logged = false;
  const first = setTimeout(() => {
    logged = true;
    log(`${what} …`);
  }, FIRST_MS);
  const heartbeat = setInterval(() => log(`${what} … ${seconds()} s`), HEARTBEAT_MS);
  try {
    const [code] = await once(child, 'close');
    if (logged && code === 0) log(`${what}: done in ${seconds()} s`);
    return { code, output: output.trim() };
  } finally {
    clearTimeout(first);
    clearInterval(heartbeat);
  }
}
