/**
 * Ends and removes the containers of one sandbox: by the recorded id or the name, then by label, until the engine knows none, and its first
 * process too where that is one of this host's (an engine whose helper was killed may think it gone, SANDBOX 5).
 */
import { AppError, type Clock, ensureError, pause } from '@manyhands/base';
import { isAlive, type ProcessIdentity, signalProcess } from '../process-identity.ts';
import { containerName, POOL_LABEL, SANDBOX_LABEL } from './container-options.ts';
import { AWAY_PATIENCE_MS, type Engine, hasStatus } from './engine.ts';

const END_DEADLINE_MS = 60_000;
const END_PAUSE_MS = 20;
const END_PAUSE_CAP_MS = 500;
/** Removing may take a while under load; it is asked for again. */
const REMOVE_DEADLINE_MS = 30_000;

export interface ContainerEnd {
  engine: Engine;
  clock: Clock;
  poolId: string;
  sandboxId: string;
  containerId: string | null;
  init: ProcessIdentity | null;
}

export async function endContainers({ engine, clock, poolId, sandboxId, containerId, init }: ContainerEnd): Promise<void> {
  const deadline = clock.now() + END_DEADLINE_MS;
  let known: string | null = containerId ?? containerName(sandboxId);
  let failure: unknown = null;
  for (let pauseMs = END_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, END_PAUSE_CAP_MS)) {
    // The recorded one first: nearly always all there is.
    if (known !== null) failure = await remove(engine, known);
    known = null;
    if (init) signalProcess(init, 'SIGKILL');
    const left = await listOf(engine, poolId, sandboxId);
    if (left.length === 0 && !(init && isAlive(init))) return;
    if (clock.now() > deadline)
      throw new AppError(
        'unavailable',
        `the container of sandbox ${sandboxId} does not end${failure === null ? '' : `: ${ensureError(failure).message}`}`,
        { cause: failure },
      );
    for (const id of left) failure = await remove(engine, id);
    await pause(pauseMs);
  }
}

/** Returns the error, if it is one that a repetition may mend. */
async function remove(engine: Engine, id: string): Promise<unknown> {
  try {
    await engine.call('remove a sandbox', (docker, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal }), {
      deadlineMs: REMOVE_DEADLINE_MS,
      patienceMs: AWAY_PATIENCE_MS,
    });
    return null;
  } catch (error) {
    // Gone already; being removed; the engine had trouble with its runtime.
    if (hasStatus(error, 404)) return null;
    if (hasStatus(error, 409, 500) || (error instanceof AppError && error.code === 'timeout')) return error;
    throw error;
  }
}

async function listOf(engine: Engine, poolId: string, sandboxId: string): Promise<string[]> {
  const filters = { label: [`${SANDBOX_LABEL}=${sandboxId}`, `${POOL_LABEL}=${poolId}`] };
  const found = await engine.call('list containers', (docker, abortSignal) => docker.listContainers({ all: true, filters, abortSignal }), {
    patienceMs: AWAY_PATIENCE_MS,
  });
  return found.map(({ Id }) => Id);
}

/** Ids of sandboxes of which this pool has a container, running or not. */
export async function listSandboxesOf(engine: Engine, poolId: string, patienceMs: number): Promise<string[]> {
  const found = await engine.call(
    'list sandboxes',
    (docker, abortSignal) => docker.listContainers({ all: true, filters: { label: [`${POOL_LABEL}=${poolId}`] }, abortSignal }),
    { patienceMs },
  );
  return found.flatMap(({ Labels }) => Labels[SANDBOX_LABEL] ?? []);
}
