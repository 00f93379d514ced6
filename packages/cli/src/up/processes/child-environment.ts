/**
 * The environment of each process (DESIGN 7): nothing is inherited but these names. The model key reaches the harness only, the key of
 * the search provider egress only, the API key the gateway only, the Redis password harness and gateway only. Every name may also come as NAME_FILE.
 */
import { readFileSync } from 'node:fs';

/** Variables that any Node process needs. */
const SURROUNDINGS = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'LANG',
  'LC_ALL',
  'LC_CTYPE',
  'TZ',
  'TMPDIR',
  'XDG_CACHE_HOME',
  'XDG_RUNTIME_DIR',
  'LD_LIBRARY_PATH',
  'NODE_OPTIONS',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'MANYHANDS_TEST_RUN',
] as const;
const PROXY = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy', 'NODE_USE_ENV_PROXY'] as const;

export type ServiceKind = 'gateway' | 'harness' | 'sandbox-pool' | 'egress' | 'fake-model';

/** The user's settings that a kind of process reads. */
const SETTINGS: Readonly<Record<ServiceKind, readonly string[]>> = {
  gateway: ['MANYHANDS_MODELS', 'MANYHANDS_ADMIN_WRITABLE', 'MANYHANDS_PRICES'],
  harness: [
    'MANYHANDS_MODEL_BASE_URL',
    'MANYHANDS_MODEL_API_KEY',
    'ANTHROPIC_API_KEY',
    'MANYHANDS_MODEL_ROUTES',
    'MANYHANDS_PRICES',
    'MANYHANDS_CONTEXT_WINDOW',
    'MANYHANDS_TOOL_ROUNDS',
    'MANYHANDS_MODEL_MAX_TOKENS',
    'MANYHANDS_MODEL_ATTEMPTS',
    'MANYHANDS_MODEL_RETRY_BASE_MS',
    'MANYHANDS_MODEL_RETRY_CAP_MS',
    'MANYHANDS_WORKER_CONCURRENCY',
  ],
  'sandbox-pool': [
    'MANYHANDS_HOST_ID',
    'MANYHANDS_HAND',
    'MANYHANDS_POOL_WARM',
    'MANYHANDS_POOL_MAX',
    'MANYHANDS_SANDBOX_GRACE_MS',
    'MANYHANDS_SANDBOX_IDLE_MS',
    'MANYHANDS_SANDBOX_MEMORY_MB',
    'MANYHANDS_SANDBOX_PIDS',
    'MANYHANDS_SANDBOX_RUNTIME',
    'MANYHANDS_EGRESS',
  ],
  egress: [
    'MANYHANDS_HOST_ID',
    'MANYHANDS_EGRESS_EXTRA_DENY',
    'MANYHANDS_SEARCH_PROVIDER',
    'MANYHANDS_SEARCH_API_KEY',
    'MANYHANDS_SEARCH_BASE_URL',
  ],
  'fake-model': [],
};
const REACHES_OUT: ReadonlySet<ServiceKind> = new Set(['harness']);
/** TLS settings of the Docker engine whose address is given. */
const ENGINE = ['DOCKER_TLS_VERIFY', 'DOCKER_CERT_PATH'] as const;

export type Environment = Readonly<Record<string, string | undefined>>;

/** What `up` itself keeps, and with it the servers and tools it starts: enough to find, fetch and run them, and no secret. */
const LAUNCHER = [...SURROUNDINGS, ...PROXY, 'SHELL', 'TERM', 'APT_CONFIG'] as const;

/** Takes everything else out of `environment` and returns how it was before. */
export function narrowEnvironment(environment: Record<string, string | undefined>): Environment {
  const before = { ...environment };
  const keep = new Set<string>(LAUNCHER);
  for (const name of Object.keys(environment)) if (!keep.has(name)) delete environment[name];
  return before;
}

/** Everything a process of that kind gets; `own` wins. */
export function childEnvironment(kind: ServiceKind, from: Environment, own: Readonly<Record<string, string>>): Record<string, string> {
  const settings = SETTINGS[kind].flatMap((name) => [name, `${name}_FILE`]);
  return {
    ...pick(from, SURROUNDINGS),
    ...pick(from, REACHES_OUT.has(kind) ? PROXY : []),
    ...pick(from, settings),
    ...pick(from, kind === 'sandbox-pool' ? ENGINE : []),
    ...pick(from, kind === 'harness' ? modelKeyNames(from) : []),
    MANYHANDS_WATCH_PARENT: '1',
    MANYHANDS_READY_FD: '3',
    ...own,
  };
}

/** Variables that hold keys of model upstreams, as the routes name them. What is wrong with routes is told by the process that uses them. */
function modelKeyNames(from: Environment): string[] {
  const file = from['MANYHANDS_MODEL_ROUTES_FILE'];
  try {
    const text = file ? readFileSync(file, 'utf8') : (from['MANYHANDS_MODEL_ROUTES'] ?? '{}');
    const { upstreams } = JSON.parse(text) as { upstreams?: Record<string, { api_key_env?: unknown }> };
    return Object.values(upstreams ?? {}).flatMap(({ api_key_env: name }) => (typeof name === 'string' ? [name] : []));
  } catch {
    return [];
  }
}

/** For the program that makes the base image: what it needs besides the engine's address. */
export function engineEnvironment(from: Environment): Record<string, string> {
  return pick(from, ENGINE);
}

function pick(from: Environment, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = from[name];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
}
