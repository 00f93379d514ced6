/**
 * Sandboxes by a Docker engine (DESIGN 6): one container each, reached through the socket of the sandbox daemon inside it, never by one
 * `docker exec` per call.
 *
 * - The engine may be away for a while (restart): sandboxes go on, and nothing is concluded from a stream or a call that ended. What ends a
 *   sandbox is the daemon's socket, a `die` event, the heartbeat or a deadline.
 * - Notes come before acts: intent → container id → first process. `destroy` finds what there is by id, name and label.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { AppError, type Clock, ensureError, hasCode, type Logger, pause, randomText, systemClock } from '@manyhands/base';
import {
  makeSandboxDirectory,
  removeSandboxDirectory,
  SANDBOX_ID,
  type SandboxDirectory,
  sandboxDirectory,
} from '../../files/sandbox-directory.ts';
import { ensureBaseImage } from '../../images/base-image.ts';
import { AGENT_UID } from '../../images/image-recipe.ts';
import { connectDaemon, type DaemonChannel } from '../daemon-channel.ts';
import type { RunningSandbox, SandboxDriver, SandboxLimits } from '../driver.ts';
import { copyProgram, userFiles, writeEtc } from '../inside-view.ts';
import { endContainers, listSandboxesOf } from './container-end.ts';
import { createContainerEvents } from './container-events.ts';
import { type ContainerRecipe, containerName, containerOptions, POOL_LABEL, SANDBOX_LABEL, type Transport } from './container-options.ts';
import { identifyInit, readRecord, writeIntent, writeRecord } from './container-record.ts';
import { AWAY_PATIENCE_MS, connectEngine, hasStatus, isEngineAway } from './engine.ts';
import { parseDockerHost } from './engine-address.ts';
import { blindEngine, checkEngine, seesOurFiles } from './engine-check.ts';
import { createRelayChannel } from './relay-channel.ts';
import { openRelay } from './relay-stream.ts';

/** A container that is not up by then hangs in its runtime; generous for a loaded machine. */
const START_DEADLINE_MS = 60_000;
/** A daemon that does not answer by then, in a container that runs, is not coming. */
const DAEMON_DEADLINE_MS = 30_000;
const CONNECT_PAUSE_MS = 5;
const PING_DEADLINE_MS = 10_000;
/** Runtimes in which a socket on a bind mount cannot be connected to from the host. */
const NO_SOCKET_RUNTIMES = /runsc|gvisor/i;
const MIB = 1024 * 1024;
const PROBE_LIMITS: SandboxLimits = { memoryBytes: 256 * MIB, pids: 64, fileBytes: 16 * MIB, tmpBytes: 16 * MIB };

export interface DockerDriverOptions {
  /** The directory that holds the sandboxes' directories; exists, mode 0700, at the same path on the engine's host. */
  poolRoot: string;
  poolId: string;
  /** As in DOCKER_HOST. */
  dockerHost: string;
  /** The operator's own image; null: the base image, made where it is missing. */
  image: string | null;
  /** A runtime that the engine knows; null: its default. */
  runtime: string | null;
  /** How the sandbox daemons are reached; decided by the runtime and by trying if not given. */
  transport?: Transport;
  /** Path of the program of the sandbox daemon (hand.mjs). */
  daemon: string;
  /** Path of mmdebstrap and directory of root file systems, for hosts that no registry answers. */
  mmdebstrap: string | null;
  cache: string;
  /** For DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, and for mmdebstrap; nothing of it gets inside. */
  hostEnvironment: Record<string, string | undefined>;
  log: Logger;
  clock?: Clock;
}

interface Prepared {
  image: string;
  daemon: string;
}

