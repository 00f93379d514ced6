/**
 * The one door to a Docker engine. Every call has a deadline (a hung runtime blocks the engine's answer for ever, SANDBOX 3), and every
 * failure becomes an AppError that says what to do:
 *
 *   `unavailable`    the engine does not answer or is restarting; says nothing about its containers. `details.reason` is `unreachable`.
 *   `timeout`        it did not answer in time; whether the act was done is not known.
 *   `configuration`  no permission, too old, not Linux.
 *   `internal`       it refused; `details.status` is the HTTP status.
 */
import { AppError, ensureError, pause } from '@manyhands/base';
import Docker from 'dockerode';
import type { EngineAddress } from './engine-address.ts';

export const CALL_DEADLINE_MS = 20_000;
/** How long a call waits for an engine that is away: a restart takes about 16 s when its helper is still ending (SANDBOX 5). */
export const AWAY_PATIENCE_MS = 30_000;
const AWAY_PAUSE_MS = 250;
/** Docker 20.10. */
const OLDEST_API = [1, 41] as const;

export interface CallOptions {
  deadlineMs?: number;
  /** How long to go on trying while the engine is away; not at all if not given. Only for what may be repeated. */
  patienceMs?: number;
}

export interface Engine {
  readonly host: string;
  /** `signal` ends the request at the deadline; it goes into the options of the dockerode call. */
  call<T>(what: string, work: (docker: Docker, signal: AbortSignal) => Promise<T>, options?: CallOptions): Promise<T>;
}

/** Facts of the engine that decide what can be done with it. */
export interface EngineFacts {
  version: string;
  api: string;
  architecture: string;
  runtimes: string[];
  /** Container networks by name. */
  networks: string[];
}

/** dockerode fills in what is missing from the environment of the process; only the address given counts. */
const NOTHING_FROM_ENVIRONMENT = Object.fromEntries(
  ['host', 'port', 'protocol', 'socketPath', 'ca', 'cert', 'key', 'timeout', 'username', 'pathPrefix', 'sshOptions'].map((name) => [
    name,
    undefined,
  ]),
);

export function connectEngine(address: EngineAddress): Engine {
  const docker = new Docker({ ...NOTHING_FROM_ENVIRONMENT, ...address.options });

  async function once<T>(what: string, work: (docker: Docker, signal: AbortSignal) => Promise<T>, deadlineMs: number): Promise<T> {
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new AppError('timeout', `the Docker engine at ${address.host} did not answer within ${deadlineMs} ms: ${what}`));
        abort.abort();
      }, deadlineMs);
    });
    try {
      return await Promise.race([work(docker, abort.signal), tooLate]);
    } catch (error) {
      throw error instanceof AppError ? error : explainEngineError(what, error, address.host);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    host: address.host,
    async call(what, work, { deadlineMs = CALL_DEADLINE_MS, patienceMs = 0 } = {}) {
      const giveUpAtMs = performance.now() + patienceMs;
      for (;;) {
        try {
          return await once(what, work, deadlineMs);
        } catch (error) {
          if (!isEngineAway(error) || performance.now() >= giveUpAtMs) throw error;
          await pause(AWAY_PAUSE_MS);
        }
      }
    },
  };
}

/** Whether the failure says nothing but that the engine is not there at the moment. */
export function isEngineAway(error: unknown): boolean {
  return error instanceof AppError && error.code === 'unavailable' && error.details['reason'] === 'unreachable';
}
/** Whether the engine answered with this HTTP status. */
export function hasStatus(error: unknown, ...statuses: number[]): boolean {
  return error instanceof AppError && statuses.includes(error.details['status'] as number);
}

const AWAY_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN']);
/** What an engine says while it or its containerd is going down or coming up. */
const AWAY_WORDS =
  /socket hang up|containerd.*(connection refused|no such file)|transport is closing|error while dialing|server (is|was) (closed|shut)|ttrpc: closed/i;
