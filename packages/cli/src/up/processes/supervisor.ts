/**
 * All processes of one instance: started together, recorded as they start and end, stopped in stages. Callers stop before what they call:
 * gateways, then workers, then what serves tools, then NATS and Redis.
 */
import type { Recipe } from './launched-process.ts';
import { type RecordedProcess, recordProcesses } from './leftovers.ts';
import { identify } from './process-identity.ts';
import { type Supervised, supervise } from './supervised.ts';

/** Deadline of the whole shutdown; what still runs then is killed. */
const STOP_DEADLINE_MS = 30_000;
/** Reserved for Redis, which must write before it ends. */
const LAST_STAGE_MS = 4_000;
const TELL_MS = 1_000;

export interface ProcessEntry {
  name: string;
  pid: number;
}

export interface SupervisorOptions {
  /** Where running processes are recorded for the next start. */
  processesFile: string;
  log: (line: string) => void;
  /** Called whenever all processes have a pid and one of the pids is new. */
  onChange: (processes: ProcessEntry[]) => void;
  stopDeadlineMs?: number;
}

export interface Supervisor {
  /** Starts and supervises it; `stage` is its place in the shutdown, 0 first. Resolves when it was ready for the first time. */
  start(recipe: Recipe, stage: number): Promise<void>;
  processes(): ProcessEntry[];
  /** Ends everything, stage by stage. Safe to repeat. */
  stop(): Promise<void>;
  /** Kills everything at once, except recipes with `endsOthers`, which are asked to stop, and those with `neededAtEnd`. `stop` waits for them. */
  kill(): void;
}

export function createSupervisor({ processesFile, log, onChange, stopDeadlineMs = STOP_DEADLINE_MS }: SupervisorOptions): Supervisor {
  const members: { supervised: Supervised; stage: number; endsOthers: boolean; neededAtEnd: boolean }[] = [];
  let stopping: Promise<void> | null = null;

  function processes(): ProcessEntry[] {
    return members.flatMap(({ supervised: { name, pid } }) => (pid === null ? [] : [{ name, pid }]));
  }

  function changed(): void {
    const running = processes();
    const recorded: RecordedProcess[] = running.flatMap(({ name, pid }) => {
      const identity = identify(pid);
      return identity ? [{ name, ...identity }] : [];
    });
    recordProcesses(processesFile, recorded);
    if (running.length === members.length && !stopping) onChange(running);
  }

  async function stopAll(): Promise<void> {
    const deadlineMs = performance.now() + stopDeadlineMs;
    const stages = [...new Set(members.map(({ stage }) => stage))].sort((a, b) => a - b);
    for (const [index, stage] of stages.entries()) {
      const group = members.filter((member) => member.stage === stage).map(({ supervised }) => supervised);
      const reserveMs = index < stages.length - 1 ? LAST_STAGE_MS : 0;
      await stopGroup(group, Math.max(0, deadlineMs - performance.now() - reserveMs));
    }
  }

  async function stopGroup(group: readonly Supervised[], patienceMs: number): Promise<void> {
    const running = new Set(group);
    const names = () => [...running].map(({ name }) => name).join(', ');
    const telling = setTimeout(() => log(`stopping ${names()} …`), TELL_MS);
    const ending = setTimeout(() => {
      log(`${names()} did not stop in time and is killed`);
      for (const supervised of running) supervised.kill();
    }, patienceMs);
    await Promise.all(group.map((supervised) => supervised.stop().then(() => running.delete(supervised))));
    clearTimeout(telling);
    clearTimeout(ending);
  }

  return {
    start(recipe, stage) {
      if (stopping) return new Promise(() => {});
      const supervised = supervise(recipe, { log, onChange: changed });
      members.push({ supervised, stage, endsOthers: recipe.endsOthers ?? false, neededAtEnd: recipe.neededAtEnd ?? false });
      return supervised.started;
    },
    processes,
    stop() {
      stopping ??= stopAll();
      return stopping;
    },
    kill() {
      stopping ??= stopAll();
      for (const { supervised, endsOthers, neededAtEnd } of members) {
        if (neededAtEnd) continue;
        if (endsOthers) void supervised.stop();
        else supervised.kill();
      }
    },
  };
}
