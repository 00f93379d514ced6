/** `up --sandbox docker` on a machine without an engine, as root: it brings its own, keeps it running, and takes it away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { findEngine, processStart } from '@manyhands/infra';
import { privateEngineUnavailable, processTable, temporaryDirectory, until } from '@manyhands/test-kit';
import { expect, test } from 'vitest';

const MAIN = resolve(import.meta.dirname, '..', 'dist', 'main.js');
/** The image may have to be made. */
const READY_MS = 400_000;
const END_MS = 60_000;
const WHY = privateEngineUnavailable() ?? ((await findEngine({ environment: {} })).state === 'none' ? null : 'this machine has an engine');

interface Ready {
  processes: { name: string; pid: number }[];
}

async function instance() {
  const directory = await temporaryDirectory('up-docker');
  const data = join(directory.path, 'data');
  const { DOCKER_HOST: _, ANTHROPIC_API_KEY: _key, MANYHANDS_MODEL_API_KEY: _modelKey, ...env } = process.env;
  let up: ChildProcess | null = null;
  let printed = '';
  const readyFile = join(data, 'ready.json');
  function processes(): Record<string, number> {
    const { processes: entries } = JSON.parse(readFileSync(readyFile, 'utf8')) as Ready;
    return Object.fromEntries(entries.map(({ name, pid }) => [name, pid]));
  }
  return {
    printed: () => printed,
    processes,
    async start() {
      const args = [MAIN, 'up', '--sandbox', 'docker', '--port', '0', '--data', data, '--workers', '1'];
      const child = spawn(process.execPath, args, { cwd: directory.path, env, stdio: ['ignore', 'pipe', 'pipe'] });
      up = child;
      printed = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          printed += text;
        });
      await until(() => child.exitCode !== null || printed.includes('Ctrl-C stops everything'), {
        what: 'it is ready',
        timeoutMs: READY_MS,
      });
      if (child.exitCode !== null) throw new Error(`up ended:\n${printed}`);
    },
    /** Runs one turn with tool calls; answers what was shown of it. */
    async turn(): Promise<string> {
      const child = spawn(process.execPath, [MAIN, 'chat', '--data', data, '--plain'], { env, stdio: ['pipe', 'pipe', 'pipe'] });
      let text = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
      child.stdin.end('write a program and run it\n');
      const [code] = (await once(child, 'close')) as [number | null];
      return `${text}\nexit code ${code}`;
    },
    async end(signal: NodeJS.Signals): Promise<number | null> {
      const child = up!;
      const exited = once(child, 'exit');
      child.kill(signal);
      return ((await exited) as [number | null])[0];
    },
    /** Everything outside of the data directory that is of this instance. */
    traces(): string[] {
      const runtime = existsSync('/run/manyhands') ? readdirSync('/run/manyhands').map((name) => join('/run/manyhands', name)) : [];
      const own = runtime.filter(
        (path) => existsSync(join(path, 'owner.json')) && readFileSync(join(path, 'owner.json'), 'utf8').includes(data),
      );
      const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
      const marks = [data, ...own];
      const carries = (text: string) => marks.some((mark) => text.includes(mark));
      return [
        ...own,
        ...processTable().flatMap(({ pid, command, directory: place }) =>
          carries(command) || carries(place) ? [`${pid} ${command}`] : [],
        ),
        ...mounts.filter(carries),
      ];
    },
    async [Symbol.asyncDispose]() {
      if (up && up.exitCode === null && up.signalCode === null) await this.end('SIGTERM');
      await directory.remove();
    },
  };
}

test.skipIf(WHY !== null)(
  `an engine of its own serves tool calls, comes back when its parts are killed, and leaves nothing${WHY === null ? '' : ` (skipped: ${WHY})`}`,
  { timeout: READY_MS + 180_000 },
  async () => {
    await using fix = await instance();
    await fix.start();
    expect(fix.printed()).toContain('manyhands: sandboxes: containers of a Docker engine of our own, since no Docker engine answers');
    expect(await fix.turn()).toMatch(/primes below 100000: 9592[\s\S]*exit code 0$/);

    for (const name of ['docker-1', 'containerd-1']) {
      const before = fix.processes()[name]!;
      process.kill(before, 'SIGKILL');
      await until(() => fix.processes()[name] !== before, { what: `${name} runs again`, timeoutMs: 60_000 });
    }
    expect(await fix.turn()).toMatch(/primes below 100000: 9592[\s\S]*exit code 0$/);

    const pids = Object.values(fix.processes());
    expect(await fix.end('SIGTERM')).toBe(0);
    expect(pids.filter((pid) => processStart(pid) !== null)).toEqual([]);
    expect(fix.traces()).toEqual([]);
  },
);

test.skipIf(WHY !== null)(
  `when up is killed with -9 a start at once goes on with the same engine's data, and after a kill without one nothing stays${WHY === null ? '' : ` (skipped: ${WHY})`}`,
  { timeout: READY_MS + 180_000 },
  async () => {
    await using fix = await instance();
    await fix.start();
    await fix.end('SIGKILL');
    await fix.start();
    expect(fix.printed()).not.toContain('importing');
    expect(await fix.turn()).toMatch(/primes below 100000: 9592[\s\S]*exit code 0$/);
    await fix.end('SIGKILL');
    await until(() => fix.traces().length === 0, { what: 'nothing is left', timeoutMs: END_MS });
  },
);
