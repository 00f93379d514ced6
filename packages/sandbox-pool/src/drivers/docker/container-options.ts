/**
 * The container of one sandbox (SANDBOX 7.5): no network, no capability, no new privileges, the engine's default seccomp filter, a read-only
 * system, an init that reaps. Nothing of sessions is in it: it is made before it is leased.
 *
 * The processor is shared by weight and not capped: one busy sandbox on an idle host may use all of it, while any number of them leave the
 * platform its part.
 */
import { SANDBOX_PATHS } from '@manyhands/contract';
import type Docker from 'dockerode';
import type { SandboxDirectory } from '../../files/sandbox-directory.ts';
import type { SandboxLimits } from '../driver.ts';
import { agentEnvironment, type MountedFile } from '../inside-view.ts';

export const POOL_LABEL = 'dev.manyhands.pool';
export const SANDBOX_LABEL = 'dev.manyhands.sandbox';
/** The program of the sandbox daemon. Its bundle keeps the name hand.mjs inside sandboxes: containers that an older version made have it. */
export const DAEMON_INSIDE = '/opt/manyhands/hand.mjs';
/** Measured: nothing at idle (11 MiB), about 3 MiB less after a flood of output. The old space is not capped: that would end a busy daemon. */
const NODE_OPTIONS = ['--max-semi-space-size=1'];

const SHM_BYTES = 64 * 1024 * 1024;
const RUN_BYTES = 1024 * 1024;
const OPEN_FILES = { Name: 'nofile', Soft: 1024, Hard: 4096 };
/** An ordinary container has 1024. */
const CPU_SHARES = 256;
/** The kernel takes sandboxes first when the whole host runs out of memory. */
const OOM_SCORE = 600;

/** How the pool reaches the daemon: its socket on a bind mount, or a relay where the runtime forbids that (docs/decisions/0006). */
export type Transport = 'socket' | 'relay';

export interface ContainerRecipe {
  directory: SandboxDirectory;
  poolId: string;
  image: string;
  /** Null: the engine's default. */
  runtime: string | null;
  transport: Transport;
  user: { uid: number; gid: number };
  limits: SandboxLimits;
  /** The daemon's program on the host. */
  daemon: string;
  etc: MountedFile[];
  /** Keep what the daemon says, so that a failure to start can be told; not for sandboxes that live. */
  logged: boolean;
}

export const containerName = (sandboxId: string) => `manyhands-${sandboxId}`;
export const daemonCommand = (...args: string[]) => ['node', ...NODE_OPTIONS, DAEMON_INSIDE, ...args];

export function containerOptions(recipe: ContainerRecipe): Docker.ContainerCreateOptions {
  const { directory, limits, user, transport } = recipe;
  const mount = (source: string, target: string, readOnly: boolean): Docker.MountSettings => ({
    ...{ Type: 'bind', Source: source, Target: target, ReadOnly: readOnly, BindOptions: { Propagation: 'rprivate' } },
  });
  return {
    name: containerName(directory.id),
    Image: recipe.image,
    Hostname: 'sandbox',
    User: `${user.uid}:${user.gid}`,
    WorkingDir: SANDBOX_PATHS.workspace,
    Env: Object.entries(agentEnvironment()).map(([name, value]) => `${name}=${value}`),
    Entrypoint: daemonCommand(),
    Cmd: [],
    Healthcheck: { Test: ['NONE'] },
    Labels: { [POOL_LABEL]: recipe.poolId, [SANDBOX_LABEL]: directory.id },
    HostConfig: {
      NetworkMode: 'none',
      ...(recipe.runtime === null ? {} : { Runtime: recipe.runtime }),
      Init: true,
      ReadonlyRootfs: true,
      RestartPolicy: { Name: 'no' },
      // Engines end containers that remove themselves when they restart, even those that would live through it.
      AutoRemove: false,
      LogConfig: recipe.logged ? { Type: 'json-file', Config: {} } : { Type: 'none', Config: {} },
      Tmpfs: {
        '/tmp': `rw,exec,nosuid,nodev,mode=1777,size=${limits.tmpBytes}`,
        ...(transport === 'relay'
          ? { [SANDBOX_PATHS.run]: `rw,noexec,nosuid,nodev,mode=0700,uid=${user.uid},gid=${user.gid},size=${RUN_BYTES}` }
          : {}),
      },
      Mounts: [
        mount(directory.workspace, SANDBOX_PATHS.workspace, false),
        mount(directory.outputs, SANDBOX_PATHS.outputs, false),
        mount(directory.uploads, SANDBOX_PATHS.uploads, true),
        mount(directory.cache, '/var/cache/agent', false),
        ...(transport === 'socket' ? [mount(directory.run, SANDBOX_PATHS.run, false)] : []),
        mount(directory.egress, SANDBOX_PATHS.egress, true),
        mount(directory.exchange, SANDBOX_PATHS.exchange, false),
        mount(recipe.daemon, DAEMON_INSIDE, true),
        ...recipe.etc.map(({ file, inside }) => mount(file, inside, true)),
      ],
      Memory: limits.memoryBytes,
      // The same: no swap on top.
      MemorySwap: limits.memoryBytes,
      CpuShares: CPU_SHARES,
      PidsLimit: limits.pids,
      OomScoreAdj: OOM_SCORE,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      IpcMode: 'private',
      ShmSize: SHM_BYTES,
      // Where the engine maps users, the directories on the host would belong to somebody else.
      UsernsMode: 'host',
      Ulimits: [OPEN_FILES, { Name: 'fsize', Soft: limits.fileBytes, Hard: limits.fileBytes }, { Name: 'core', Soft: 0, Hard: 0 }],
    },
  };
}
