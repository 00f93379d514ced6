/**
 * Control groups, one per sandbox, below `manyhands/<pool>` of each hierarchy: memory, pids and a small share of the processor. Works with
 * version 2 and with the memory, pids and cpu hierarchies of version 1. Where none can be written, resource limits are all there is.
 */
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError, pause } from '@manyhands/base';
import type { SandboxLimits } from '../driver.ts';

/** An ordinary process has 1024 (v1) or 100 (v2): the platform stays responsive when sandboxes take all they can get. */
const CPU_SHARES_V1 = '256';
const CPU_WEIGHT_V2 = '25';
const REMOVE_ATTEMPTS = 200;
const REMOVE_PAUSE_MS = 10;
/** A group without processes may belong to a sandbox that is just being made by another pool; after this it does not. */
const ABANDONED_MS = 10 * 60_000;

export interface LimitGroups {
  /** The files into which a process writes its pid to join; made and limited. */
  make(id: string, limits: SandboxLimits): Promise<string[]>;
  /** Pids in the sandbox's groups. */
  members(id: string): Promise<number[]>;
  /** Removes the groups of a sandbox; waits until the kernel has released ended processes. */
  remove(id: string): Promise<void>;
  /** Sandboxes that have a group. */
  list(): Promise<string[]>;
  /** Removes empty groups that pools left whose directories nobody opens again. */
  sweepAbandoned(nowMs: number): Promise<void>;
  /** Removes the pool's own groups, if they are empty. */
  removeBase(): Promise<void>;
}

interface Hierarchy {
  base: string;
  settings: (limits: SandboxLimits) => [file: string, value: string, required: boolean][];
}

/** The hierarchies this process may write; empty if the limits cannot be set that way. */
export function detectHierarchies(
  mounts = readFileSync('/proc/self/mounts', 'utf8'),
): { kind: 'v1' | 'v2'; mount: string; controller: string }[] {
  const found: { kind: 'v1' | 'v2'; mount: string; controller: string }[] = [];
  for (const line of mounts.split('\n')) {
    const [, mount = '', type = '', options = ''] = line.split(' ');
    if (!isWritable(mount)) continue;
    if (type === 'cgroup2' && hasControllers(mount)) return [{ kind: 'v2', mount, controller: 'unified' }];
    if (type === 'cgroup')
      for (const controller of ['memory', 'pids', 'cpu'])
        if (options.split(',').includes(controller)) found.push({ kind: 'v1', mount, controller });
  }
  const has = (controller: string) => found.some((hierarchy) => hierarchy.controller === controller);
  return has('memory') && has('pids') ? found : [];
}

export function createLimitGroups(poolId: string): LimitGroups | null {
  const detected = detectHierarchies();
  if (detected.length === 0) return null;
  const hierarchies = detected.map<Hierarchy>(({ kind, mount, controller }) => ({
    base: path.join(mount, 'manyhands', poolId),
    settings: (limits) => (kind === 'v2' ? settingsV2(limits) : (SETTINGS_V1[controller]?.(limits) ?? [])),
  }));

  /** Children have a controller only if every parent hands it down. */
  function prepare(): void {
    for (const { base } of hierarchies) mkdirSync(base, { recursive: true });
    const [first] = detected;
    if (first?.kind !== 'v2') return;
    for (const directory of [first.mount, path.join(first.mount, 'manyhands'), path.join(first.mount, 'manyhands', poolId)])
      writeFileSync(path.join(directory, 'cgroup.subtree_control'), '+memory +pids +cpu');
  }
  try {
    prepare();
  } catch {
    // In a container whose processes sit in the root of its hierarchy, nothing can be handed down.
    return null;
  }

  return {
    async make(id, limits) {
      prepare();
      for (const hierarchy of hierarchies) {
        const group = path.join(hierarchy.base, id);
        await mkdir(group, { recursive: true });
        for (const [file, value, required] of hierarchy.settings(limits)) {
          try {
            await writeFile(path.join(group, file), value);
          } catch (error) {
            if (required) throw new AppError('internal', `the limit ${file} of a sandbox could not be set`, { cause: error });
          }
        }
      }
      return hierarchies.map(({ base }) => path.join(base, id, 'cgroup.procs'));
    },
    async members(id) {
      const pids = new Set<number>();
      for (const { base } of hierarchies)
        for (const line of (await readFile(path.join(base, id, 'cgroup.procs'), 'utf8').catch(() => '')).split('\n'))
          if (line) pids.add(Number(line));
      return [...pids].filter((pid) => pid > 1);
    },
    async remove(id) {
      for (const { base } of hierarchies) await removeGroup(path.join(base, id));
    },
    async list() {
      const ids = new Set<string>();
      for (const { base } of hierarchies) for (const id of await subdirectories(base)) ids.add(id);
      return [...ids];
    },
    async sweepAbandoned(nowMs) {
      for (const { base } of hierarchies) {
        const all = path.dirname(base);
        for (const pool of await subdirectories(all)) {
          if (pool === path.basename(base)) continue;
          for (const group of [...(await subdirectories(path.join(all, pool))).map((id) => path.join(all, pool, id)), path.join(all, pool)])
            if (nowMs - ((await stat(group).catch(() => null))?.mtimeMs ?? nowMs) > ABANDONED_MS) await rmdir(group).catch(() => {});
        }
      }
    },
    async removeBase() {
      for (const { base } of hierarchies) {
        await rmdir(base).catch(() => {});
        await rmdir(path.dirname(base)).catch(() => {});
      }
    },
  };
}

const SETTINGS_V1: Record<string, (limits: SandboxLimits) => [string, string, boolean][]> = {
  memory: ({ memoryBytes }) => [
    ['memory.limit_in_bytes', String(memoryBytes), true],
    // Absent without swap accounting.
    ['memory.memsw.limit_in_bytes', String(memoryBytes), false],
  ],
  pids: ({ pids }) => [['pids.max', String(pids), true]],
  cpu: () => [['cpu.shares', CPU_SHARES_V1, false]],
};
const settingsV2 = ({ memoryBytes, pids }: SandboxLimits): [string, string, boolean][] => [
  ['memory.max', String(memoryBytes), true],
  ['memory.swap.max', '0', false],
  ['pids.max', String(pids), true],
  ['cpu.weight', CPU_WEIGHT_V2, false],
];

async function subdirectories(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}
function isWritable(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
function hasControllers(mount: string): boolean {
  try {
    const controllers = readFileSync(path.join(mount, 'cgroup.controllers'), 'utf8').split(/\s+/);
    return controllers.includes('memory') && controllers.includes('pids') && isWritable(path.join(mount, 'cgroup.subtree_control'));
  } catch {
    return false;
  }
}
async function removeGroup(group: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await rmdir(group);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' || attempt >= REMOVE_ATTEMPTS) throw error;
      await pause(REMOVE_PAUSE_MS);
    }
  }
}
