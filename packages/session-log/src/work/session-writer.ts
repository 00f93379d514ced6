/** The worker's side: lease, fenced append, due threads, previews. The rules stand in the Lua files. */
import { AppError } from '@manyhands/base';
import { EVENT_KINDS, type EventType, type SessionStatus, timestamp } from '@manyhands/contract';
import { BUCKETS, dueKey, parseDueMember, sessionKeys, threadKeys } from '../keys.ts';
import { createLegacy } from '../legacy/legacy.ts';
import { decodeInline, eventHeader, type RawEntry, storeBody } from '../log/entry.ts';
import type { SessionLogDeps } from '../log-port.ts';
import { defineScripts } from '../scripts.ts';
import { hashOf, LOG_FORMAT, parseRecord, parseSandbox, parseSession, parseThreadState } from '../threads/state.ts';
import type { LogEntry, SessionRecord, ThreadRecord, UsageTotals } from '../types.ts';
import type { Acquired, AppendBatch, AppendEntry, AppendResult, GoIdle, Lease, SessionWriter } from '../work-port.ts';

/** Entries behind the checkpoint that come with a lease, and their bytes; most turns need no more. */
const FIRST_ENTRIES = 500;
const FIRST_BYTES = 2 * 1024 * 1024;
/** How long one sweeper has for what it was told of. */
const SWEEP_AHEAD_MS = 10_000;

/**
 * Whether the primary's log shows this event of a child, too. Not what stands there in a client's place, after an interrupt: no client sent
 * it.
 */
function isCopied(type: EventType, waits: boolean): boolean {
  const { sender, copied } = EVENT_KINDS[type];
  return sender === 'server' && (copied === 'always' || (copied === 'waiting' && waits));
}

/**
 * Entries up to the first whose body has to be fetched: nobody waits for that under a lease that is not renewed yet. Of one that is damaged
 * its reader learns.
 */
function leadingInline(raw: readonly RawEntry[]): LogEntry[] {
  const entries: LogEntry[] = [];
  try {
    for (const item of raw) {
      const entry = decodeInline(item);
      if (!entry) break;
      entries.push(entry);
    }
  } catch {}
  return entries;
}

type WriterDeps = Pick<SessionLogDeps, 'redis' | 'blobs' | 'ids' | 'hourNano'>;

