/** A pool's messages as functions, for tests. */
import { connectMessaging, type Messaging } from '@manyhands/base';
import {
  CallReply,
  DoneReply,
  LeaseReply,
  type LeaseRequest,
  type PrewarmReply,
  PrewarmReply as PrewarmReplySchema,
  SANDBOX_SUBJECT,
  type SandboxVerb,
  sandboxSubject,
  toolText,
} from '@manyhands/contract';
import { silentLogger } from '@manyhands/test-kit';

const TIMEOUT_MS = 25_000;
export type Given = Extract<LeaseReply, { ok: true }>;

export function leaseRequest(sessionId: string, generation: number, change: Partial<LeaseRequest> = {}): LeaseRequest {
  return {
    ...{ workspace_id: 'wrkspc_a', session_id: sessionId, generation, restore_from: null },
    spec: { environment_id: 'env_a', networking: { type: 'unrestricted' } },
    ...change,
  };
}

export async function connectPoolClient(url: string): Promise<PoolClient> {
  return createPoolClient(await connectMessaging(url, silentLogger, 'test'));
}

export type PoolClient = ReturnType<typeof createPoolClient>;
export function createPoolClient(messaging: Messaging) {
  const lease = (sessionId: string, generation: number, change: Partial<LeaseRequest> = {}): Promise<LeaseReply> =>
    messaging.request(SANDBOX_SUBJECT.lease, leaseRequest(sessionId, generation, change), LeaseReply, TIMEOUT_MS);
  const sessions = new Map<string, string>();
  const ask = (given: Given, verb: SandboxVerb, body: object) =>
    messaging.request(
      sandboxSubject(given.pool_id, given.sandbox_id, verb),
      { session_id: sessions.get(given.sandbox_id), generation: given.generation, ...body },
      verb === 'ack' || verb === 'park' || verb === 'release' ? DoneReply : CallReply,
      TIMEOUT_MS,
    ) as Promise<CallReply>;

  return {
    messaging,
    lease,
    ask,
    async leased(sessionId: string, generation = 1, change: Partial<LeaseRequest> = {}): Promise<Given> {
      const reply = await lease(sessionId, generation, change);
      if (!reply.ok) throw new Error(`no lease: ${reply.error.code}: ${reply.error.message}`);
      sessions.set(reply.sandbox_id, sessionId);
      return reply;
    },
    prewarm: (sessionId: string): Promise<PrewarmReply> =>
      messaging.request(
        SANDBOX_SUBJECT.prewarm,
        { session_id: sessionId, workspace_id: 'wrkspc_a', spec: { environment_id: 'env_a', networking: { type: 'unrestricted' } } },
        PrewarmReplySchema,
        TIMEOUT_MS,
      ),
    start: (given: Given, key: string, command: string) => ask(given, 'start', { key, tool: 'bash', input: { command } }),
    async collect(given: Given, key: string): Promise<string> {
      for (;;) {
        const reply = await ask(given, 'wait', { key, wait_ms: 10_000 });
        if (!reply.ok) throw new Error(`${reply.error.code}: ${reply.error.message}`);
        if (reply.call?.state === 'done') return toolText(reply.call.outcome.content);
        if (reply.call?.state !== 'running') throw new Error(`unexpected ${JSON.stringify(reply)}`);
      }
    },
    async bash(given: Given, command: string): Promise<string> {
      const key = `sevt_${Math.random().toString(36).slice(2)}`;
      const reply = await this.start(given, key, command);
      if (!reply.ok) throw new Error(`${reply.error.code}: ${reply.error.message}`);
      return this.collect(given, key);
    },
  };
}
