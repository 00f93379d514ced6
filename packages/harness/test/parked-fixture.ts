/** One session, its client, and workers that die where they are told to: the real log on a private Redis, the real model double. */
import { connectMessaging, createMetrics, createRedis, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { type ClientEventBody, resolveTools, type SessionAgent, type SessionEvent, ToolsIn } from '@manyhands/contract';
import { createAnthropicModel, priceTableOf } from '@manyhands/model';
import { type DoubleScript, doubleScript, startModelDouble } from '@manyhands/model/testing';
import { createSessionLog, createSessionWriter, createTail, type SessionRecord, type SessionWriter } from '@manyhands/session-log';
import { createEnvironmentStore, createFileStore } from '@manyhands/store';
import { silentLogger, startTestNats, startTestRedis, temporaryDirectory } from '@manyhands/test-kit';
import { harnessEnv, settingsOf } from '../src/env.ts';
import { createHarnessMetrics } from '../src/metrics.ts';
import { runSession } from '../src/session-run.ts';
import type { HarnessDeps } from '../src/turn.ts';

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
export function script(steps: DoubleScript, said = 'go'): ClientEventBody {
  return { type: 'user.message', content: [{ type: 'text', text: doubleScript(steps, said) }] };
}

/** Where a worker dies: at its n-th append, just before or just after the log has it. */
export interface Death {
  append: number;
  when: 'before' | 'after';
}
class Died extends Error {}

export type Parking = Awaited<ReturnType<typeof startParking>>;

export async function startParking() {
  const [server, nats, directory, double] = await Promise.all([
    startTestRedis(),
    startTestNats(),
    temporaryDirectory('harness'),
    startModelDouble({ port: 0 }),
  ]);
  const redis = createRedis(server.url, 'patient', silentLogger, 'test');
  const messaging = await connectMessaging(nats.url, silentLogger, 'test');
  const blobs = createDirectoryBlobStore(directory.path);
  const shared = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger };
  const log = createSessionLog(shared);
  const writer = createSessionWriter(shared);
  const tail = createTail({ redisUrl: server.url, redis, blobs, log: silentLogger });
  const deps: HarnessDeps = {
    log,
    writer,
    tail,
    blobs,
    environments: createEnvironmentStore(redis, systemClock, randomIds),
    files: createFileStore(redis, blobs, systemClock),
    model: createAnthropicModel({ baseUrl: double.url, apiKey: 'double', log: silentLogger }),
    contextWindow: () => 200_000,
    prices: priceTableOf(undefined),
    messaging,
    clock: systemClock,
    ids: randomIds,
    logger: silentLogger,
    metrics: createHarnessMetrics(createMetrics('harness')),
    settings: settingsOf(harnessEnv.parse({}), 'test'),
  };

  async function session(tools: object[]) {
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
    const record = {
      id: randomIds.id('session'),
      workspace_id: 'wrkspc_test',
      agent,
      environment_id: 'env_test',
      created_at_ms: Date.now(),
    } as SessionRecord;
    await log.create({ record, title: null, metadata: {}, initialEvents: [], budget: null });
    const { id } = record;
    let appends = 0;
    let sends = 0;

    /** The writer of a worker that dies: nothing it does counts after that. */
    function mortal(death: Death | null, onAppend: (n: number) => Promise<void>): SessionWriter {
      let dead = false;
      const alive = () => {
        if (dead) throw new Died('this worker is dead');
      };
      return {
        ...writer,
        async append(lease, n, batch) {
          alive();
          appends++;
          const dies = appends === death?.append;
          if (dies) dead = true;
          if (dies && death.when === 'before') throw new Died('died before an append');
          const result = await writer.append(lease, n, batch);
          await onAppend(appends);
          if (dies) throw new Died('died after an append');
          return result;
        },
        async release(lease, handover) {
          alive();
          await writer.release(lease, handover);
        },
        renew: async (lease, worker, ttl) => !dead && writer.renew(lease, worker, ttl),
      };
    }
    const due = async () => (await writer.due(1000, 0)).some(({ sessionId }) => sessionId === id);

    return {
      id,
      get appends() {
        return appends;
      },
      due,
      state: async () => (await log.get(id))!.state,
      leased: async () => (await redis.keys(`mh:*:s:${id}:lease`)).length > 0,
      send: (...bodies: ClientEventBody[]) => log.send({ sessionId: id, bodies, digest: `${id}${sends++}`, isRetry: false }),
      history: async (): Promise<SessionEvent[]> => (await log.listEvents(id, { limit: 1000, order: 'asc' })).events,
      /** Workers, one after the other, until there is nothing to do. `onAppend` is what a client does as soon as the log has the n-th append. */
      async settle(death: Death | null = null, onAppend: (n: number) => Promise<void> = async () => {}) {
        for (let workers = 0; await due(); workers++) {
          if (workers > 20) throw new Error('the session does not come to rest');
          const drain = { begun: new AbortController().signal, due: new AbortController().signal };
          const report = { phase: () => {}, line: () => {} };
          try {
            await runSession({ ...deps, writer: mortal(death, onAppend) }, { session_id: id, workspace_id: 'wrkspc_test' }, report, drain);
          } catch (error) {
            if (!(error instanceof Died)) throw error;
            // Its lease runs out.
            for (const key of await redis.keys(`mh:*:s:${id}:lease`)) await redis.del(key);
          }
        }
      },
    };
  }

  return {
    deps,
    session,
    async [Symbol.asyncDispose]() {
      await tail.close();
      await messaging.close();
      redis.disconnect();
      await double.close();
      await Promise.all([server[Symbol.asyncDispose](), nats[Symbol.asyncDispose]()]);
      await directory[Symbol.asyncDispose]();
    },
  };
}
