/** The worker's side: lease, fenced append, sweep, previews. The rules stand in the Lua files. */
import { AppError } from '@manyhands/base';
import { timestamp } from '@manyhands/contract';
import { decodeEntries, encodeBody, type RawEntry } from './entry.ts';
import { BUCKETS, dirtyKey, dirtyMember, parseDirtyMember, previewChannel, sessionKeys } from './keys.ts';
import { defineScripts } from './scripts.ts';
import { changedFields, parseSession } from './state.ts';
import type { Lease, SessionLogDeps, SessionWriter } from './types.ts';

/** Entries behind the checkpoint that come with a lease; most turns need no more. */
const FIRST_ENTRIES = 500;

export function createSessionWriter({ redis: connection, blobs, clock }: Pick<SessionLogDeps, 'redis' | 'blobs' | 'clock'>): SessionWriter {
  const redis = defineScripts(connection);
  return {
    async acquire(sessionId, workerId, ttlMs) {
      const keys = sessionKeys(sessionId);
      const [code, first, takeovers, record, flat, queued, raw] = await redis.mhAcquire(
        keys.state,
        keys.lease,
        keys.rec,
        keys.queue,
        keys.log,
        workerId,
        ttlMs,
        FIRST_ENTRIES,
      );
      if (code === -1) return { missing: true };
      if (code === 0) return { busyForMs: Number(first) };
      const stored = parseSession(record as string, flat as string[]);
      if (!stored) return { missing: true };
      const lease: Lease = {
        sessionId,
        workspaceId: stored.record.workspace_id,
        epoch: Number(first),
        takeovers: Number(takeovers),
        head: stored.state.head,
      };
      return { lease, stored, queued: (queued as string[]).map(Number), entries: await decodeEntries(blobs, raw as RawEntry[]) };
    },
    async renew(lease, workerId, ttlMs) {
      const keys = sessionKeys(lease.sessionId);
      return (await redis.mhRenew(keys.state, keys.lease, lease.epoch, workerId, ttlMs)) === 1;
    },
    async release(lease, handover) {
      const keys = sessionKeys(lease.sessionId);
      const member = dirtyMember(lease.sessionId, lease.workspaceId);
      await redis.mhRelease(keys.state, keys.lease, keys.dirty, lease.epoch, handover ? 1 : 0, member, clock.now());
    },
    async append(lease, n, batch) {
      const keys = sessionKeys(lease.sessionId);
      const { workspaceId } = lease;
      const entries: string[] = [];
      for (const entry of batch.entries) {
        if ('stamp' in entry) entries.push('s', String(entry.stamp), '', '', '', '');
        else {
          const { id, body, hidden } = entry.event;
          const [field, text] = await encodeBody(blobs, workspaceId, lease.sessionId, id, body);
          entries.push('e', id, body.type, field, text, hidden === undefined || hidden === null ? '' : JSON.stringify(hidden));
        }
      }
      const now = clock.now();
      const fields = changedFields(batch.state ?? {}, now);
      const calls = (batch.calls ?? []).flatMap(({ id, waitsFor }) => [id, waitsFor ?? '']);
      const [code, positions, head, time] = await redis.mhAppend(
        keys.state,
        keys.log,
        keys.queue,
        keys.dirty,
        keys.types,
        lease.epoch,
        n,
        now,
        dirtyMember(lease.sessionId, workspaceId),
        batch.parkAt !== undefined ? batch.parkAt : batch.goIdle ? 'idle' : '',
        batch.wakeAtMs ?? '',
        batch.budget?.must ?? '',
        batch.budget?.spentNano ?? 0,
        fields.length,
        ...fields,
        calls.length,
        ...calls,
        ...entries,
      );
      if (code === 0) return { outcome: 'pending' };
      if (code === -2) return { outcome: 'budget' };
      if (code === -1) throw new AppError('fenced', 'another worker took this session over');
      if (code !== 1 && code !== 2) throw new AppError('internal', `append ${n} was refused with ${code}`);
      return {
        outcome: 'applied',
        positions: String(positions) === '' ? [] : String(positions).split(',').map(Number),
        head: Number(head),
        processedAt: timestamp(Number(time)),
      };
    },
    async due(limitPerBucket, settleMs) {
      const before = clock.now() - settleMs;
      const pipeline = redis.pipeline();
      for (let bucket = 0; bucket < BUCKETS; bucket++) pipeline.zrangebyscore(dirtyKey(bucket), '-inf', before, 'LIMIT', 0, limitPerBucket);
      const members = ((await pipeline.exec()) ?? []).flatMap(([error, found]) => {
        if (error) throw error;
        return found as string[];
      });
      if (members.length === 0) return [];
      const sessions = members.map(parseDirtyMember);
      const leases = redis.pipeline();
      for (const { sessionId } of sessions) leases.exists(sessionKeys(sessionId).lease);
      const held = (await leases.exec()) ?? [];
      return sessions.filter((_, index) => held[index]?.[1] === 0);
    },
    async preview(sessionId, frames) {
      await redis.publish(previewChannel(sessionId), JSON.stringify(frames));
    },
  };
}
