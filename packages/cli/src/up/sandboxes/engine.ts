/**
 * A private Docker engine as two supervised processes: containerd, whose orderly end removes every trace of the engine, and dockerd.
 * Containers outlive both; when `up` itself is killed, the engine still runs until the pool has ended.
 */
import { join } from 'node:path';
import { type DaemonHandle, findAll, privateEngineHost, startContainerd, startDockerd } from '@manyhands/infra';
import { UsageError } from '../../usage-error.ts';
import type { DataDirectory } from '../data/data-directory.ts';
import type { LaunchedProcess, Recipe } from '../processes/launched-process.ts';
import { rotateLog } from '../processes/log-file.ts';
import { launchedServer, linkLog } from '../servers/servers.ts';

/** The pool has 25 s for its end. */
const GRACE_MS = 35_000;
/** gVisor cannot make a network within that of the host, and sandboxes have none. */
const RUNTIME_ARGUMENTS: Readonly<Record<string, readonly string[]>> = { runsc: ['--network=none'] };
const BUILT_IN = 'runc';

export interface PrivateEngine {
  /** As in DOCKER_HOST. */
  readonly host: string;
  readonly containerd: Recipe;
  /** To be started when containerd is ready. */
  readonly dockerd: Recipe;
}

/** `runtime` is what containers run with, runc if undefined; throws when that is not on this machine. */
export function privateEngine(data: DataDirectory, runtime: string | undefined, log: (line: string) => void): PrivateEngine {
  const dir = data.engine;
  const host = privateEngineHost(dir);
  const runtimes = findRuntime(runtime);
  for (const name of ['containerd', 'docker']) {
    rotateLog(join(dir, `${name}.log`));
    linkLog(join(data.logs, `${name}-1.log`), join(dir, `${name}.log`));
  }
  function recipe(name: string, start: () => Promise<DaemonHandle>): Recipe {
    return { name, neededAtEnd: true, launch: async () => launched(await start()) };
  }
  function launched(handle: DaemonHandle): LaunchedProcess {
    const stop = () => void handle.stop().catch((error: unknown) => log((error as Error).message));
    return {
      ...launchedServer(handle),
      stop,
      kill() {
        void handle.kill();
        // Removes what the killed process left behind.
        stop();
      },
    };
  }
  return {
    host,
    containerd: recipe('containerd-1', () => startContainerd({ dir, graceMs: GRACE_MS, log })),
    dockerd: recipe('docker-1', () => startDockerd({ dir, runtimes, log })),
  };
}

function findRuntime(name: string | undefined): Record<string, { path: string; runtimeArgs: readonly string[] }> {
  if (name === undefined || name === BUILT_IN) return {};
  const path = /^[A-Za-z0-9_.-]+$/.test(name) ? findAll(name)[0] : undefined;
  if (path === undefined)
    throw new UsageError(
      `MANYHANDS_SANDBOX_RUNTIME: there is no program ${JSON.stringify(name)} on PATH. Install it, or leave the variable out: then runc is used.`,
    );
  return { [name]: { path, runtimeArgs: RUNTIME_ARGUMENTS[name] ?? [] } };
}