const START_IT = 'Start the engine, or set DOCKER_HOST to where it listens.';
const REMEDIES: [sign: RegExp, remedy: string][] = [
  [/no space left on device|disk quota/i, 'The disk of the engine is full: free space there (`docker system df`, `docker system prune`).'],
  [
    /cannot allocate memory|out of memory/i,
    'The host of the engine is out of memory: lower MANYHANDS_POOL_MAX or MANYHANDS_SANDBOX_MEMORY_MB.',
  ],
  [
    /unknown (or invalid )?runtime|runtime.*(not found|not installed)/i,
    'The engine does not know the runtime: register it in its daemon.json under "runtimes", or unset MANYHANDS_SANDBOX_RUNTIME.',
  ],
  [
    /bind source path does not exist|not shared from the host/i,
    "The engine does not see the pool's data directory: MANYHANDS_DATA must be the same path, and the same files, on the engine's host.",
  ],
  [
    /too many open files|resource temporarily unavailable/i,
    'The host of the engine is at a limit of its own: raise it, or lower MANYHANDS_POOL_MAX.',
  ],
];

export function explainEngineError(what: string, thrown: unknown, host: string): AppError {
  const error = ensureError(thrown) as Error & { code?: string; statusCode?: number; json?: unknown };
  const status = error.statusCode;
  if (status === undefined) {
    if (error.code === 'EACCES' || error.code === 'EPERM')
      return new AppError(
        'configuration',
        `DOCKER_HOST: no permission to use the Docker engine at ${host}. Add the user to the group that owns the socket ` +
          '(usually `usermod -aG docker USER`, then log in anew), or run the pool as root.',
        { cause: error },
      );
    if ((error.code && AWAY_CODES.has(error.code)) || AWAY_WORDS.test(error.message))
      return new AppError('unavailable', `no Docker engine answers at ${host} (${error.code ?? error.message}): ${what}. ${START_IT}`, {
        cause: error,
        details: { reason: 'unreachable' },
      });
    return new AppError('unavailable', `the Docker engine at ${host} cannot be used: ${error.message}: ${what}`, { cause: error });
  }
  const said = saidBy(error.json) ?? error.message.replace(/^\(HTTP code \d+\) [^-]*- /, '').trim();
  if (status >= 500 && AWAY_WORDS.test(said))
    return new AppError('unavailable', `the Docker engine at ${host} is starting or ending: ${said}`, {
      cause: error,
      details: { reason: 'unreachable', status },
    });
  const remedy = REMEDIES.find(([sign]) => sign.test(said))?.[1];
  return new AppError('internal', `the Docker engine refused (${what}): ${said}${remedy ? `\n${remedy}` : ''}`, {
    cause: error,
    details: { status },
  });
}

function saidBy(json: unknown): string | null {
  const message = (json as { message?: unknown } | null)?.message;
  return typeof message === 'string' ? message.trim() : null;
}

/** Proves that the engine is there, new enough and of Linux. Throws `configuration` with the remedy. */
export async function engineFacts(engine: Engine, patienceMs = 0): Promise<EngineFacts> {
  try {
    const version = await engine.call('version', (docker) => docker.version(), { patienceMs });
    const [major = 0, minor = 0] = version.ApiVersion.split('.').map(Number);
    if (version.Os !== 'linux')
      throw new AppError('configuration', `DOCKER_HOST: the engine at ${engine.host} runs ${version.Os} containers; sandboxes need Linux`);
    if (major < OLDEST_API[0] || (major === OLDEST_API[0] && minor < OLDEST_API[1]))
      throw new AppError(
        'configuration',
        `DOCKER_HOST: the engine at ${engine.host} is ${version.Version} with API ${version.ApiVersion}; Docker 20.10 (API 1.41) or later is needed`,
      );
    const [info, networks] = await Promise.all([
      engine.call('info', (docker) => docker.info() as Promise<{ Runtimes?: Record<string, unknown> }>),
      engine.call('networks', (docker, abortSignal) => docker.listNetworks({ abortSignal })),
    ]);
    return {
      version: version.Version,
      api: version.ApiVersion,
      architecture: version.Arch,
      runtimes: Object.keys(info.Runtimes ?? {}),
      networks: networks.map(({ Name }) => Name),
    };
  } catch (error) {
    if (!isEngineAway(error)) throw error;
    throw new AppError(
      'configuration',
      `${(error as AppError).message} Sandboxes without an engine: MANYHANDS_SANDBOX_DRIVER=bubblewrap.`,
      { cause: error },
    );
  }
}
