/** A whole gateway on a private Redis, the official SDK in front of it, and a session writer that plays the worker. */
import Anthropic from '@anthropic-ai/sdk';
import { createLogger, createMetrics, createRedis, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { type EventBody, type KeyScope, type PreviewFrame, primaryThreadId } from '@manyhands/contract';
import { priceTableOf } from '@manyhands/model/prices';
import { type AppendBatch, type AppendEntry, createFeed, createSessionLog, createSessionWriter, type Lease } from '@manyhands/session-log';
import { createAgentStore, createApiKeyStore, createEnvironmentStore, createFileStore } from '@manyhands/store';
import { silentLogger, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { createTurnQueue } from '@manyhands/turn-queue';
import { createGateway, createGatewayMetrics, DEFAULT_MODELS, type GatewayOptions } from '../src/index.ts';

export const WORKSPACE = 'wrkspc_test';

export async function startGateway(options: Partial<GatewayOptions> & { logLines?: string[] } = {}) {
  const server = await startTestRedis();
  const directory = await temporaryDirectory('gateway');
  const { logLines, ...gatewayOptions } = options;
  const log = logLines ? createLogger('gateway', 'info') : silentLogger;
  if (logLines) {
    const stream = log as unknown as Record<symbol, unknown>;
    for (const symbol of Object.getOwnPropertySymbols(log)) {
      if (symbol.description === 'pino.stream') stream[symbol] = { write: (line: string) => void logLines.push(line) };
    }
  }
  const redis = createRedis(server.url, 'finite', silentLogger, 'gateway');
  const queueRedis = createRedis(server.url, 'finite', silentLogger, 'gateway-queue');
  const testRedis = createRedis(server.url, 'patient', silentLogger, 'test');
  const blobs = createDirectoryBlobStore(directory.path);
  const clock = systemClock;
  const ids = randomIds;
  const hourNano = 0;
  const sessionLog = createSessionLog({ redis, blobs, clock, ids, log, hourNano });
  const writer = createSessionWriter({ redis: testRedis, blobs, ids, hourNano });
  const feed = createFeed({ redisUrl: server.url, redis, blobs, log: silentLogger });
  const turnQueue = createTurnQueue(queueRedis);
  const apiKeys = createApiKeyStore(redis, clock, ids);
  const agents = createAgentStore(redis, clock, ids);
  const environments = createEnvironmentStore(redis, clock, ids);
  const files = createFileStore(redis, blobs, clock);
  const metrics = createGatewayMetrics(createMetrics('gateway'), { turnQueue, clock });
  const prices = priceTableOf(undefined);
  const deps = { redis, prices, agents, environments, files, blobs, apiKeys, sessionLog, feed, turnQueue, metrics, clock, ids, log };
  const app = createGateway(deps, { models: DEFAULT_MODELS, adminWritable: false, ...gatewayOptions });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });

  const makeKey = async (workspaceId: string, scopes: KeyScope[]) => (await apiKeys.create(workspaceId, { name: 'test', scopes })).key;
  const key = await makeKey(WORKSPACE, ['api']);
  const operatorKey = await makeKey(WORKSPACE, ['api', 'operator']);
  const sdk = (apiKey = key, more: Record<string, unknown> = {}) => new Anthropic({ baseURL: url, apiKey, maxRetries: 0, ...more });
  const client = sdk();
  let epochAppends = new Map<string, number>();

  return {
    ...deps,
    server,
    testRedis,
    writer,
    app,
    url,
    key,
    operatorKey,
    makeKey,
    sdk,
    client,
    /** A plain request with the ordinary key. */
    fetch: (path: string, init: RequestInit = {}) =>
      fetch(url + path, { ...init, headers: { authorization: `Bearer ${key}`, ...(init.headers as Record<string, string>) } }),
    post: (path: string, body: unknown, headers: Record<string, string> = {}) =>
      fetch(url + path, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    async agent(fields: Record<string, unknown> = {}) {
      return client.beta.agents.create({ name: 'worker', model: 'claude-opus-4-8', ...fields });
    },
    async environment() {
      return client.beta.environments.create({ name: 'env' });
    },
    async session(fields: Record<string, unknown> = {}) {
      const [agent, environment] = await Promise.all([this.agent(), this.environment()]);
      return client.beta.sessions.create({ agent: agent.id, environment_id: environment.id, ...fields });
    },
    send: (sessionId: string, text: string) =>
      client.beta.sessions.events.send(sessionId, { events: [{ type: 'user.message', content: [{ type: 'text', text }] }] }),

    /** What a worker does, in small. A session without work gets some, as if a message had come that no stream shows. */
    async acquire(sessionId: string): Promise<Lease> {
      const threadId = primaryThreadId(sessionId);
      const acquire = () => writer.acquire({ sessionId, threadId, workspaceId: WORKSPACE }, 'worker', 30_000);
      let got = await acquire();
      if ('nothing' in got) {
        const [state] = await testRedis.keys(`mh:*:2:${sessionId}:state`);
        await testRedis.hset(state!, 'status', 'running', 'running', '1', 'told', 'running');
        await testRedis.hset(state!.replace(/state$/, `t:${threadId}:state`), 'status', 'running');
        got = await acquire();
      }
      if (!('lease' in got)) throw new Error(`no lease: ${JSON.stringify(got)}`);
      epochAppends.set(`${sessionId}/${got.lease.epoch}`, 0);
      return got.lease;
    },
    async append(lease: Lease, entries: AppendEntry[], more: Omit<AppendBatch, 'entries'> = {}) {
      const place = `${lease.sessionId}/${lease.epoch}`;
      const n = (epochAppends.get(place) ?? 0) + 1;
      epochAppends.set(place, n);
      const result = await writer.append(lease, n, { entries, ...more });
      if (result.outcome !== 'applied') throw new Error(`append: ${result.outcome}`);
      return result;
    },
    event: (body: EventBody, position = 0) => ({ event: { id: randomIds.eventId(position), body } }),
    /** Takes up what is queued and ends the turn. */
    async turn(sessionId: string, bodies: EventBody[] = [{ type: 'agent.message', content: [{ type: 'text', text: 'done' }] }]) {
      const lease = await this.acquire(sessionId);
      const pending = await sessionLog.pending(sessionId);
      await this.append(lease, [...pending.map(({ position }) => ({ processed: position })), ...bodies.map((body) => this.event(body))]);
      await this.append(lease, [], { idle: { stop: { type: 'end_turn' }, known: Number.MAX_SAFE_INTEGER, captured: 0 } });
      await writer.release(lease, 'done');
    },
    preview: (sessionId: string, frames: PreviewFrame[]) => writer.preview({ sessionId, threadId: primaryThreadId(sessionId) }, frames),

    async [Symbol.asyncDispose]() {
      epochAppends = new Map();
      await app.close();
      await feed.close();
      await turnQueue.close();
      for (const connection of [redis, queueRedis, testRedis]) connection.disconnect();
      await server[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}
export type GatewayFixture = Awaited<ReturnType<typeof startGateway>>;

/** Everything in Redis but the times that requests leave, to show that a refusal changed nothing. */
export async function contents({ testRedis }: GatewayFixture): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await testRedis.keys('mh:*')).sort()) found[name] = String(await testRedis.dumpBuffer(name));
  return found;
}
