/** Several threads of a session in one sandbox: a shell for each, side by side, and what is limited is shared fairly. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toolText } from '@manyhands/contract';
import { until } from '@manyhands/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSemaphore } from '../src/limits/semaphore.ts';
import { createSpills } from '../src/limits/spill.ts';
import { SHELLS_MAX } from '../src/shell/thread-shells.ts';
import { callOf, type DaemonProcess, isAlive, startDaemon } from './daemon-process.ts';

const NEW_SHELL = '[the shell had ended since the last call; this is a new one]\n';
let daemon: DaemonProcess;
beforeEach(async () => {
  daemon = await startDaemon();
});
afterEach(() => daemon[Symbol.asyncDispose]());

let keys = 0;
/** A shell of a thread, or of those that name none. */
function shell(thread?: string) {
  const run = async (input: Record<string, unknown>) => {
    const outcome = await daemon.client.call('bash', input, `thread-${++keys}`, thread);
    return { text: toolText(outcome.content), failed: outcome.is_error };
  };
  return {
    text: async (command: string, more: Record<string, unknown> = {}) => (await run({ command, ...more })).text,
    run: (command: string, more: Record<string, unknown> = {}) => run({ command, ...more }),
    restart: () => run({ restart: true }),
    /** Starts a command and resolves when its shell says that it runs; the command ends when `gate` is written to. */
    async hold(gate: string) {
      const key = `hold-${++keys}`;
      const path = join(daemon.paths.workspace, gate);
      const input = { command: `mkfifo ${path}; touch ${path}.runs; read line < ${path}; echo "$line"` };
      callOf(await daemon.client.ask({ op: 'start', key, tool: 'bash', input, ...(thread === undefined ? {} : { thread }) }));
      await until(() => existsSync(`${path}.runs`), { what: 'the command runs' });
      return async () => {
        const state = callOf(await daemon.client.ask({ op: 'wait', key, wait_ms: 20_000 }));
        return state.state === 'done' ? toolText(state.outcome.content) : state.state;
      };
    },
  };
}
const open = (gate: string, line = 'opened') => `echo ${line} > ${join(daemon.paths.workspace, gate)}`;

describe('threads', () => {
  test('have a shell each: directory, environment and jobs of one are not those of another, nor of calls that name none', async () => {
    const [one, other, none] = [shell('sthr_1'), shell('sthr_2'), shell()];
    await one.text('mkdir -p here; cd here; NAME=one; export SHARED=one; sleep 61 &');
    await other.text('cd /; NAME=other');
    await none.text('NAME=none');
    const state = 'basename "$PWD"; echo "$NAME $SHARED"; jobs -r | grep -c sleep';
    expect(await one.text(state)).toBe('here\none one\n1');
    expect(await other.text(state)).toBe('/\nother \n0');
    expect(await none.text(state)).toBe('workspace\nnone \n0');
  });

  test('run side by side: a command that waits holds up its own thread only', async () => {
    const [waiting, other] = [shell('sthr_1'), shell('sthr_2')];
    const held = await waiting.hold('gate');
    const behind = waiting.text('echo behind');
    let behindIsDone = false;
    void behind.then(() => {
      behindIsDone = true;
    });
    expect(await other.text('echo beside')).toBe('beside');
    expect(behindIsDone).toBe(false);
    await other.text(open('gate'));
    expect(await held()).toBe('opened');
    expect(await behind).toBe('behind');
  });

  test('restart their own shell alone, with its jobs', async () => {
    const [one, other] = [shell('sthr_1'), shell('sthr_2')];
    const jobOf = async (which: typeof one) => Number(await which.text('STATE=old; sleep 300 & echo $!'));
    const [job, otherJob] = [await jobOf(one), await jobOf(other)];
    expect((await one.restart()).text).toBe('bash session restarted');
    await until(() => !isAlive(job), { what: 'the job is gone' });
    expect(await one.text('echo "[$STATE]"')).toBe('[]');
    expect(await other.text('echo "[$STATE]"')).toBe('[old]');
    expect(isAlive(otherJob)).toBe(true);
  });

  test('lose their own shell alone: by its end, by a kill, by a time limit, by a cancel', async () => {
    const [bad, good] = [shell('sthr_bad'), shell('sthr_good')];
    await good.text('STATE=kept');
    const held = await good.hold('gate');
    for (const end of ['exit 3', 'kill -9 $$', 'exec false']) expect((await bad.run(end)).failed).toBe(true);
    expect(await bad.text('sleep 300', { timeout_ms: 300 })).toMatch(/timed out/);
    await bad.hold('never');
    await daemon.client.ask({ op: 'cancel', key: `hold-${keys}` });
    expect(await bad.text('echo again')).toBe('again');
    await bad.text(open('gate', 'untouched'));
    expect(await held()).toBe('untouched');
    expect(await good.text('echo $STATE')).toBe('kept');
  });

  test('that flood are cut off by themselves: another one answers meanwhile', async () => {
    const [flood, calm] = [shell('sthr_flood'), shell('sthr_calm')];
    const started = join(daemon.paths.workspace, 'floods');
    const flooding = flood.text(`touch ${started}; exec yes`, { timeout_ms: 3_000 });
    let isOver = false;
    void flooding.then(() => {
      isOver = true;
    });
    await until(() => existsSync(started), { what: 'it floods' });
    for (let round = 0; round < 5; round++) expect(await calm.text(`echo ${round}`)).toBe(String(round));
    expect(isOver).toBe(false);
    expect(await flooding).toMatch(/timed out/);
  });
});

