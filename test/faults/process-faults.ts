/**
 * What a whole instance survives, for each kind of sandbox: kill -9 of each process while a turn runs. The turn goes on, the command runs
 * once, the log tells the truth (DESIGN 4: I1–I5, I10).
 */
import { fakeScript } from '@manyhands/model/testing';
import { type ProcessEntry, processTable, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { history, problems, say, startSession, texts, untilEvent, untilIdle } from '../e2e/conversation.ts';
import { type Instance, startInstance } from '../e2e/instance.ts';

export type Sandbox = 'bubblewrap' | 'docker';
const LONG_COMMAND_S: Record<Sandbox, number> = { bubblewrap: 20, docker: 10 };
/** Processes whose end a running command outlives. */
const SERVICES: Record<Sandbox, string[]> = {
  bubblewrap: ['gateway-1', 'sandbox-pool-1', 'egress-1', 'redis-1', 'nats-1'],
  docker: ['gateway-1', 'sandbox-pool-1', 'egress-1', 'redis-1', 'nats-1', 'docker-1', 'containerd-1'],
};

export function survivesKills(sandbox: Sandbox): void {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance({ sandbox, workers: 2, env: { MANYHANDS_SANDBOX_GRACE_MS: '600000' } });
  }, 180_000);
  afterAll(async () => {
    await instance?.[Symbol.asyncDispose]();
  }, 90_000);

  test('a worker killed while the model streams: another one asks again and the turn ends within 10 s plus one answer', async () => {
    const sessionId = await startSession(instance.client);
    const answer = 'word '.repeat(200);
    await say(instance.client, sessionId, fakeScript([{ blocks: [{ text: answer }], delta_ms: 20, delta_chars: 5 }]));
    await untilEvent(instance.client, sessionId, 'span.model_request_start');
    const { pid } = await instance.workerOf(sessionId);
    const killedAt = Date.now();
    process.kill(pid, 'SIGKILL');
    const events = await untilIdle(instance.client, sessionId, 40_000);
    expect(Date.now() - killedAt).toBeLessThan(10_000 + 8_000);
    expect(problems(events)).toEqual([]);
    expect(texts(events, 'agent.message')).toEqual([answer]);
    expect(events.filter((event) => event.type === 'span.model_request_end').map((event) => event.is_error)).toEqual([true, false]);
    expect(events.at(-1)).toMatchObject({ type: 'session.status_idle', stop_reason: { type: 'end_turn' } });
  });

  test(`a worker killed during a ${LONG_COMMAND_S[sandbox]}-second command: the command runs once and its true output is reported`, async () => {
    const sessionId = await startSession(instance.client);
    await say(instance.client, sessionId, countingScript(LONG_COMMAND_S[sandbox]));
    await untilEvent(instance.client, sessionId, 'agent.tool_use');
    const { pid } = await instance.workerOf(sessionId);
    process.kill(pid, 'SIGKILL');
    const events = await untilIdle(instance.client, sessionId, 60_000);
    expect(problems(events)).toEqual([]);
    expect(count(events)).toBe('count=1');
  }, 90_000);

  for (const name of SERVICES[sandbox]) {
    test(`${name} killed during a command: it is restarted, the command runs once and the turn ends`, async ({ skip }) => {
      // An engine that was there before is not ours to kill.
      skip(!instance.ready().processes.some((entry) => entry.name === name), `${name} was not started by up`);
      const sessionId = await startSession(instance.client);
      await say(instance.client, sessionId, countingScript(4));
      await untilEvent(instance.client, sessionId, 'agent.tool_use');
      const before = await instance.kill(name);
      await instance.restarted(name, before);
      const events = await untilIdle(instance.client, sessionId, 60_000);
      expect(problems(events)).toEqual([]);
      expect(count(events)).toBe('count=1');
    }, 120_000);
  }

  for (const [victim, find] of Object.entries(VICTIMS[sandbox]))
    test(`${victim} killed during a command: an error result that says so, then a fresh one with the next call`, async () => {
      const sessionId = await startSession(instance.client);
      await say(
        instance.client,
        sessionId,
        fakeScript([
          { blocks: [{ tool: 'bash', input: { command: 'sleep 30; echo never' } }] },
          { blocks: [{ tool: 'bash', input: { command: 'echo fresh' } }] },
          { blocks: [{ text: '{{last_tool_result}}' }] },
        ]),
      );
      await untilEvent(instance.client, sessionId, 'agent.tool_use');
      const pid = await until(() => find(above('sleep 30')), { timeoutMs: 20_000, what: 'the command to run' });
      process.kill(pid, 'SIGKILL');
      const events = await untilIdle(instance.client, sessionId, 60_000);
      expect(problems(events)).toEqual([]);
      const results = events.flatMap((event) => (event.type === 'agent.tool_result' ? [event] : []));
      expect(results[0]).toMatchObject({ is_error: true });
      expect(texts([results[0]!], 'agent.tool_result')[0]).toMatch(/sandbox was lost/i);
      expect(texts(events, 'agent.message').at(-1)).toContain('fresh');
      await until(() => above('sleep 30').length === 0, { timeoutMs: 20_000, what: 'nothing of the dead sandbox to be left' });
    }, 120_000);

  test('everything that was acknowledged is still listed after all of this', async () => {
    const sessionId = await startSession(instance.client);
    await say(instance.client, sessionId, 'hello');
    await instance.kill('redis-1');
    const events = await untilIdle(instance.client, sessionId, 60_000);
    expect(events.some((event) => event.type === 'user.message')).toBe(true);
    expect(problems(await history(instance.client, sessionId))).toEqual([]);
  }, 90_000);
}

/** What to kill of a sandbox, found among the processes above a command that runs in it, innermost first. */
const VICTIMS: Record<Sandbox, Record<string, (chain: ProcessEntry[]) => number | undefined>> = {
  bubblewrap: { 'a sandbox': (chain) => chain.findLast(({ command }) => /(^|\/)bwrap /.test(command))?.pid },
  docker: {
    'the first process of a sandbox': (chain) => chain[chain.findIndex(isShim) - 1]?.pid,
    'the shim of a sandbox': (chain) => chain.find(isShim)?.pid,
  },
};
function isShim({ command }: ProcessEntry): boolean {
  return /containerd-shim/.test(command);
}
/** The command's process and those above it. */
function above(command: string): ProcessEntry[] {
  const table = processTable();
  const chain: ProcessEntry[] = [];
  let found = table.find((entry) => entry.command === command);
  while (found) {
    chain.push(found);
    const { parent } = found;
    found = table.find(({ pid }) => pid === parent);
  }
  return chain;
}

/** Counts its runs in a file, takes its time, and reports the count. */
function countingScript(seconds: number) {
  return fakeScript([
    { blocks: [{ tool: 'bash', input: { command: `echo run >> count; sleep ${seconds}; wc -l < count` } }] },
    { blocks: [{ text: 'count={{last_tool_result}}' }] },
  ]);
}
const count = (events: Parameters<typeof texts>[0]) => texts(events, 'agent.message').at(-1)?.replaceAll(/\s/g, '');
