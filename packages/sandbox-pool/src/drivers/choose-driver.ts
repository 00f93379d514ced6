/** The driver that MANYHANDS_SANDBOX_DRIVER names, with its settings out of the environment. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from '@manyhands/base';
import type { PoolEnv } from '../service/env.ts';
import { createBubblewrapDriver } from './bubblewrap/bubblewrap-driver.ts';
import { createDockerDriver } from './docker/docker-driver.ts';
import type { SandboxDriver } from './driver.ts';
import { findProgram } from './find-program.ts';

export interface DriverPlace {
  poolRoot: string;
  poolId: string;
  /** What the pool itself was started with: for programs outside of sandboxes. Nothing of it gets inside. */
  hostEnvironment: Record<string, string | undefined>;
  log: Logger;
}

export function chooseDriver(env: PoolEnv, { poolRoot, poolId, hostEnvironment, log }: DriverPlace): SandboxDriver {
  const { PATH: searchPath = '/usr/sbin:/usr/bin:/sbin:/bin', LD_LIBRARY_PATH: libraryPath } = hostEnvironment;
  const daemon = env.MANYHANDS_HAND ?? fileURLToPath(new URL('../../../sandbox-daemon/dist/hand.mjs', import.meta.url));
  if (env.MANYHANDS_SANDBOX_DRIVER === 'docker')
    return createDockerDriver({
      ...{ poolRoot, poolId, daemon, hostEnvironment, log },
      dockerHost: env.DOCKER_HOST,
      image: env.MANYHANDS_SANDBOX_IMAGE ?? null,
      runtime: env.MANYHANDS_SANDBOX_RUNTIME ?? null,
      mmdebstrap: env.MANYHANDS_MMDEBSTRAP === undefined ? null : findProgram('MANYHANDS_MMDEBSTRAP', env.MANYHANDS_MMDEBSTRAP, searchPath),
      cache: path.resolve(env.MANYHANDS_CACHE),
    });
  return createBubblewrapDriver({
    ...{ poolRoot, poolId, log },
    bwrap: findProgram('MANYHANDS_BWRAP', env.MANYHANDS_BWRAP, searchPath),
    programs: {
      node: process.execPath,
      daemon,
      ripgrep: env.MANYHANDS_RG === undefined ? null : findProgram('MANYHANDS_RG', env.MANYHANDS_RG, searchPath),
    },
    hostEnvironment: { PATH: searchPath, ...(libraryPath ? { LD_LIBRARY_PATH: libraryPath } : {}) },
  });
}
