/**
 * `manyhands up`: one instance on one machine, as child processes (DESIGN 8). It opens the listening socket, brings Redis and NATS, starts
 * and keeps everything, says when a tool call would succeed, and ends all of it in order.
 */
import { freePort } from '@manyhands/infra';
import { PlainError } from '../usage-error.ts';
import { banner } from './banner.ts';
import { type DataDirectory, loadApiKey, loadSecrets, openDataDirectory } from './data/data-directory.ts';
import { lockDataDirectory } from './data/data-lock.ts';
import { prepareReadyFile, removeReadyFile, writeReadyFile } from './data/ready-file.ts';
import type { Environment } from './processes/child-environment.ts';
import { endLeftovers, recordProcesses } from './processes/leftovers.ts';
import { planServices, STAGE } from './processes/services.ts';
import { createSupervisor, type Supervisor } from './processes/supervisor.ts';
import { readSetting } from './read-setting.ts';
import { createSandboxSetup, type SandboxSetup } from './sandboxes/sandbox-setup.ts';
import { sandboxRemedy } from './sandboxes/sandbox-tools.ts';
import { bindListenSocket, type ListenSocket } from './servers/listen-socket.ts';
import { metricsLine, metricsPorts } from './servers/metrics-ports.ts';
import { checkOutsideServer } from './servers/outside-server.ts';
import { natsServer, redisServer } from './servers/servers.ts';
import type { UpOptions } from './up-options.ts';

/** The first that the gateway lists when it is told nothing. */
const DEFAULT_MODEL = 'claude-opus-4-8';
const PATIENCE_MS = 5_000;

export interface UpSurroundings {
  /** The user's environment, complete. */
  environment: Environment;
  cwd: string;
  /** A line of progress. */
  log: (line: string) => void;
  /** What the command prints. */
  print: (text: string) => void;
  /** Aborted when the user wants it to end. */
  stop: AbortSignal;
  /** Aborted when the user wants it to end at once. */
  stopNow: AbortSignal;
}

/** Resolves when everything has ended; rejects when the start failed (everything has ended then, too). */
export async function up(options: UpOptions, surroundings: UpSurroundings): Promise<void> {
  const { log, stop, stopNow } = surroundings;
  const data = openDataDirectory(options.dataDir);
  const lock = await lockDataDirectory(options.dataDir);
  let socket: ListenSocket | null = null;
  try {
    const apiKey = loadApiKey(data, readSetting(surroundings.environment, 'MANYHANDS_API_KEY'));
    const readyFiles = [data.readyFile, ...(options.readyFile === null ? [] : [options.readyFile])];
    for (const path of readyFiles) prepareReadyFile(path);
    socket = await bindListenSocket(options.host, options.port);
    await endLeftovers(data.processesFile, log);

    const { url } = socket;
    let ready = false;
    const supervisor = createSupervisor({
      processesFile: data.processesFile,
      log,
      onChange(processes) {
        if (ready) for (const path of readyFiles) writeReadyFile(path, { url, api_key: apiKey, console_url: null, processes });
      },
    });
    stopNow.addEventListener('abort', () => supervisor.kill(), { once: true });
    const sandboxes = createSandboxSetup({ option: options.sandbox, environment: surroundings.environment, data, supervisor, log });
    try {
      const started = startAll(options, surroundings, data, socket, apiKey, supervisor, sandboxes);
      const usesFakeModel = await untilStopped(started, stop);
      if (usesFakeModel !== STOPPED) {
        ready = true;
        for (const path of readyFiles) writeReadyFile(path, { url, api_key: apiKey, console_url: null, processes: supervisor.processes() });
        const model = listedModel(surroundings.environment) ?? DEFAULT_MODEL;
        const metrics = metricsLine(metricsPorts(options.metricsPort, options));
        if (metrics !== null) log(`metrics: ${metrics}`);
        surroundings.print(banner({ url, apiKey, dataDir: options.dataDir, model, usesFakeModel, metrics, cwd: surroundings.cwd }));
        await untilStopped(new Promise<never>(() => {}), stop);
      }
      log('stopping …');
    } finally {
      ready = false;
      // From here on nobody should find it.
      removeReadyFile(data.readyFile);
      await sandboxes.end();
      await supervisor.stop();
      recordProcesses(data.processesFile, []);
    }
    log('stopped');
  } finally {
    socket?.close();
    lock.release();
  }
}

