/**
 * The services as separate processes, each started and ended by the test: gateways, workers, and pools with directories of their own behind
 * one Redis and one NATS. Blobs are shared, as between hosts.
 */
import { mkdir, symlink } from 'node:fs/promises';
import path from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { createRedis } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { locate } from '@manyhands/infra';
import { type FakeModel, startFakeModel } from '@manyhands/model/testing';
import { sessionKeys, threadKeys } from '@manyhands/session-log';
import { type Service, silentLogger, spawnService, startTestNats, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { ROOT } from '../e2e/instance.ts';

export const API_KEY = 'key-of-this-test';
/** For what is not about draining: an end that waits for nobody. */
const SHORT_DRAIN_MS = '500';
const entry = (service: string) => path.join(ROOT, 'packages', service, 'dist', 'main.js');

export interface PoolOptions {
  env?: Record<string, string>;
  /** Starts an egress process of its own beside it. */
  egress?: boolean;
  /** A command that becomes each process, such as one that enters a network namespace. */
  prefix?: readonly string[];
  /** Another address of NATS, as seen from there. */
  natsUrl?: string;
}
export interface Pool {
  service: Service;
  id: string;
  /** Directories of its sandboxes. */
  sandboxes: string;
  host: string;
}
export interface Gateway {
  service: Service;
  url: string;
  client: Anthropic;
}

export interface Cluster extends AsyncDisposable {
  redisUrl: string;
  nats: { url: string };
  model: FakeModel;
  blobs: string;
  startGateway(env?: Record<string, string>): Promise<Gateway>;
  startWorker(env?: Record<string, string>): Promise<Service>;
  startPool(options?: PoolOptions): Promise<Pool>;
  /** The pid of the worker that holds the lease of a thread, the primary one if none is named; null if none does. */
  holder(sessionId: string, threadId?: string): Promise<number | null>;
  /** How often the thread's lease was taken. */
  epoch(sessionId: string, threadId: string): Promise<number>;
  /** Where the session's sandbox is, as its state has it. */
  binding(sessionId: string): Promise<{ pool_id: string | null; sandbox_id: string | null; generation: number } | null>;
  /** The newest log lines of the session's jobs, as the board shows them. */
  jobLines(sessionId: string): Promise<string[]>;
}

/** With its own Redis unless one is named. */
export async function startCluster(options: { natsUrl?: string; redisUrl?: string } = {}): Promise<Cluster> {
  const directory = await temporaryDirectory('cluster');
  const [redis, nats, model, bwrap, ripgrep] = await Promise.all([
    options.redisUrl === undefined ? startTestRedis() : { url: options.redisUrl, [Symbol.asyncDispose]: async () => {} },
    options.natsUrl === undefined ? startTestNats() : { url: options.natsUrl, [Symbol.asyncDispose]: async () => {} },
    startFakeModel({ port: 0 }),
    locate('bubblewrap'),
    locate('ripgrep'),
  ]);
  const blobs = path.join(directory.path, 'blobs');
  await mkdir(blobs);
  const reader = createRedis(redis.url, 'patient', silentLogger, 'test');
  const services: Service[] = [];
  let hosts = 0;

  async function start(name: string, env: Record<string, string>, prefix: readonly string[] = []): Promise<Service> {
    const service = await spawnService({ name, entry: entry(name), env, prefix, readyTimeoutMs: 60_000 });
    services.push(service);
    return service;
  }

  const cluster: Cluster = {
    redisUrl: redis.url,
    nats,
    model,
    blobs,
    async startGateway(env = {}) {
      const service = await start('gateway', {
        ...{ REDIS_URL: redis.url, MANYHANDS_DATA: directory.path, MANYHANDS_PORT: '0', MANYHANDS_API_KEY: API_KEY },
        ...env,
      });
      const url = `http://127.0.0.1:${service.ready['port']}`;
      return { service, url, client: new Anthropic({ baseURL: url, apiKey: API_KEY, maxRetries: 2 }) };
    },
    startWorker: (env = {}) =>
      start('harness', {
        ...{ REDIS_URL: redis.url, NATS_URL: nats.url, MANYHANDS_DATA: directory.path },
        ...{ MANYHANDS_MODEL_BASE_URL: model.url, MANYHANDS_MODEL_API_KEY: 'fake', MANYHANDS_DRAIN_MS: SHORT_DRAIN_MS },
        ...env,
      }),
    async startPool({ env = {}, egress = false, prefix = [], natsUrl = nats.url } = {}) {
      const host = `host${++hosts}`;
      const data = path.join(directory.path, host);
      await mkdir(path.join(data, 'sandboxes'), { recursive: true, mode: 0o700 });
      await symlink(blobs, path.join(data, 'blobs'));
      const common = { NATS_URL: natsUrl, MANYHANDS_DATA: data, MANYHANDS_HOST_ID: host };
      if (egress) await start('egress', common, prefix);
      const library = bwrap.env['LD_LIBRARY_PATH'];
      const service = await start(
        'sandbox-pool',
        {
          ...common,
          ...{ MANYHANDS_BWRAP: bwrap.path, MANYHANDS_RG: ripgrep.path, MANYHANDS_EGRESS: egress ? 'on' : 'off' },
          ...{ MANYHANDS_POOL_WARM: '1', MANYHANDS_POOL_MAX: '8', MANYHANDS_DRAIN_MS: SHORT_DRAIN_MS },
          ...(library ? { LD_LIBRARY_PATH: library } : {}),
          ...env,
        },
        prefix,
      );
      return { service, id: String(service.ready['pool_id']), sandboxes: path.join(data, 'sandboxes'), host };
    },
    async holder(sessionId, threadId = primaryThreadId(sessionId)) {
      const [worker, until] = await reader.hmget(threadKeys(sessionId, threadId).state, 'lease_worker', 'lease_until');
      return !worker || Number(until) < Date.now() ? null : Number(worker.split('-').at(-2));
    },
    async epoch(sessionId, threadId) {
      return Number((await reader.hget(threadKeys(sessionId, threadId).state, 'epoch')) ?? 0);
    },
    async binding(sessionId) {
      const { state } = sessionKeys(sessionId);
      const [generation, sandbox, pool] = await reader.hmget(state, 'sandbox_generation', 'sandbox_id', 'sandbox_pool');
      return generation ? { generation: Number(generation), sandbox_id: sandbox || null, pool_id: pool || null } : null;
    },
    async jobLines(sessionId) {
      const lines: string[] = [];
      for (const id of await reader.lrange('{mh-queue}:turns:active', 0, -1)) {
        const data = await reader.hget(`{mh-queue}:turns:${id}`, 'data');
        if (data?.includes(sessionId)) lines.push(...(await reader.lrange(`{mh-queue}:turns:${id}:logs`, 0, -1)));
      }
      return lines;
    },
    async [Symbol.asyncDispose]() {
      const kind = (name: string) => services.filter((service) => service.name === name);
      for (const name of ['gateway', 'harness', 'sandbox-pool', 'egress'])
        await Promise.all(kind(name).map((service) => service[Symbol.asyncDispose]()));
      reader.disconnect();
      await model.close();
      await nats[Symbol.asyncDispose]();
      await redis[Symbol.asyncDispose]();
      await directory.remove();
    },
  };
  return cluster;
}
