/**
 * Sandboxes by bubblewrap over the host's own /usr (DESIGN 6): no background service on the host, Linux only.
 *
 * How a sandbox hangs together: holder (a shell, session leader, not tied to the pool) → bwrap → init of the pid namespace → sandbox daemon.
 * Each dies with the one before it, by the kernel's doing, so killing the holder ends everything; groups and user ids are a second way to find what
 * is left. Notes on disk come before acts: intent (user id) → holder (written by itself) → information (by bwrap).
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError, type Clock, ensureError, type Logger, pause, randomText, systemClock } from '@manyhands/base';
import {
  makeSandboxDirectory,
  removeSandboxDirectory,
  SANDBOX_ID,
  type SandboxDirectory,
  sandboxDirectory,
} from '../../files/sandbox-directory.ts';
import { connectDaemon, type DaemonChannel } from '../daemon-channel.ts';
import type { RunningSandbox, SandboxDriver, SandboxLimits } from '../driver.ts';
import { allPids, commandLine, identifyProcess, isAlive, pidsOfUser, signalProcess } from '../process-identity.ts';
import { bubblewrapArguments, HOLDER_NAME, holderCommand, NAMESPACE_UID, type SandboxRecipe } from './bubblewrap-arguments.ts';
import { readHolder, readInitPid, readIntent, readLogTail, writeIntent } from './holder-record.ts';
import { createUidPicker, detectHostIdentity } from './host-identity.ts';
import { createLimitGroups } from './limit-groups.ts';
import { explainFailure } from './remedies.ts';
import { assembleFilter, encodeFilter } from './seccomp-filter.ts';
import { type Programs, provideEtc, providePrograms } from './system-view.ts';

/** A daemon that does not answer by then is not coming; generous for a loaded machine. */
const START_DEADLINE_MS = 30_000;
const CONNECT_PAUSE_MS = 5;
const PING_DEADLINE_MS = 10_000;
const END_DEADLINE_MS = 20_000;
/** What bwrap and the daemon may leave in their log. */
const LOG_MAX_BYTES = 256 * 1024;
const LOG_CHECK_MS = 10_000;
const MIB = 1024 * 1024;
const PROBE_LIMITS: SandboxLimits = { memoryBytes: 256 * MIB, pids: 64, fileBytes: 16 * MIB, tmpBytes: 16 * MIB };

export interface BubblewrapDriverOptions {
  /** The directory that holds the sandboxes' directories; exists, mode 0700. */
  poolRoot: string;
  poolId: string;
  /** Path of bwrap. */
  bwrap: string;
  programs: Programs;
  /** PATH and, for an unpacked bwrap, LD_LIBRARY_PATH of what runs outside; nothing of it gets inside. */
  hostEnvironment: Record<string, string>;
  log: Logger;
  clock?: Clock;
}

