/** A fake model as a process of its own, from the build, as `up` starts it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';

const MAIN = new URL('../dist/fake/main.js', import.meta.url).pathname;

export interface FakeModelProcess {
  url: string;
  child: ChildProcess;
  stop(): Promise<number | null>;
}

export async function spawnFakeModel(): Promise<FakeModelProcess> {
  const child = spawn(process.execPath, [MAIN], {
    env: { MANYHANDS_FAKE_MODEL_PORT: '0', MANYHANDS_READY_FD: '3', MANYHANDS_WATCH_PARENT: '1', MANYHANDS_LOG_LEVEL: 'warn' },
    stdio: ['pipe', 'ignore', 'inherit', 'pipe'],
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  let text = '';
  for await (const chunk of child.stdio[3] as Readable) {
    text += String(chunk);
    if (text.includes('\n')) break;
  }
  const facts = JSON.parse(text) as { url: string };
  return {
    url: facts.url,
    child,
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM');
      return (await exited)[0];
    },
  };
}
