/**
 * A private installation for one test file: real processes from the build, each with its own environment, found and ended by role.
 *
 *   gateway   Redis and gateways: resources, streams, everything that needs no worker
 *   turns     + NATS, the fake model and harness workers: turns without a sandbox
 *   full      + egress and a bubblewrap sandbox pool: tools
 *
 * Nothing is shared between files, so they may run side by side. What the processes wrote is shown for failed tests only.
 */
import path from 'node:path';
import Anthropic, { type ClientOptions } from '@anthropic-ai/sdk';
import { createRedis, randomIds, systemClock } from '@manyhands/base';
import type { KeyScope } from '@manyhands/contract';
import { locate } from '@manyhands/infra';
import { createApiKeyStore } from '@manyhands/store';
import {
  type Service,
  silentLogger,
  spawnService,
  startTestNats,
  startTestRedis,
  type TestServer,
  temporaryDirectory,
} from '@manyhands/test-kit';
import { watch } from './observe.ts';

const PACKAGES = path.resolve(import.meta.dirname, '..', '..', 'packages');
export const OPERATOR_KEY = 'mh-conformance-operator-0123456789';
const SHOWN_CHARACTERS = 6_000;

const ENTRIES = {
  gateway: 'gateway/dist/main.js',
  harness: 'harness/dist/main.js',
  'sandbox-pool': 'sandbox-pool/dist/main.js',
  egress: 'egress/dist/main.js',
  'fake-model': 'model/dist/fake/main.js',
} as const;
export type Role = keyof typeof ENTRIES;
export type Tier = 'gateway' | 'turns' | 'full';

/** Retries and back-offs short enough for tests; everything else as in production. */
const FAST: Partial<Record<Role, Record<string, string>>> = {
  harness: { MANYHANDS_MODEL_RETRY_BASE_MS: '20', MANYHANDS_MODEL_RETRY_CAP_MS: '100', MANYHANDS_MODEL_ATTEMPTS: '3' },
  'sandbox-pool': { MANYHANDS_POOL_WARM: '1' },
};

export interface StackOptions {
  tier: Tier;
  /** Processes per role; one of each that the tier has by default. */
  count?: Partial<Record<'gateway' | 'harness', number>>;
  /** More environment for a role. */
  env?: Partial<Record<Role, Record<string, string>>>;
}

export interface Stack extends AsyncDisposable {
  readonly redis: TestServer;
  readonly nats: TestServer | null;
  /** Directory of blobs and sandboxes. */
  readonly data: string;
  /** Of gateway `n`, counted from 0. */
  url(n?: number): string;
  /** Of the fake model. */
  readonly fakeModelUrl: string;
  /** The SDK with the operator's key and no retries of its own, unless `options` say otherwise; what it is answered is watched. */
  client(options?: ClientOptions): Anthropic;
  /** The processes of a role, in order of start. */
  services(role: Role): readonly Service[];
  service(role: Role, n?: number): Service;
  /** Starts one more process of a role and returns it. */
  add(role: Role, env?: Record<string, string>): Promise<Service>;
  /** Ends a process with kill -9 unless another signal is given; it is not started again. */
  kill(role: Role, n?: number, signal?: NodeJS.Signals): Promise<void>;
  /** Ends a process and starts it anew with the same environment, a gateway on the same port. */
  restart(role: Role, n?: number, signal?: NodeJS.Signals): Promise<Service>;
  /** Makes a key in any workspace, as an operator of that workspace would. */
  key(workspaceId: string, scopes?: KeyScope[]): Promise<string>;
  /** What the processes wrote last, one section each. */
  logs(): string;
}

interface Running {
  service: Service;
  env: Record<string, string>;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const running = new Map<Role, Running[]>();
  const started = new Map<Role, number>();
  const closers: (() => PromiseLike<void>)[] = [];
  let ended = '';
  /** Last opened, first closed; a closer that fails does not keep the others from running. */
  async function close(): Promise<void> {
    const problems: unknown[] = [];
    const services = ['gateway', 'harness', 'sandbox-pool', 'egress', 'fake-model'] as const;
    for (const role of services) {
      const all = running.get(role) ?? [];
      for (const result of await Promise.allSettled(all.map(({ service }) => service[Symbol.asyncDispose]())))
        if (result.status === 'rejected') problems.push(result.reason);
    }
    for (const closer of closers.splice(0).toReversed()) await Promise.resolve(closer()).catch((error: unknown) => problems.push(error));
    if (problems.length > 0) throw new AggregateError(problems, 'the stack did not end cleanly');
  }