export function createSessionWriter({ redis: connection, blobs, ids, hourNano }: WriterDeps): SessionWriter {
  const redis = defineScripts(connection);
  const legacy = createLegacy(redis);

  /** The entries of a batch for the script's header, and its arguments in their order. */
  async function entriesOf(lease: Lease, entries: AppendEntry[], asked: ReadonlySet<string>) {
    const told: Record<string, unknown>[] = [];
    const bodies: string[] = [];
    for (const entry of entries) {
      if ('processed' in entry) told.push({ kind: 'processed', position: entry.processed });
      else if ('status' in entry)
        told.push({ kind: entry.status, session: ids.eventId(lease.sequence), thread: ids.eventId(lease.sequence) });
      else {
        const { id, body, hidden } = entry.event;
        const stored = await storeBody(blobs, lease.workspaceId, lease.sessionId, id, body);
        const isHidden = hidden !== undefined && hidden !== null;
        told.push({
          kind: 'event',
          ...eventHeader(id, body.type, stored),
          ...(isHidden ? { hidden: true } : {}),
          ...(isCopied(body.type, asked.has(id)) ? { copied: true } : {}),
        });
        bodies.push(stored.text);
        if (isHidden) bodies.push(JSON.stringify(hidden));
      }
    }
    return { told, bodies };
  }

  function usageOf({ list_cost_nano, ...counts }: Partial<UsageTotals>) {
    const usage = Object.fromEntries(Object.entries(counts).filter(([, by]) => by !== 0));
    return {
      usage: { ...usage, ...(list_cost_nano ? { list_cost: list_cost_nano } : {}) },
      ...(list_cost_nano === null ? { unpriced: true } : {}),
    };
  }

  function idleOf(lease: Lease, { stop, details = null, known, captured, silent = false, release = false }: GoIdle) {
    return {
      stop: stop.type === 'requires_action' ? stop.type : JSON.stringify(stop),
      details: JSON.stringify(details),
      known,
      captured,
      silent,
      release,
      capped: stop.type === 'budget_reached',
      ids: [ids.eventId(lease.sequence), ids.eventId(lease.sequence), ids.eventId(lease.sequence)],
    };
  }

  async function headerOf(lease: Lease, n: number, batch: AppendBatch): Promise<{ header: Record<string, unknown>; bodies: string[] }> {
    const { calls = [], sandbox, threads = [], messages = [] } = batch;
    const asked = new Set(calls.flatMap(({ id, waitsFor }) => (waitsFor === 'ask' || waitsFor === 'custom' ? [id] : [])));
    const { told, bodies } = await entriesOf(lease, batch.entries, asked);
    for (const { record } of threads) bodies.push(JSON.stringify({ ...record, format: LOG_FORMAT }));
    for (const { sent, received } of messages) {
      const { type: _sent, ...sentBody } = sent.body;
      const { type: _received, ...receivedBody } = received.body;
      bodies.push(JSON.stringify(sentBody), JSON.stringify(receivedBody));
    }
    const header = {
      thread: lease.threadId,
      epoch: String(lease.epoch),
      n,
      rate: hourNano,
      entries: told,
      ...(calls.length > 0 ? { calls: calls.map(({ id, waitsFor }) => ({ id, waits: waitsFor ?? 'over' })) } : {}),
      ...(batch.usage ? usageOf(batch.usage) : {}),
      ...(batch.budget ? { budget: batch.budget } : {}),
      ...(batch.checkpoint ? { checkpoint: batch.checkpoint.blob, checkpoint_position: batch.checkpoint.position } : {}),
      ...(batch.failures === undefined ? {} : { failures: batch.failures }),
      ...(batch.progress ? { progress: true } : {}),
      ...(batch.waitMs === undefined ? {} : { wait_ms: Math.round(batch.waitMs) }),
      ...(batch.sandboxUses ? { uses: batch.sandboxUses } : {}),
      ...(batch.interruptHandled ? { interrupt: batch.interruptHandled } : {}),
      ...(sandbox
        ? {
            sandbox: {
              generation: sandbox.expected?.generation ?? 0,
              id: sandbox.expected?.sandbox_id ?? '',
              value: {
                generation: sandbox.value.generation,
                id: sandbox.value.sandbox_id ?? '',
                pool: sandbox.value.pool_id ?? '',
              },
            },
          }
        : {}),
      ...(batch.idle ? { idle: idleOf(lease, batch.idle) } : {}),
      ...(threads.length > 0
        ? {
            threads: threads.map(({ record, eventId }) => ({
              id: record.id,
              event: eventId,
              agent_name: JSON.stringify(record.agent.name),
            })),
          }
        : {}),
      ...(messages.length > 0
        ? { messages: messages.map(({ to, sent, received }) => ({ to, sent: sent.id, received: received.id })) }
        : {}),
    };
    return { header, bodies };
  }

  const numbers = (csv: unknown): number[] => (csv === '' ? [] : String(csv).split(',').map(Number));

  return {
    async acquire({ sessionId, threadId, workspaceId }, workerId, ttlMs, remembered) {
      const keys = sessionKeys(sessionId);
      const known = remembered ? [remembered.position, remembered.id] : ['', ''];
      const ask = () => redis.mhAcquire(keys.state, keys.due, threadId, workerId, ttlMs, FIRST_ENTRIES, FIRST_BYTES, workspaceId, ...known);
      let reply = await ask();
      if (reply[0] === -1 && (await legacy.session(sessionId))) reply = await ask();
      const [code, first, recoveries, time, record, sessionFlat, threadFlat, threadRecord, queued, raw, isRemembered] = reply;
      if (code === -1) return { missing: true };
      if (code === -2) return { nothing: true };
      if (code === 0) return { busyForMs: Number(first) };
      try {
        return acquired();
      } catch (error) {
        // What cannot be understood is no death of a worker: nobody would hold this lease (I15).
        await redis.mhRelease(keys.state, keys.due, threadId, Number(first), 'unavailable');
        throw error;
      }

      function acquired(): Acquired | { missing: true } {
        const stored = parseSession(String(record), hashOf(sessionFlat as string[]), [], Number(time));
        const state = parseThreadState(hashOf(threadFlat as string[]));
        if (!stored || !state) return { missing: true };
        const own =
          threadRecord === ''
            ? (stored.record satisfies SessionRecord)
            : parseRecord<ThreadRecord>('the record of a thread', String(threadRecord));
        const lease: Lease = {
          sessionId,
          threadId,
          workspaceId: stored.record.workspace_id,
          epoch: Number(first),
          recoveries: Number(recoveries),
          head: state.head,
          sequence: stored.state.sequence,
        };
        return {
          lease,
          stored,
          thread: { id: threadId, agent: own.agent, state, as_of_ms: Number(time) },
          queued: (queued as string[]).map(Number),
          entries: leadingInline(raw as RawEntry[]),
          isRemembered: isRemembered === 1,
        };
      }
    },

    async renew({ sessionId, threadId, epoch }, ttlMs) {
      const keys = sessionKeys(sessionId);
      const [held, head, interrupt] = await redis.mhRenew(keys.state, keys.due, threadId, epoch, ttlMs);
      return held === 1 ? { head: Number(head), interrupt: Number(interrupt) } : null;
    },

    async release({ sessionId, threadId, epoch }, how) {
      const keys = sessionKeys(sessionId);
      await redis.mhRelease(keys.state, keys.due, threadId, epoch, how);
    },

    async append(lease, n, batch): Promise<AppendResult> {
      const keys = sessionKeys(lease.sessionId);
      const { header, bodies } = await headerOf(lease, n, batch);
      const [code, ...rest] = await redis.mhAppend(keys.state, keys.due, JSON.stringify(header), ...bodies);
      switch (code) {
        case 1:
        case 2: {
          const [first, head, time, sequence, positions, wakes, sandboxUses, sessionStatus, lastId] = rest;
          lease.sequence = Number(sequence);
          return {
            outcome: 'applied',
            first: Number(first),
            head: Number(head),
            positions: numbers(positions),
            sequence: Number(sequence),
            processedAt: timestamp(Number(time)),
            wakes: wakes === '' ? [] : String(wakes).split(','),
            sandboxUses: Number(sandboxUses),
            sessionStatus: sessionStatus as SessionStatus,
            lastId: String(lastId),
          };
        }
        case 0:
          return { outcome: 'pending' };
        case -2:
          return { outcome: 'budget' };
        case -5:
          return { outcome: 'uncaptured', sandboxUses: Number(rest[0]) };
        case -6: {
          const [generation, id, pool, endedAt] = rest.map(String);
          return { outcome: 'bound', sandbox: parseSandbox(generation!, id!, pool!, endedAt!) };
        }
        case -7:
          return { outcome: 'no_receiver', index: Number(rest[0]) };
        case -1:
          throw new AppError('fenced', 'another worker took this thread over');
        default:
          throw new AppError('internal', `append ${n} was refused with ${code}`);
      }
    },

    async due(limitPerBucket) {
      const found = await Promise.all(
        Array.from({ length: BUCKETS }, (_, bucket) => redis.mhDue(dueKey(bucket), limitPerBucket, SWEEP_AHEAD_MS)),
      );
      return found.flat().map(parseDueMember);
    },

    async sandboxAnswered(sessionId, generation) {
      await redis.mhSandboxAnswer(sessionKeys(sessionId).state, generation, 'note');
    },
    async sandboxSilence(sessionId, generation) {
      const ms = await redis.mhSandboxAnswer(sessionKeys(sessionId).state, generation, 'ask');
      return ms < 0 ? null : ms;
    },

    async preview({ sessionId, threadId }, frames) {
      await redis.spublish(threadKeys(sessionId, threadId).feed, JSON.stringify({ format: LOG_FORMAT, previews: frames }));
    },
  };
}