export function createBubblewrapDriver(options: BubblewrapDriverOptions): SandboxDriver {
  const { poolRoot, poolId, bwrap, log } = options;
  const clock = options.clock ?? systemClock;
  const identity = detectHostIdentity();
  const uids = identity.kind === 'own-uid' ? createUidPicker(identity.range) : null;
  const groups = uids ? createLimitGroups(poolId) : null;
  const runtime = path.join(poolRoot, '.runtime');
  const filterFile = path.join(runtime, 'seccomp.bpf');
  let programs: Promise<Programs> | null = null;

  async function prepare(): Promise<Programs> {
    if (process.arch !== 'x64' && process.arch !== 'arm64')
      throw new AppError('configuration', `the bubblewrap driver knows x86_64 and arm64, not ${process.arch}`);
    const files = { MANYHANDS_BWRAP: bwrap, MANYHANDS_HAND: options.programs.daemon, MANYHANDS_RG: options.programs.ripgrep };
    for (const [name, file] of Object.entries(files))
      if (file !== null && !existsSync(file)) throw new AppError('configuration', `${name}: there is no file ${file}`);
    await mkdir(runtime, { recursive: true, mode: 0o700 });
    await writeFile(filterFile, encodeFilter(assembleFilter(process.arch)));
    return providePrograms(options.programs, runtime);
  }

  async function create(directory: SandboxDirectory, limits: SandboxLimits): Promise<RunningSandbox> {
    programs ??= prepare();
    const ready = await programs.catch((error: unknown) => {
      programs = null;
      throw error;
    });
    const uid = uids?.take() ?? null;
    try {
      await makeSandboxDirectory(directory, uid);
      await writeIntent(directory, uid);
      const etcArguments = await provideEtc(path.join(directory.driver, 'etc'), uid ?? NAMESPACE_UID);
      const recipe: SandboxRecipe = { directory, uid, limits, programs: ready, etcArguments, grouped: groups !== null };
      await writeFile(
        path.join(directory.driver, 'arguments'),
        bubblewrapArguments(recipe)
          .map((text) => `${text}\0`)
          .join(''),
      );
      const ended = startHolder(recipe, holderCommand(recipe, bwrap, filterFile, (await groups?.make(directory.id, limits)) ?? []));
      const channel = await waitForDaemon(directory, ended);
      watchLog(directory, channel);
      return { directory, channel };
    } catch (error) {
      const said = readLogTail(directory);
      await destroy(directory);
      throw said ? new AppError('unavailable', explainFailure(said), { cause: error }) : error;
    }
  }

  /** Starts the holder; resolves when it ends. It holds no pipe of the pool and is in a session of its own. */
  function startHolder(recipe: SandboxRecipe, command: string[]): { isOver: () => boolean } {
    const sink = openSync('/dev/null', 'r+');
    let over = false;
    try {
      const child = spawn('bash', command, { cwd: '/', detached: true, stdio: [sink, sink, sink], env: options.hostEnvironment });
      child.on('exit', () => {
        over = true;
      });
      child.on('error', (error) => {
        over = true;
        log.warn({ err: error, sandbox_id: recipe.directory.id }, 'sandbox holder did not start');
      });
      child.unref();
    } finally {
      closeSync(sink);
    }
    return { isOver: () => over };
  }

  async function waitForDaemon(directory: SandboxDirectory, holder: { isOver: () => boolean }): Promise<DaemonChannel> {
    const deadline = clock.now() + START_DEADLINE_MS;
    for (;;) {
      const channel = await connectDaemon(directory.run).catch(() => null);
      if (channel) {
        await channel.request({ op: 'ping' }, PING_DEADLINE_MS);
        return channel;
      }
      if (holder.isOver()) throw new AppError('unavailable', 'the sandbox ended before its daemon answered');
      if (clock.now() > deadline) throw new AppError('timeout', `the daemon did not come up within ${START_DEADLINE_MS} ms`);
      await pause(CONNECT_PAUSE_MS);
    }
  }

  /** The log is written by what runs inside; it must not fill the disk. */
  function watchLog(directory: SandboxDirectory, channel: DaemonChannel): void {
    const file = path.join(directory.driver, 'log');
    const timer = setInterval(() => {
      void stat(file)
        .then(({ size }) => (size > LOG_MAX_BYTES ? truncate(file) : undefined))
        .catch(() => {});
    }, LOG_CHECK_MS);
    timer.unref();
    void channel.closed.then(() => clearInterval(timer));
  }

  async function alive(directory: SandboxDirectory): Promise<boolean> {
    const intent = await readIntent(directory);
    const holder = intent && readHolder(directory, intent);
    return holder !== null && holder !== undefined && isAlive(holder);
  }

  async function adopt(directory: SandboxDirectory): Promise<RunningSandbox | null> {
    if (!(await alive(directory))) return null;
    const intent = await readIntent(directory);
    if (intent?.uid !== null && intent?.uid !== undefined) uids?.keep(intent.uid);
    try {
      const channel = await connectDaemon(directory.run);
      await channel.request({ op: 'ping' }, PING_DEADLINE_MS);
      watchLog(directory, channel);
      return { directory, channel };
    } catch (error) {
      log.warn({ err: error, sandbox_id: directory.id }, 'sandbox is there but its daemon does not answer');
      return null;
    }
  }

  /** Everything that may still run for a sandbox, found by every way there is. */
  async function processesOf(directory: SandboxDirectory, uid: number | null): Promise<number[]> {
    const found = new Set(await groups?.members(directory.id));
    if (uid !== null && uids) for (const pid of pidsOfUser(uid)) found.add(pid);
    for (const pid of holdersOf((root) => root === directory.root)) found.add(pid);
    return [...found].filter((pid) => identifyProcess(pid) !== null);
  }

  async function destroy(directory: SandboxDirectory): Promise<void> {
    const intent = await readIntent(directory);
    const uid = intent?.uid ?? null;
    const holder = intent && readHolder(directory, intent);
    const initPid = readInitPid(directory);
    // Believed only while the holder is there and the name fits: a pid alone says nothing.
    const init =
      initPid !== null && holder && isAlive(holder) && path.basename(commandLine(initPid)[0] ?? '') === path.basename(bwrap)
        ? identifyProcess(initPid)
        : null;
    if (holder) signalProcess(holder, 'SIGKILL', true);
    const deadline = clock.now() + END_DEADLINE_MS;
    for (;;) {
      const left = await processesOf(directory, uid);
      if (init && isAlive(init)) left.push(init.pid);
      if (left.length === 0) break;
      if (clock.now() > deadline) throw new AppError('internal', `processes of sandbox ${directory.id} do not end: ${left.join(', ')}`);
      for (const pid of left) killQuietly(pid);
      await pause(CONNECT_PAUSE_MS);
    }
    await groups?.remove(directory.id);
    await removeSandboxDirectory(directory.root);
    if (uid !== null) uids?.free(uid);
  }

  /** Holders of this pool's sandboxes, by their command line. */
  function holdersOf(matches: (root: string) => boolean): number[] {
    return allPids().filter((pid) => {
      const [, , , name, root] = commandLine(pid);
      return name === HOLDER_NAME && root !== undefined && matches(root);
    });
  }

  return {
    name: 'bubblewrap',
    create,
    adopt,
    isAlive: alive,
    destroy,
    async check() {
      const probe = sandboxDirectory(poolRoot, `sbx_probe${randomText(12)}`);
      try {
        await create(probe, PROBE_LIMITS);
      } catch (error) {
        throw new AppError('configuration', ensureError(error).message, { cause: error });
      }
      await destroy(probe);
      log.info({ identity: identity.kind, groups: groups !== null }, 'bubblewrap works here');
      if (!groups) log.warn('no control group can be written here: the memory limit holds for each process, not for a sandbox as a whole');
    },
    async listStrays() {
      await groups?.sweepAbandoned(clock.now());
      const ids = new Set(await groups?.list());
      for (const pid of holdersOf((root) => path.dirname(root) === poolRoot)) ids.add(path.basename(commandLine(pid)[4] ?? ''));
      return [...ids].filter((id) => SANDBOX_ID.test(id));
    },
    async close() {
      await groups?.removeBase();
    },
  };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}