  try {
    const directory = await temporaryDirectory('stack');
    closers.push(() => directory.remove());
    const redis = await startTestRedis();
    closers.push(() => redis[Symbol.asyncDispose]());
    const nats = options.tier === 'gateway' ? null : await startTestNats();
    if (nats) closers.push(() => nats[Symbol.asyncDispose]());
    const data = path.join(directory.path, 'data');
    let fakeModelUrl = '';

    async function environment(role: Role): Promise<Record<string, string>> {
      const common = { MANYHANDS_DATA: data, MANYHANDS_LOG_LEVEL: 'info', REDIS_URL: redis.url, NATS_URL: nats?.url ?? '' };
      const own: Partial<Record<Role, () => Promise<Record<string, string>>>> = {
        gateway: async () => ({ MANYHANDS_PORT: '0', MANYHANDS_API_KEY: OPERATOR_KEY }),
        harness: async () => ({ MANYHANDS_MODEL_BASE_URL: fakeModelUrl, MANYHANDS_MODEL_API_KEY: 'fake' }),
        'sandbox-pool': sandboxPrograms,
      };
      return { ...common, ...(await own[role]?.()), ...FAST[role], ...options.env?.[role] };
    }
    async function start(role: Role, env: Record<string, string>): Promise<Service> {
      const number = (started.get(role) ?? 0) + 1;
      started.set(role, number);
      const service = await spawnService({ name: `${role}-${number}`, entry: path.join(PACKAGES, ENTRIES[role]), env });
      // Several may be starting at once: the list is read after the wait.
      running.set(role, [...(running.get(role) ?? []), { service, env }]);
      return service;
    }
    const first = async (role: Role) => start(role, await environment(role));

    if (options.tier !== 'gateway') fakeModelUrl = String((await first('fake-model')).ready['url']);
    const wanted: Role[] = Array.from({ length: options.count?.gateway ?? 1 }, () => 'gateway' as const);
    if (options.tier !== 'gateway') wanted.push(...Array.from({ length: options.count?.harness ?? 1 }, () => 'harness' as const));
    if (options.tier === 'full') wanted.push('egress');
    // All of them are awaited, so that a failed start leaves none behind.
    for (const result of await Promise.allSettled(wanted.map(first))) if (result.status === 'rejected') throw result.reason;
    if (options.tier === 'full') await first('sandbox-pool');

    function at(role: Role, n: number): Running {
      const found = running.get(role)?.[n];
      if (!found) throw new Error(`this stack has no ${role} ${n}`);
      return found;
    }
    const url = (n = 0) => `http://127.0.0.1:${String(at('gateway', n).service.ready['port'])}`;

    return {
      redis,
      nats,
      data,
      url,
      fakeModelUrl,
      client: (more = {}) =>
        new Anthropic({ baseURL: url(), apiKey: OPERATOR_KEY, maxRetries: 0, ...more, fetch: watch(more.fetch ?? fetch) }),
      services: (role) => (running.get(role) ?? []).map(({ service }) => service),
      service: (role, n = 0) => at(role, n).service,
      async add(role, env = {}) {
        return start(role, { ...(await environment(role)), ...env });
      },
      async kill(role, n = 0, signal = 'SIGKILL') {
        await at(role, n).service.kill(signal);
      },
      async restart(role, n = 0, signal = 'SIGKILL') {
        const before = at(role, n);
        await before.service.kill(signal);
        ended += section(before.service);
        const port = before.service.ready['port'];
        const env = role === 'gateway' ? { ...before.env, MANYHANDS_PORT: String(port) } : before.env;
        const service = await spawnService({ name: before.service.name, entry: path.join(PACKAGES, ENTRIES[role]), env });
        running.get(role)![n] = { service, env };
        return service;
      },
      async key(workspaceId, scopes = ['api']) {
        const connection = createRedis(redis.url, 'finite', silentLogger, 'test');
        try {
          return (await createApiKeyStore(connection, systemClock, randomIds).create(workspaceId, { name: 'test', scopes })).key;
        } finally {
          connection.disconnect();
        }
      },
      logs: () => ended + [...running.values()].flatMap((list) => list.map(({ service }) => section(service))).join(''),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
}

async function sandboxPrograms(): Promise<Record<string, string>> {
  const [bwrap, ripgrep] = await Promise.all([locate('bubblewrap'), locate('ripgrep')]);
  return { ...bwrap.env, MANYHANDS_BWRAP: bwrap.path, MANYHANDS_RG: ripgrep.path };
}

function section(service: Service): string {
  return `--- ${service.name} (pid ${service.pid})\n${service.output().slice(-SHOWN_CHARACTERS)}\n`;
}