describe(`more than ${SHELLS_MAX} shells`, () => {
  const names = Array.from({ length: SHELLS_MAX }, (_, index) => `sthr_${index}`);

  test('are never there: the idle one that was used least recently is closed, and its thread hears of it once', async () => {
    const pids = await Promise.all(names.map(async (name) => Number(await shell(name).text('STATE=old; echo $$'))));
    for (const name of names) await shell(name).text('true');
    // The first one is busy and the second one was used again: the third one is the one to go.
    const held = await shell(names[0]).hold('gate');
    await shell(names[1]).text('true');
    expect(await shell('sthr_more').text('echo fresh')).toBe('fresh');
    await until(() => !isAlive(pids[2] ?? 0), { what: 'the shell is closed' });
    expect(pids.filter(isAlive)).toHaveLength(SHELLS_MAX - 1);
    expect(await shell(names[2]).text('echo "[$STATE]"')).toBe(`${NEW_SHELL}[]`);
    expect(await shell(names[2]).text('echo "[$STATE]"')).toBe('[]');
    expect(await shell(names[1]).text('echo "[$STATE]"')).toBe('[old]');
    await shell('sthr_more').text(open('gate'));
    expect(await held()).toBe('opened');
    // The new shell of the third one took the place of the fourth one.
    await until(() => pids.filter(isAlive).length === SHELLS_MAX - 2, { what: 'one more is closed' });
    expect(isAlive(pids[3] ?? 0)).toBe(false);
  });

  test('are waited for while all are busy: the first that is idle makes room, and a wait can be cancelled', async () => {
    const holds = await Promise.all(names.map((name) => shell(name).hold(`gate-${name}`)));
    const start = (key: string, thread: string) =>
      daemon.client.ask({ op: 'start', key, tool: 'bash', input: { command: `echo ${key}` }, thread });
    await start('unwanted', 'sthr_unwanted');
    await start('late', 'sthr_late');
    expect(callOf(await daemon.client.ask({ op: 'cancel', key: 'unwanted' }))).toMatchObject({
      state: 'done',
      outcome: { is_error: true, content: [{ text: expect.stringContaining('interrupted') as string }] },
    });
    expect(callOf(await daemon.client.ask({ op: 'wait', key: 'late', wait_ms: 0 })).state).toBe('running');
    const openFromOutside = async (name: string) => {
      await until(() => existsSync(join(daemon.paths.workspace, `gate-${name}`)), { what: 'the gate' });
      await writeFile(join(daemon.paths.workspace, `gate-${name}`), 'opened\n');
    };
    await openFromOutside(names[7] ?? '');
    expect(callOf(await daemon.client.ask({ op: 'wait', key: 'late', wait_ms: 20_000 }))).toMatchObject({
      outcome: { content: [{ text: 'late' }] },
    });
    for (const name of names) if (name !== names[7]) await openFromOutside(name);
    for (const held of holds) expect(await held()).toBe('opened');
    expect(await shell(names[7]).text('echo back')).toBe(`${NEW_SHELL}back`);
  });
});

describe('a limit on what goes on at once', () => {
  /** Work that ends when the test says so. */
  function work(order: string[], name: string) {
    let finish = (): void => undefined;
    const over = new Promise<void>((resolve) => {
      finish = resolve;
    });
    return {
      finish: () => finish(),
      run: async () => {
        order.push(name);
        await over;
      },
    };
  }

  test('leaves a place to a thread that has none, and serves those that wait in turn', async () => {
    const semaphore = createSemaphore(3);
    const order: string[] = [];
    const start = (thread: string, name: string) => {
      const one = work(order, name);
      return { ...one, done: semaphore.run(thread, one.run) };
    };
    const greedy = ['g1', 'g2', 'g3', 'g4', 'g5'].map((name) => start('greedy', name));
    await until(() => order.length > 0, { what: 'work begins' });
    expect(order).toEqual(['g1', 'g2']);
    const calm = start('calm', 'c1');
    const late = start('late', 'l1');
    await until(() => order.length === 3, { what: 'the last place is given' });
    expect(order).toEqual(['g1', 'g2', 'c1']);
    greedy[0]?.finish();
    await until(() => order.length > 3, { what: 'the next one begins' });
    expect(order).toEqual(['g1', 'g2', 'c1', 'l1']);
    for (const one of [...greedy, calm, late]) one.finish();
    await Promise.all([...greedy, calm, late].map(({ done }) => done));
    expect(order.slice(4)).toEqual(['g3', 'g4', 'g5']);
  });

  test('of one place is for everybody, and work that fails gives it back', async () => {
    const semaphore = createSemaphore(1);
    const failing = semaphore.run('one', () => Promise.reject(new Error('failed')));
    const next = semaphore.run('one', async () => 'next');
    await expect(failing).rejects.toThrow('failed');
    expect(await next).toBe('next');
  });
});

describe('long output that is kept', () => {
  test('of a thread that floods goes first, however old that of others is', () => {
    const directory = mkdtempSync(join(tmpdir(), 'manyhands-spills-'));
    try {
      const store = createSpills(directory, { fileBytes: 1_000, totalBytes: 3_000 });
      const keep = (thread: string) => /in (\S+)$/.exec(store.of(thread).keep('x'.repeat(900)))?.[1] ?? '';
      const calm = keep('calm');
      const floods = Array.from({ length: 6 }, () => keep('flood'));
      expect(statSync(calm).size).toBe(900);
      expect(floods.map((path) => existsSync(path))).toEqual([false, false, false, false, true, true]);
      // The newest one stays, whoever wrote it.
      const other = keep('other');
      expect(readdirSync(directory)).toHaveLength(3);
      expect([calm, other].map((path) => existsSync(path))).toEqual([true, true]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