export function createDockerDriver(options: DockerDriverOptions): SandboxDriver {
  const { poolRoot, poolId, runtime, log } = options;
  const clock = options.clock ?? systemClock;
  const engine = connectEngine(parseDockerHost(options.dockerHost, options.hostEnvironment));
  const events = createContainerEvents(engine, poolId, log);
  const user = sandboxUser();
  let transport: Transport = options.transport ?? (runtime !== null && NO_SOCKET_RUNTIMES.test(runtime) ? 'relay' : 'socket');
  let prepared: Promise<Prepared> | null = null;

  async function prepare(): Promise<Prepared> {
    if (!existsSync(options.daemon)) throw new AppError('configuration', `MANYHANDS_HAND: there is no file ${options.daemon}`);
    const { image: own, mmdebstrap, cache, hostEnvironment } = options;
    const image = await ensureBaseImage({
      engine,
      image: own,
      mmdebstrap,
      cache,
      hostEnvironment,
      say: (line) => log.info({ line }, 'sandbox image'),
    });
    const directory = path.join(poolRoot, '.runtime');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return { image, daemon: await copyProgram(options.daemon, path.join(directory, 'hand.mjs')) };
  }
  function ready(): Promise<Prepared> {
    prepared ??= prepare().catch((error: unknown) => {
      prepared = null;
      throw error;
    });
    return prepared;
  }

  async function create(directory: SandboxDirectory, limits: SandboxLimits, how = transport, logged = false): Promise<RunningSandbox> {
    const { image, daemon } = await ready();
    let containerId: string | null = null;
    try {
      await makeSandboxDirectory(directory, user.owns ? user.uid : null);
      const etc = await writeEtc(path.join(directory.driver, 'etc'), userFiles(user.uid, user.gid));
      await writeIntent(directory, how);
      const recipe: ContainerRecipe = { directory, poolId, image, runtime, transport: how, user, limits, daemon, etc, logged };
      containerId = await createContainer(recipe);
      await writeRecord(directory, { transport: how, container_id: containerId, init: null });
      return await start(directory, containerId, how);
    } catch (error) {
      const said = logged && containerId !== null ? await logTail(containerId) : '';
      await destroy(directory).catch((left: unknown) =>
        log.warn({ err: left, sandbox_id: directory.id }, 'a failed sandbox is removed later'),
      );
      throw said === '' ? error : new AppError('unavailable', `${ensureError(error).message}; it said: ${said}`, { cause: error });
    }
  }

  /** Safe to repeat while the engine comes and goes: a container of that name is the one that an earlier try made. */
  async function createContainer(recipe: ContainerRecipe): Promise<string> {
    const within = { patienceMs: AWAY_PATIENCE_MS };
    try {
      return await engine.call(
        'create a sandbox',
        async (docker, abortSignal) => (await docker.createContainer({ ...containerOptions(recipe), abortSignal })).id,
        within,
      );
    } catch (error) {
      if (!hasStatus(error, 409)) throw error;
      const found = await inspect(containerName(recipe.directory.id));
      const labels = found?.Config.Labels ?? {};
      if (found && labels[SANDBOX_LABEL] === recipe.directory.id && labels[POOL_LABEL] === poolId) return found.Id;
      throw error;
    }
  }

  async function start(directory: SandboxDirectory, containerId: string, how: Transport): Promise<RunningSandbox> {
    let ended: string | null = null;
    const unfollow = events.follow(containerId, (reason) => {
      ended = reason;
    });
    try {
      await engine
        .call('start a sandbox', (docker, abortSignal) => docker.getContainer(containerId).start({ abortSignal }), {
          deadlineMs: START_DEADLINE_MS,
          patienceMs: AWAY_PATIENCE_MS,
        })
        .catch((error: unknown) => {
          // An earlier try did start it.
          if (!hasStatus(error, 304)) throw error;
        });
      const noting = noteInit(directory, containerId, how);
      const channel = await waitForDaemon(directory, containerId, how, () => ended);
      await noting;
      follow(containerId, channel);
      return { directory, channel };
    } catch (error) {
      unfollow();
      throw error;
    }
  }

  async function noteInit(directory: SandboxDirectory, containerId: string, how: Transport): Promise<void> {
    const found = await inspect(containerId).catch(() => null);
    const init = found ? identifyInit(found.State.Pid, containerId) : null;
    if (init) await writeRecord(directory, { transport: how, container_id: containerId, init });
  }

  async function waitForDaemon(
    directory: SandboxDirectory,
    containerId: string,
    how: Transport,
    endedBecause: () => string | null,
  ): Promise<DaemonChannel> {
    const deadline = clock.now() + DAEMON_DEADLINE_MS;
    if (how === 'relay') {
      const channel = relayTo(containerId);
      try {
        await channel.request({ op: 'ping' }, DAEMON_DEADLINE_MS);
        return channel;
      } catch (error) {
        channel.close('the daemon did not come up');
        throw error;
      }
    }
    for (;;) {
      const channel = await connectDaemon(directory.run).catch(() => null);
      if (channel) {
        await channel.request({ op: 'ping' }, PING_DEADLINE_MS);
        return channel;
      }
      const ended = endedBecause();
      if (ended !== null) throw new AppError('unavailable', `the sandbox ended before its daemon answered: ${ended}`);
      if (clock.now() > deadline) throw new AppError('timeout', `the daemon did not come up within ${DAEMON_DEADLINE_MS} ms`);
      await pause(CONNECT_PAUSE_MS);
    }
  }

  const relayTo = (containerId: string) =>
    createRelayChannel({
      open: () => openRelay(engine, containerId),
      isRunning: async () => (await inspect(containerId))?.State.Running ?? false,
    });

  function follow(containerId: string, channel: DaemonChannel): void {
    const unfollow = events.follow(containerId, (reason) => channel.close(reason));
    void channel.closed.then(unfollow);
  }

  /** Null if there is no such container. */
  async function inspect(idOrName: string) {
    try {
      return await engine.call('inspect a sandbox', (docker, abortSignal) => docker.getContainer(idOrName).inspect({ abortSignal }), {
        patienceMs: AWAY_PATIENCE_MS,
      });
    } catch (error) {
      if (hasStatus(error, 404)) return null;
      throw error;
    }
  }

  async function logTail(containerId: string): Promise<string> {
    const logs = await engine
      .call('read what a sandbox said', (docker) => docker.getContainer(containerId).logs({ stdout: true, stderr: true, follow: false }))
      .catch(() => Buffer.alloc(0));
    // Frames of 8 bytes of header, whose bytes are no text.
    return logs
      .toString('latin1')
      .replace(/[^\x20-\x7e\n]+/g, '')
      .slice(-2_000)
      .trim();
  }

  async function runs(directory: SandboxDirectory): Promise<boolean> {
    const record = await readRecord(directory);
    if (!record || record.container_id === null) return false;
    const found = await inspect(record.container_id);
    return found?.State.Running === true && found.Config.Labels[SANDBOX_LABEL] === directory.id;
  }

  async function adopt(directory: SandboxDirectory): Promise<RunningSandbox | null> {
    const record = await readRecord(directory);
    if (!record || record.container_id === null) return null;
    // A runtime that was found out to need it once, needs it again.
    if (record.transport === 'relay') transport = 'relay';
    // Over a socket the daemon's own answer counts, whether the engine is there or not: only this container has that directory.
    if (record.transport === 'relay' && !(await runs(directory))) return null;
    const channel = await (record.transport === 'relay' ? relayTo(record.container_id) : connectDaemon(directory.run).catch(() => null));
    if (!channel) return null;
    try {
      await channel.request({ op: 'ping' }, PING_DEADLINE_MS);
    } catch (error) {
      channel.close('not adopted');
      log.warn({ err: error, sandbox_id: directory.id }, 'sandbox is there but its daemon does not answer');
      return null;
    }
    follow(record.container_id, channel);
    return { directory, channel };
  }

  async function destroy(directory: SandboxDirectory): Promise<void> {
    const record = await readRecord(directory);
    // A directory without a note never had a container; without a directory, there may be one all the same.
    if (record || !existsSync(directory.root))
      await endContainers({
        ...{ engine, clock, poolId, sandboxId: directory.id },
        ...{ containerId: record?.container_id ?? null, init: record?.init ?? null },
      });
    await removeSandboxDirectory(directory.root);
  }

  /** Makes a sandbox and takes it away again, by each way to reach the daemon that may work. */
  async function probe(): Promise<void> {
    // A runtime that nobody knows is tried both ways.
    const ways: Transport[] = runtime === null || options.transport || transport === 'relay' ? [transport] : ['socket', 'relay'];
    let failure: unknown;
    for (const way of ways) {
      const directory = sandboxDirectory(poolRoot, `sbx_probe${randomText(12)}`);
      try {
        const { channel } = await create(directory, PROBE_LIMITS, way, true);
        channel.close('it was a probe');
        await destroy(directory);
        transport = way;
        return;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  return {
    name: 'docker',
    create: (directory, limits) => create(directory, limits),
    adopt,
    isAlive: runs,
    destroy,
    async check() {
      const { version } = await checkEngine(engine, runtime, AWAY_PATIENCE_MS);
      const { image } = await ready();
      try {
        await probe();
      } catch (error) {
        if (isEngineAway(error)) throw error;
        if (!(await seesOurFiles(engine, image, poolRoot).catch(() => true))) throw blindEngine(engine.host, poolRoot);
        const hint = hasCode(error, 'timeout') ? `\nIs ${image} fit for sandboxes? It needs Node 20 or later, bash, tar and gzip.` : '';
        throw new AppError(
          'configuration',
          `the Docker engine at ${engine.host} cannot make a sandbox: ${ensureError(error).message}${hint}`,
          {
            cause: error,
          },
        );
      }
      log.info({ version, image, runtime: runtime ?? 'default', transport, uid: user.uid }, 'Docker sandboxes work here');
    },
    async listStrays() {
      return (await listSandboxesOf(engine, poolId, AWAY_PATIENCE_MS)).filter((id) => SANDBOX_ID.test(id));
    },
    close: async () => events.close(),
  };
}

/**
 * Whom a sandbox runs as: a user of its own kind where the pool may give files away, else the pool's own, so that both can write the directories.
 */
function sandboxUser(): { uid: number; gid: number; owns: boolean } {
  const uid = process.geteuid?.() ?? 0;
  return uid === 0 ? { uid: AGENT_UID, gid: AGENT_UID, owns: true } : { uid, gid: process.getegid?.() ?? uid, owns: false };
}
