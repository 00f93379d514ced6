/** Running commands in a sandbox under test, through its daemon. */
import { randomBytes } from 'node:crypto';
import type { DaemonAnswer } from '../drivers/daemon-channel.ts';
import type { RunningSandbox } from '../drivers/driver.ts';

export interface CommandResult {
  text: string;
  isError: boolean;
}
const COMMAND_MS = 60_000;

/** `thread`: whose shell it runs in; else the one of calls that name no thread. */
export async function startBash(sandbox: RunningSandbox, key: string, command: string, thread?: string): Promise<DaemonAnswer> {
  const named = thread === undefined ? {} : { thread };
  return sandbox.channel.request({ op: 'start', key, tool: 'bash', input: { command }, ...named }, COMMAND_MS);
}
export async function waitFor(sandbox: RunningSandbox, key: string): Promise<CommandResult> {
  for (;;) {
    const { call } = await sandbox.channel.request({ op: 'wait', key, wait_ms: 10_000 }, COMMAND_MS);
    if (call?.state === 'done')
      return {
        text: call.outcome.content.flatMap((block) => (block.type === 'text' ? block.text : [])).join('\n'),
        isError: call.outcome.is_error,
      };
    if (call?.state !== 'running') throw new Error(`the daemon does not know the call ${key}`);
  }
}
/** Runs a bash command and returns what the tool says. */
export async function bash(sandbox: RunningSandbox, command: string, thread?: string): Promise<CommandResult> {
  const key = `key_${randomBytes(8).toString('hex')}`;
  await startBash(sandbox, key, command, thread);
  return waitFor(sandbox, key);
}