const STOPPED = Symbol('stopped');

function untilStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T | typeof STOPPED> {
  const stopped = new Promise<typeof STOPPED>((resolve) => {
    if (stop.aborted) resolve(STOPPED);
    stop.addEventListener('abort', () => resolve(STOPPED), { once: true });
  });
  return Promise.race([work, stopped]);
}

/** Resolves when a tool call would succeed; the answer is whether the fake model is in use. */
async function startAll(
  options: UpOptions,
  { environment, log }: UpSurroundings,
  data: DataDirectory,
  socket: ListenSocket,
  apiKey: string,
  supervisor: Supervisor,
  sandboxes: SandboxSetup,
): Promise<boolean> {
  const usesFakeModel = !['MANYHANDS_MODEL_ROUTES', 'MANYHANDS_MODEL_API_KEY', 'ANTHROPIC_API_KEY', 'MANYHANDS_MODEL_BASE_URL'].some(
    (name) => readSetting(environment, name) !== undefined,
  );
  const outside = (['REDIS_URL', 'NATS_URL'] as const).map((name) => ({ name, url: readSetting(environment, name) }));
  for (const { name, url } of outside) if (url !== undefined) await checkOutsideServer(name, url);
  const [redisUrl, natsUrl, sandbox, fakeModelPort] = await Promise.all([
    serverUrl('REDIS_URL', () => redisServer(data, loadSecrets(data), options.fsync, log), STAGE.redis),
    serverUrl('NATS_URL', () => natsServer(data, loadSecrets(data), log), STAGE.nats),
    sandboxes.prepare(),
    usesFakeModel ? freePort() : null,
  ]);
  log('starting the gateway, workers, sandboxes and egress …');
  const { logs } = data;
  const plan = { options, environment, logs, redisUrl, natsUrl, apiKey, listenFd: socket.fd, sandbox, fakeModelPort };
  const waiting = new Set<string>();
  const telling = setInterval(() => log(`waiting for ${[...waiting].join(', ')} … (logs: ${logs})`), PATIENCE_MS);
  try {
    await Promise.all(
      planServices(plan).map(async ({ recipe, stage }) => {
        waiting.add(recipe.name);
        await supervisor.start(recipe, stage);
        waiting.delete(recipe.name);
      }),
    );
  } catch (error) {
    const message = (error as Error).message;
    const usesBubblewrap = sandbox['MANYHANDS_SANDBOX_DRIVER'] === 'bubblewrap';
    const remedy = usesBubblewrap && message.startsWith('sandbox-pool') ? await sandboxRemedy(options.dataDir) : null;
    throw new PlainError(remedy === null ? message : `${message}\n${remedy}`, { cause: error });
  } finally {
    clearInterval(telling);
  }
  return usesFakeModel;

  async function serverUrl(name: string, make: () => ReturnType<typeof redisServer>, stage: number): Promise<string> {
    const url = readSetting(environment, name);
    if (url !== undefined) return url;
    const server = make();
    await supervisor.start(server, stage).catch((error: unknown) => {
      throw new PlainError((error as Error).message, { cause: error });
    });
    return server.url();
  }
}

/** The first id of MANYHANDS_MODELS, which is a JSON array or separated by commas. */
function listedModel(environment: Environment): string | undefined {
  return /[^\s,"[\]]+/.exec(readSetting(environment, 'MANYHANDS_MODELS') ?? '')?.[0];
}
