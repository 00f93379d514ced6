/**
 * Sessions, their clients, and workers that die where they are told to: the real log on a private Redis, the real feed, the real model double. A
 * thread's due mark stands for its wake-up: who looks at the marks need not wait for a queue or a sweep.
 */
import { connectMessaging, createMetrics, createRedis, randomIds, systemClock } from '@manyhands/base';
import { type BlobStore, createDirectoryBlobStore } from '@manyhands/blobs';
import {
  type Budget,
  type ClientEventBody,
  primaryThreadId,
  resolveTools,
  type SessionAgent,
  type SessionEvent,
  ToolsIn,
} from '@manyhands/contract';
import { createAnthropicModel, priceTableOf } from '@manyhands/model';
import { type FakeScript, fakeScript, startFakeModel } from '@manyhands/model/testing';
import {
  createFeed,
  createSessionLog,
  createSessionWriter,
  type Feed,
  type SessionRecord,
  type SessionWriter,
  type ThreadRecord,
} from '@manyhands/session-log';
import { createEnvironmentStore, createFileStore } from '@manyhands/store';
import { silentLogger, startTestNats, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { createContextMemory } from '../src/context/context-memory.ts';
import { harnessEnv, settingsOf } from '../src/env.ts';
import { createHarnessMetrics } from '../src/metrics.ts';
import { type RunEnd, runThread } from '../src/thread/thread-run.ts';
import type { HarnessDeps } from '../src/thread/turn.ts';

export const WORKSPACE = 'wrkspc_test';

export const custom = (name: string) => ({ type: 'custom', name, description: `Does ${name}.`, input_schema: { type: 'object' } });
export const builtin = (name: string, policy: 'always_allow' | 'always_ask' | 'auto') => ({
  type: 'agent_toolset_20260401',
  default_config: { enabled: false },
  configs: [{ name, enabled: true, permission_policy: { type: policy } }],
});

export const confirm = (id: string, result: 'allow' | 'deny', deny_message?: string): ClientEventBody => ({
  type: 'user.tool_confirmation',
  tool_use_id: id,
  result,
  ...(deny_message === undefined ? {} : { deny_message }),
});
export const answer = (id: string, text: string): ClientEventBody => ({
  type: 'user.custom_tool_result',
  custom_tool_use_id: id,
  content: [{ type: 'text', text }],
});
export const INTERRUPT: ClientEventBody = { type: 'user.interrupt', session_thread_id: null };
export function script(steps: FakeScript, said = 'go'): ClientEventBody {
  return { type: 'user.message', content: [{ type: 'text', text: fakeScript(steps, said) }] };
}
/** One request of the double costs more than a cent. */
export const cents = (amount: number): Budget => ({ type: 'limit', max_list_cost: { amount: String(amount), currency: 'USD' } });
const RATE = '100000';
const PRICES = JSON.stringify({
  models: { double: { input: RATE, output: RATE, cache_write_5m: RATE, cache_write_1h: RATE, cache_read: RATE } },
});

/** Where a worker dies: at its n-th append (of this thread, or of any), just before or just after the log has it. */
export interface Death {
  append: number;
  when: 'before' | 'after';
  thread?: string;
}
class Died extends Error {}

/** How a worker is: when it dies, what happens as soon as the log has its session's n-th append, what it uses instead of the usual. */
export interface Worker {
  death?: Death | null;
  onAppend?: (n: number, threadId: string) => Promise<void>;
  deps?: Partial<HarnessDeps>;
}

export type Parking = Awaited<ReturnType<typeof startParking>>;
export type Session = Awaited<ReturnType<Parking['session']>>;

/** A blob store that is away when `outage` says so, and takes its time as `slow` does. */
function breakable(store: BlobStore) {
  const faults = {
    outage: (_operation: string, _key: string): Error | null => null,
    slow: null as ((operation: string, key: string) => Promise<void>) | null,
  };
  const through =
    <A extends [string, ...unknown[]], T>(operation: string, call: (...args: A) => Promise<T>) =>
    async (...args: A): Promise<T> => {
      const error = faults.outage(operation, args[0]);
      if (error) throw error;
      await faults.slow?.(operation, args[0]);
      return call(...args);
    };
  const blobs: BlobStore = {
    ...store,
    put: through('put', store.put),
    get: through('get', store.get),
    open: through('open', store.open),
    copy: through('copy', store.copy),
    async *list(prefix) {
      const error = faults.outage('list', prefix);
      if (error) throw error;
      yield* store.list(prefix);
    },
  };
  return { blobs, faults };
}
/** What a disk says that is away. */
export function diskError(): Error {
  return Object.assign(new Error('EIO: i/o error, open'), { code: 'EIO', errno: -5, syscall: 'open' });
}

/** A feed that counts who follows. */
function counted(feed: Feed) {
  const open = { now: 0 };
  const count = <T extends { close(): void }>(subscription: T) => {
    let closed = false;
    open.now++;
    return {
      close() {
        if (!closed) open.now--;
        closed = true;
        subscription.close();
      },
    };
  };
  const counting: Feed = {
    ...feed,
    follow: (...args) => count(feed.follow(...args)),
    previews: (...args) => count(feed.previews(...args)),
    interrupts: (...args) => count(feed.interrupts(...args)),
  };
  return { feed: counting, open };
}

export async function startParking() {
  const [server, nats, directory, double] = await Promise.all([
    startTestRedis(),
    startTestNats(),
    temporaryDirectory('harness'),
    startFakeModel({ port: 0 }),
  ]);
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const messaging = await connectMessaging(nats.url, silentLogger, 'test');
  const { blobs, faults } = breakable(createDirectoryBlobStore(directory.path));
  const prices = priceTableOf(PRICES);
  const shared = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger, hourNano: prices.runtimeCost(3_600_000) };
  const log = createSessionLog(shared);
  const writer = createSessionWriter(shared);
  const { feed, open: followers } = counted(createFeed({ redisUrl: server.url, redis, blobs, log: silentLogger }));
  /** Threads that an append gave work, as the queue would be told. */
  const woken: string[] = [];
  const deps: HarnessDeps = {
    log,
    writer,
    feed,
    blobs,
    environments: createEnvironmentStore(redis, systemClock, randomIds),
    files: createFileStore(redis, blobs, systemClock),
    model: createAnthropicModel({ baseUrl: double.url, apiKey: 'double', log: silentLogger }),
    contextWindow: () => 200_000,
    prices,
    messaging,
    contexts: createContextMemory(),
    wake: (_place, threadIds) => void woken.push(...threadIds),
    clock: systemClock,
    ids: randomIds,
    logger: silentLogger,
    metrics: createHarnessMetrics(createMetrics('harness')),
    settings: { ...settingsOf(harnessEnv.parse({}), 'test'), maxTokens: 64_000, retryBaseMs: 1, retryCapMs: 5 },
  };

  async function session(tools: object[], { budget = null }: { budget?: Budget | null } = {}) {
    const agent: SessionAgent = {
      type: 'agent',
      id: 'agent_test',
      version: 1,
      name: 'tester',
      description: null,
      system: null,
      model: { id: 'double', effort: { type: 'high' } },
      tools: resolveTools(ToolsIn.parse(tools)),
      mcp_servers: [],
      skills: [],
      multiagent: null,
      execution_identity: { type: 'service_account' },
    };
    const record: SessionRecord = { id: randomIds.id('session'), workspace_id: WORKSPACE, agent, environment_id: 'env_test' };
    await log.create({ record, title: null, metadata: {}, initialEvents: [], budget, begunAtMs: Date.now() });
    const { id } = record;
    const primary = primaryThreadId(id);
    const [stateKey] = await redis.keys(`mh:*:${id}:state`);
    const base = stateKey!.slice(0, -':state'.length);
    const dueKey = `${stateKey!.slice(0, stateKey!.indexOf(':2:'))}:due`;
    const appends = new Map<string, number>();
    let sends = 0;
    let lastSend: Parameters<typeof log.send>[0] | null = null;

    /** The writer of a worker that dies: nothing it does counts after that. */
    function mortal(threadId: string, { death = null, onAppend, deps: own }: Worker): { writer: SessionWriter; died(): boolean } {
      const real = own?.writer ?? writer;
      let dead = false;
      const alive = () => {
        if (dead) throw new Died('this worker is dead');
      };
      return {
        died: () => dead,
        writer: {
          ...real,
          async append(lease, n, batch) {
            alive();
            const ofThread = (appends.get(threadId) ?? 0) + 1;
            appends.set(threadId, ofThread);
            const ofAll = [...appends.values()].reduce((sum, count) => sum + count, 0);
            const dies = death !== null && (death.thread ?? threadId) === threadId && (death.thread ? ofThread : ofAll) === death.append;
            if (dies) dead = true;
            if (dies && death.when === 'before') throw new Died('died before an append');
            const result = await real.append(lease, n, batch);
            await onAppend?.(ofAll, threadId);
            if (dies) throw new Died('died after an append');
            return result;
          },
          async release(lease, how) {
            alive();
            await real.release(lease, how);
          },
          renew: async (lease, ttlMs) => (dead ? null : real.renew(lease, ttlMs)),
        },
      };
    }
    const threadState = (threadId: string) => redis.hgetall(`${base}:t:${threadId}:state`);
    /** The threads that are marked due. */
    async function marks(): Promise<string[]> {
      const members = await redis.zrange(dueKey, '0', '-1');
      return members.map((member) => member.split('|')).flatMap(([sessionId, threadId]) => (sessionId === id ? [threadId!] : []));
    }
    /** One worker, one wake-up. */
    async function work(threadId = primary, how: Worker = {}): Promise<RunEnd | 'died'> {
      const worker = mortal(threadId, how);
      const drain = { begun: new AbortController().signal, due: new AbortController().signal };
      const end = await runThread(
        { ...deps, settings: { ...deps.settings, workerId: `worker of ${threadId}` }, ...how.deps, writer: worker.writer },
        { format: 2, session_id: id, workspace_id: WORKSPACE, thread_id: threadId },
        { phase: () => {}, line: () => {} },
        drain,
      );
      if (!worker.died()) return end;
      await expire(threadId);
      return 'died';
    }
    /** A message from the primary thread, which must have work, to a child, which is made if `record` is given. */
    async function tell(child: string, message: ClientEventBody, record?: ThreadRecord): Promise<void> {
      const taken = await writer.acquire({ sessionId: id, threadId: primary, workspaceId: WORKSPACE }, 'teller', 5_000);
      if (!('lease' in taken) || message.type !== 'user.message') throw new Error('the primary thread has no work');
      const { lease } = taken;
      const mint = () => randomIds.eventId(lease.sequence);
      const { content } = message;
      const told = await writer.append(lease, 1, {
        entries: [],
        threads: record ? [{ record, eventId: mint() }] : [],
        messages: [
          {
            to: child,
            sent: { id: mint(), body: { type: 'agent.thread_message_sent', to_session_thread_id: child, to_agent_name: 'kid', content } },
            received: { id: mint(), body: { type: 'agent.thread_message_received', from_session_thread_id: primary, content } },
          },
        ],
      });
      if (told.outcome !== 'applied') throw new Error(`a message to a child was refused: ${told.outcome}`);
      await writer.release(lease, 'done');
    }
    /** The lease runs out. */
    async function expire(threadId = primary): Promise<void> {
      await redis.hset(`${base}:t:${threadId}:state`, 'lease_until', '0');
    }

    return {
      id,
      primary,
      agent,
      get appends() {
        return [...appends.values()].reduce((sum, count) => sum + count, 0);
      },
      appendsOf: (threadId: string) => appends.get(threadId) ?? 0,
      marks,
      due: async () => (await marks()).length > 0,
      /** When a sweep may look at a thread, on Redis' clock. */
      dueAtMs: async (threadId = primary) => Number(await redis.zscore(dueKey, `${id}|${threadId}|${WORKSPACE}`)),
      work,
      expire,
      /** Of the session. */
      state: async () => (await log.get(id))!.state,
      thread: async (threadId = primary) => (await log.thread((await log.get(id))!, threadId))!.state,
      /** What the thread's state holds for the scripts alone. */
      field: async (name: string, threadId = primary) => (await threadState(threadId))[name] ?? '',
      async leased(): Promise<boolean> {
        const keys = await redis.keys(`${base.replace('{', '\\{')}:t:*:state`);
        const holders = await Promise.all(keys.map((key) => redis.hget(key, 'lease_worker')));
        return holders.some((holder) => holder !== null && holder !== '');
      },
      send(...bodies: ClientEventBody[]) {
        lastSend = { sessionId: id, bodies, digest: `${id}${sends++}`, isRetry: false };
        return log.send(lastSend);
      },
      /** The last request once more, as a client that saw no answer does. */
      sendAgain: () => log.send({ ...lastSend!, isRetry: true }),
      history: async (threadId = primary): Promise<SessionEvent[]> =>
        (await log.listEvents(id, { limit: 1000, order: 'asc' }, threadId)).events,
      /** A child that is given a message, by a worker of the primary thread, which must have work. */
      async spawn(childTools: object[], message: ClientEventBody): Promise<string> {
        const child = randomIds.id('thread');
        const record = { id: child, agent: { ...agent, name: 'kid', tools: resolveTools(ToolsIn.parse(childTools)) } };
        await tell(child, message, record);
        return child;
      },
      tell,
      /** Workers, one after the other, or one for each thread at once, until there is nothing to do. */
      async settle(how: Worker = {}, together = false): Promise<void> {
        for (let rounds = 0; ; rounds++) {
          const threads = await marks();
          if (threads.length === 0) return;
          if (rounds > 20) throw new Error('the session does not come to rest');
          if (together) await Promise.all(threads.map((threadId) => work(threadId, how)));
          else for (const threadId of threads) await work(threadId, how);
        }
      },
    };
  }

  return {
    deps,
    server,
    redis,
    faults,
    followers,
    woken,
    session,
    async [Symbol.asyncDispose]() {
      await feed.close();
      await messaging.close();
      redis.disconnect();
      await double.close();
      await Promise.all([server[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
      await directory[Symbol.asyncDispose]();
    },
  };
}
