/**
 * A Docker engine with the base image of sandboxes. A run of the whole suite has one for all (its address and image come by environment); a
 * test file run by hand uses the engine of this machine, or starts one. Tests that kill an engine take one of their own.
 */
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  canHaveEngine,
  type DaemonHandle,
  DEFAULT_DOCKER_HOST,
  findEngine,
  prepareSandboxImage,
  privateEngineObstacle,
  startContainerd,
  startDockerd,
} from '@manyhands/infra';
import { temporaryDirectory } from './temporary-directory.ts';

export interface TestEngine extends AsyncDisposable {
  /** As in DOCKER_HOST. */
  readonly host: string;
  /** Name of the base image, which is there. */
  readonly image: string;
  /** Whether it is this test's own: only then it may be killed. */
  readonly private: boolean;
}

export interface PrivateEngine extends TestEngine {
  readonly private: true;
  /** Of the processes that run now; others after a restart. */
  readonly dockerdPid: number;
  readonly containerdPid: number;
  /** kill -9; containers go on. */
  killDockerd(): Promise<void>;
  killContainerd(): Promise<void>;
  /** Starts what was killed, on the same data and socket; resolves when it answers. */
  startDockerd(): Promise<void>;
  startContainerd(): Promise<void>;
  /** SIGSTOP and SIGCONT to dockerd: connections stay open and nothing answers. */
  pauseDockerd(): void;
  resumeDockerd(): void;
  /** What dockerd wrote so far is in this file. */
  readonly logFile: string;
}

const IMAGE_ENTRY = fileURLToPath(new URL('../../sandbox-pool/dist/image-main.js', import.meta.url));
/** Set for a run of the whole suite: address and image, or why there are none. */
const { MANYHANDS_TEST_ENGINE: HOST, MANYHANDS_TEST_IMAGE: IMAGE, MANYHANDS_TEST_NO_ENGINE: ABSENT } = process.env;

/** Why tests with containers cannot run here, or null. For `describe.skipIf` and the name of what is skipped. */
export function engineUnavailable(): string | null {
  if (HOST) return null;
  if (ABSENT) return ABSENT;
  return mayHaveEngine() ? null : privateEngineUnavailable();
}

/** The same for tests that need an engine of their own. */
export function privateEngineUnavailable(): string | null {
  if (ABSENT) return ABSENT;
  return privateEngineObstacle() ?? (canHaveEngine() ? null : "a Docker engine's programs are not here and cannot be fetched");
}

/** A guess, since it must not wait; `testEngine` finds out. */
function mayHaveEngine(): boolean {
  if (process.env['DOCKER_HOST']) return true;
  try {
    accessSync(DEFAULT_DOCKER_HOST.replace('unix://', ''), constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export async function testEngine(): Promise<TestEngine> {
  const nothing = async () => {};
  if (HOST && IMAGE) return { host: HOST, image: IMAGE, private: false, [Symbol.asyncDispose]: nothing };
  const found = await findEngine();
  if (found.state !== 'ok') return privateEngine();
  return { host: found.host, image: await imageOn(found.host), private: false, [Symbol.asyncDispose]: nothing };
}

/** Always a new one. The image comes from a root file system in the cache, if there is one: about ten seconds; otherwise minutes. */
export async function privateEngine(): Promise<PrivateEngine> {
  const directory = await temporaryDirectory('engine');
  const dir = directory.path;
  let containerd: DaemonHandle | undefined;
  let dockerd: DaemonHandle | undefined;
  async function dispose(): Promise<void> {
    await dockerd?.kill();
    // Ends containers and everything else, too.
    await containerd?.stop();
    await directory.remove();
  }
  try {
    containerd = await startContainerd({ dir, log: announce });
    dockerd = await startDockerd({ dir, log: announce });
    const running = { containerd, dockerd };
    const image = await imageOn(dockerd.url);
    return {
      host: dockerd.url,
      image,
      private: true,
      logFile: dockerd.logFile,
      get dockerdPid() {
        return running.dockerd.pid;
      },
      get containerdPid() {
        return running.containerd.pid;
      },
      killDockerd: () => running.dockerd.kill(),
      killContainerd: () => running.containerd.kill(),
      async startDockerd() {
        dockerd = running.dockerd = await startDockerd({ dir });
      },
      async startContainerd() {
        containerd = running.containerd = await startContainerd({ dir });
      },
      pauseDockerd: () => running.dockerd.pause(),
      resumeDockerd: () => running.dockerd.resume(),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function imageOn(host: string): Promise<string> {
  return prepareSandboxImage({ entry: IMAGE_ENTRY, host, log: announce });
}

/** What takes long says so; a silent minute would look like a hang. */
function announce(line: string): void {
  process.stderr.write(`${line}\n`);
}
