/** Sessions that 0.1.0 left, in each state: read, listed and gone on with, whoever touches them first (I16). */
import { encodeCursor, randomIds } from '@manyhands/base';
import { type ClientEventBody, primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bucketOf, deletedKey, dueKey, oldDirtyKey, oldPrefix, oldWorkspaceKey } from '../src/keys.ts';
import { upgradeSessions } from '../src/legacy/upgrade.ts';
import type { SessionQuery } from '../src/log-port.ts';
import { createSessionLog } from '../src/sessions/session-log.ts';
import { createSessionWriter } from '../src/work/session-writer.ts';
import { type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { AWAITING, awaitingEntries, CAP, CAPPED, makeOldSession, OLD_MS, type OldOptions, said, say, TURN } from './old-session.ts';
import { answer, confirm, INTERRUPT, idle, messageTo, newThread, RUNNING, startWorker, stateOf, threadOf } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());
beforeEach(async () => {
  await f.redis.flushall();
});

const FILE = { id: 'sesrsc_1', file_id: 'file_1', mount_path: '/a', created_at_ms: OLD_MS };
const asked = randomIds.eventId(2);
const open = randomIds.eventId(3);
const RUNS = { status: 'running', running_since: OLD_MS };

interface State {
  name: string;
  old: OldOptions;
  /** Of the state by now. */
  status: string;
  /** What a message of its client is answered with. */
  sent: object;
  /** What a worker gets before anything is sent. */
  acquired: object;
}
const STATES: State[] = [
  { name: 'new', old: {}, status: 'idle', sent: { outcome: 'stored' }, acquired: { nothing: true } },
  { name: 'idle', old: { entries: TURN }, status: 'idle', sent: { outcome: 'stored' }, acquired: { nothing: true } },
  {
    name: 'running, with a queued message',
    old: { entries: [...TURN, { queued: say('more') }], state: RUNS, dirtyMs: OLD_MS, leased: true },
    status: 'running',
    sent: { outcome: 'stored', wakes: [] },
    acquired: { queued: [7], lease: { epoch: 4, recoveries: 1 } },
  },
  {
    name: 'awaiting action, with one of two calls answered',
    old: { entries: awaitingEntries(asked, open), state: AWAITING(open) },
    status: 'idle',
    sent: { outcome: 'waiting', index: 0, calls: [open] },
    acquired: { nothing: true },
  },
  {
    name: 'at its budget',
    old: { entries: TURN, state: CAPPED },
    status: 'idle',
    sent: { outcome: 'capped', index: 0 },
    acquired: { nothing: true },
  },
  {
    name: 'rescheduling',
    old: {
      entries: [
        { queued: say('x') },
        { event: { type: 'session.status_running' } },
        { stamp: 1 },
        { event: { type: 'session.status_rescheduled' } },
      ],
      state: { ...RUNS, status: 'rescheduling', failures: 2 },
      dirtyMs: OLD_MS,
    },
    status: 'rescheduling',
    sent: { outcome: 'stored', wakes: [] },
    acquired: { queued: [], thread: { state: { failures: 2, status: 'rescheduling' } }, lease: { recoveries: 0 } },
  },
  {
    name: 'archived',
    old: { entries: TURN, state: { status: 'terminated', archived_at: OLD_MS + 9_000 } },
    status: 'terminated',
    sent: { outcome: 'archived' },
    acquired: { missing: true },
  },
  { name: 'with files', old: { entries: TURN, files: [FILE] }, status: 'idle', sent: { outcome: 'stored' }, acquired: { nothing: true } },
  {
    name: 'with a checkpoint',
    old: {
      entries: [...TURN, { queued: say('more') }],
      state: { ...RUNS, checkpoint: JSON.stringify({ position: 6, blob: 'b' }) },
      dirtyMs: OLD_MS,
    },
    status: 'running',
    sent: { outcome: 'stored' },
    acquired: { entries: [{ position: 7 }], thread: { state: { checkpoint: { position: 6, blob: 'b' }, uncheckpointed: 1 } } },
  },
];

const acquire = (id: string) => f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 60_000);
const oldKeys = async (id: string) =>
  (await f.redis.keys(`${oldPrefix(id).replace(/[{}]/g, '?')}*`)).filter((key) => !key.includes(':sent:'));

describe.each(STATES)('a session that was $name', ({ old, status, sent, acquired }) => {
  test('is read as it was, with all that was known of it', async () => {
    const { id } = await makeOldSession(f, old);
    const stored = await f.log.get(id);
    const entries = old.entries ?? [];
    expect(stored).toMatchObject({
      record: { id, workspace_id: WORKSPACE },
      files: old.files ?? [],
      state: {
        status,
        sequence: entries.length,
        created_at_ms: OLD_MS,
        title: 'old',
        metadata: { kept: 'yes' },
        active_ms: 2_500,
        budget: old.state?.['budget'] ? CAP : null,
        archived_at_ms: status === 'terminated' ? OLD_MS + 9_000 : null,
        usage: { input_tokens: 10, output_tokens: 20, cache_read_input_tokens: 30, cache_creation_5m: 40 },
        children: 0,
      },
    });
    expect((await threadOf(f, id)).state).toMatchObject({ status, head: entries.length, parent_thread_id: null, created_at_ms: OLD_MS });
    expect(await f.log.filesRevision(id)).toBe(old.files?.length ?? 0);
    expect(await oldKeys(id)).toEqual([]);
    expect(await f.marks(id)).toHaveLength(status === 'running' || status === 'rescheduling' ? 1 : 0);
  });

  test('lists the events that it had, found by their ids', async () => {
    const { id, ids } = await makeOldSession(f, old);
    await f.log.get(id);
    const { events } = await f.log.listEvents(id, { limit: 100, order: 'asc' });
    expect(new Set(events.map((one) => one.id))).toEqual(new Set(ids));
    for (const [i, eventId] of ids.entries()) expect(await f.log.findEvent(id, eventId)).toBe(ids.indexOf(eventId) + 1 || i + 1);
    const entries = await f.log.read(id, 0, 100);
    expect(entries.map(({ position, sequence, copyOf }) => [position, sequence, copyOf])).toEqual(ids.map((_, i) => [i + 1, i + 1, null]));
    const types = new Set(['agent.message']);
    const shown = await f.log.listEvents(id, { limit: 100, order: 'desc', types });
    expect(shown.events.length).toBe(entries.filter((entry) => entry.event.type === 'agent.message').length);
  });

  test('is in the lists of its workspace, and under its own filters only', async () => {
    const { id } = await makeOldSession(f, { ...old, agentId: 'agent_mine' });
    await makeOldSession(f, { agentId: 'agent_other', createdAtMs: OLD_MS - 1 });
    // A process that has not listed the workspace yet.
    const log = createSessionLog(f.deps);
    const ids = async (query: Partial<SessionQuery>) =>
      (await log.list(WORKSPACE, { limit: 10, order: 'desc', includeArchived: true, ...query })).sessions.map(({ record }) => record.id);
    expect(await ids({})).toContain(id);
    expect(await ids({ agentId: 'agent_mine' })).toEqual([id]);
    expect(await ids({ agentId: 'agent_mine', agentVersion: 1, statuses: new Set([status as 'idle']) })).toEqual([id]);
    expect(await ids({ agentId: 'agent_mine', agentVersion: 2 })).toEqual([]);
    expect(await ids({ range: { gte: OLD_MS, lte: OLD_MS } })).toEqual([id]);
    expect((await ids({ includeArchived: false })).includes(id)).toBe(status !== 'terminated');
  });

  test('takes what it would have taken before', async () => {
    const { id } = await makeOldSession(f, old);
    expect(await f.send(id, message('next'))).toMatchObject(sent);
  });

  test('is acquired if it has work, and by nobody otherwise', async () => {
    const { id } = await makeOldSession(f, old);
    expect(await acquire(id)).toMatchObject(acquired);
  });
});

describe('what goes on with a session of 0.1.0', () => {
  test('is the same log: the next turn is written behind the last one, also by a thread of a new kind', async () => {
    const { id, threadId } = await makeOldSession(f, { entries: TURN });
    await f.send(id, message('go on'));
    const worker = await startWorker(f, id);
    expect(worker.lease).toMatchObject({ epoch: 4, head: 7, sequence: 7 });
    await worker.write({ entries: [RUNNING, { processed: 7 }] });
    const thread = newThread();
    await worker.write({ entries: [], threads: [thread], messages: [messageTo(thread.record.id, threadId)] });
    await worker.write(idle());
    await worker.release();
    const { events } = await f.log.listEvents(id, { limit: 100, order: 'asc' });
    expect(events.slice(5).map(({ type }) => type)).toEqual([
      'session.status_running',
      'session.thread_status_running',
      'user.message',
      'session.thread_created',
      'agent.thread_message_sent',
      'session.thread_status_idle',
    ]);
    expect(await stateOf(f, id)).toMatchObject({ children: 1, status: 'running' });
    const times = events.map((one) => one.processed_at);
    expect(times).toEqual(times.toSorted());
  });

  test('is the open call that its client answers, after which nothing is left open', async () => {
    const { id, threadId } = await makeOldSession(f, { entries: awaitingEntries(asked, open), state: AWAITING(open) });
    expect(await f.send(id, answer(asked))).toMatchObject({ outcome: 'stored', wakes: [], events: [{ content: [{ text: 'one' }] }] });
    expect(await f.send(id, confirm(open))).toMatchObject({ outcome: 'no_such_call', why: 'other_kind' });
    expect(await f.send(id, answer(open))).toMatchObject({ outcome: 'stored', wakes: [threadId] });
    expect(await f.send(id, message('and now'))).toMatchObject({ outcome: 'stored' });
    expect((await stateOf(f, id)).status).toBe('running');
  });

  test('is the wait for the rest, told again with the usage of then and now', async () => {
    const other = randomIds.eventId(4);
    const state = { ...AWAITING(open), unanswered: 2, [`call:${other}`]: 'custom' };
    const entries = [...awaitingEntries(asked, open)];
    entries.splice(4, 0, { event: { type: 'agent.custom_tool_use', name: 'three', input: {} }, id: other });
    const { id } = await makeOldSession(f, { entries, state });
    expect(await f.send(id, answer(open))).toMatchObject({ outcome: 'stored', wakes: [] });
    const { events } = await f.log.listEvents(id, { limit: 3, order: 'desc' });
    expect(events).toMatchObject([
      { type: 'session.status_idle', stop_reason: { type: 'requires_action', event_ids: [other] } },
      { type: 'session.usage', usage: { input_tokens: 10, active_seconds: 2.5, list_cost: { amount: '0', currency: 'USD' } } },
      { type: 'session.thread_status_idle', agent_name: 'tester' },
    ]);
  });

  test('is the work that stopped at the budget, once that is raised', async () => {
    const { id, threadId } = await makeOldSession(f, { entries: TURN, state: CAPPED });
    const raised = { type: 'limit', max_list_cost: { amount: '100', currency: 'USD' } } as const;
    expect(await f.log.update(id, 0, { budget: raised })).toEqual({ outcome: 'updated', wakes: [threadId] });
  });

  test('is an interrupt that waited: it still keeps the thread from spreading, and no longer once it is processed', async () => {
    const { id, threadId } = await makeOldSession(f, {
      entries: [...TURN, { queued: INTERRUPT }],
      state: RUNS,
      dirtyMs: OLD_MS,
    });
    const worker = await startWorker(f, id);
    const thread = newThread();
    const batch = { entries: [], threads: [thread], messages: [messageTo(thread.record.id, threadId)] };
    expect(await worker.append(batch)).toEqual({ outcome: 'pending' });
    await worker.write({ entries: [{ processed: 7 }] });
    expect((await worker.append(batch)).outcome).toBe('applied');
    await f.send(id, INTERRUPT);
    expect(await worker.append({ entries: [], messages: [messageTo(thread.record.id, threadId)] })).toEqual({ outcome: 'pending' });
  });

  test('is told running if that was told before, and not again', async () => {
    const told = await makeOldSession(f, {
      entries: [{ queued: say('x') }, { event: { type: 'session.status_running' } }, { stamp: 1 }],
      state: RUNS,
    });
    const never = await makeOldSession(f, { entries: [{ queued: say('x') }], state: RUNS });
    for (const { id } of [told, never]) {
      const worker = await startWorker(f, id);
      await worker.write({ entries: [RUNNING] });
      const types = (await f.log.read(id, 0, 100)).map((entry) => entry.event.type);
      expect(types.filter((type) => type === 'session.status_running')).toHaveLength(1);
    }
  });

  test('is a body in a blob whose size was not kept: pages of it are bounded all the same', async () => {
    const text = 'x'.repeat(5 * 1024 * 1024);
    const blobs = Array.from({ length: 5 }, (_, i) => `${WORKSPACE}/old/events/${i}`);
    for (const blob of blobs) await f.blobs.put(blob, Buffer.from(JSON.stringify({ content: [{ type: 'text', text }] })));
    const { id, ids } = await makeOldSession(f, { entries: blobs.map((blob) => ({ event: said(''), blob })) });
    await f.log.get(id);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await f.log.listEvents(id, { limit: 100, order: 'desc', cursor });
      expect(page.events).toHaveLength(1);
      seen.push(...page.events.map((one) => one.id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual(ids.toReversed());
  });

  test('is the page after a cursor that 0.1.0 gave out', async () => {
    const { id, ids } = await makeOldSession(f, { entries: [...TURN, { queued: say('a') }, { queued: say('b') }], state: RUNS });
    await f.log.get(id);
    const after = async (order: 'asc' | 'desc', place: object) =>
      (await f.log.listEvents(id, { limit: 100, order, cursor: encodeCursor(`events:${id}`, order, place) })).events.map((one) => one.id);
    const shown = [...[2, 3, 4, 5, 6].map((position) => ids[position - 1]), ids[6], ids[7]];
    expect(await after('asc', { p: 4, q: null })).toEqual(shown.slice(3));
    expect(await after('asc', { p: 6, q: 7 })).toEqual(shown.slice(6));
    expect(await after('desc', { p: null, q: 8 })).toEqual(shown.slice(0, 6).toReversed());
    expect(await after('desc', { p: 4, q: 7 })).toEqual(shown.slice(0, 2).toReversed());
  });

  test('ends as any other: archived and deleted, files and all', async () => {
    const { id } = await makeOldSession(f, { entries: TURN, files: [FILE] });
    expect(await f.log.existing([id])).toEqual(new Set([id]));
    expect(await f.log.addFile(id, { ...FILE, id: 'sesrsc_2', mount_path: '/b' })).toEqual({ outcome: 'added' });
    expect(await f.log.archive(id)).toBe('archived');
    expect(await f.log.delete(id)).toBe('deleted');
    expect(await f.log.get(id)).toBeNull();
    expect(await oldKeys(id)).toEqual([]);
    const other = await makeOldSession(f, { entries: TURN });
    expect(await f.log.delete(other.id)).toBe('deleted');
    expect(await f.redis.zcard(deletedKey(bucketOf(other.id)))).toBeGreaterThan(0);
  });
});

test('two processes that touch a session at the same moment leave one, whole', async () => {
  for (let round = 0; round < 10; round++) {
    const { id, ids } = await makeOldSession(f, {
      entries: [...TURN, { queued: say('more') }],
      state: RUNS,
      dirtyMs: OLD_MS,
      files: [FILE],
    });
    const other = createSessionLog(f.deps);
    const send = (log: typeof other, digest: string, ...bodies: ClientEventBody[]) =>
      log.send({ sessionId: id, bodies, digest, isRetry: false });
    const [, , one, two, got] = await Promise.all([
      f.log.get(id),
      other.list(WORKSPACE, { limit: 10, order: 'asc', includeArchived: true }),
      send(f.log, 'a', message('a')),
      send(other, 'b', message('b')),
      createSessionWriter(f.deps).acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 60_000),
    ]);
    expect([one.outcome, two.outcome, 'lease' in got]).toEqual(['stored', 'stored', true]);
    expect((await f.log.read(id, 0, 100)).map(({ position }) => position)).toEqual(Array.from({ length: 9 }, (_, i) => i + 1));
    expect((await f.log.pending(id)).map(({ position }) => position)).toEqual([7, 8, 9]);
    expect((await f.log.read(id, 0, 7)).map((entry) => entry.event.id)).toEqual(ids);
    expect((await f.log.get(id))!.files).toEqual([FILE]);
    expect(await oldKeys(id)).toEqual([]);
  }
});

test('a workspace with hundreds of old sessions is listed whole, with new ones among them, by several processes at once', async () => {
  const old = await Promise.all(
    Array.from({ length: 450 }, (_, i) =>
      makeOldSession(f, { entries: i % 3 === 0 ? TURN : [], createdAtMs: OLD_MS + i, agentId: `agent_${i % 9}` }),
    ),
  );
  const fresh = await f.session();
  const logs = [1, 2, 3].map(() => createSessionLog(f.deps));
  const walk = async (log: (typeof logs)[number], query: Partial<SessionQuery>) => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await log.list(WORKSPACE, { limit: 100, order: 'asc', includeArchived: true, cursor, ...query });
      seen.push(...page.sessions.map(({ record }) => record.id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return seen;
  };
  const all = [...old.map(({ id }) => id), fresh.id];
  for (const seen of await Promise.all(logs.map((log) => walk(log, {})))) expect(seen).toEqual(all);
  expect(await walk(logs[0]!, { agentId: 'agent_4' })).toEqual(all.filter((_, i) => i < 450 && i % 9 === 4));
  expect(await f.redis.exists(oldWorkspaceKey(WORKSPACE))).toBe(0);
});

describe('an upgrade', () => {
  test('marks due what had work, forgets what is not there any more, and may be repeated', async () => {
    const running = await makeOldSession(f, { entries: [...TURN, { queued: say('more') }], state: RUNS, dirtyMs: OLD_MS });
    const resting = await makeOldSession(f, { entries: TURN });
    // A log that wants to be folded was marked while its session was at rest.
    const unfolded = await makeOldSession(f, { entries: TURN, dirtyMs: OLD_MS });
    const stray = 'sesn_stray';
    await f.redis.zadd(oldDirtyKey(bucketOf(stray)), OLD_MS, `${stray}|${WORKSPACE}`);
    await Promise.all([upgradeSessions(f.redis), upgradeSessions(f.redis)]);
    await upgradeSessions(f.redis);
    expect(await f.redis.keys('mh:*:dirty')).toEqual([]);
    expect(await f.redis.zcard(dueKey(bucketOf(stray)))).toBeLessThanOrEqual(2);
    const due = (await f.writer.due(100)).map(({ sessionId }) => sessionId);
    expect(due.toSorted()).toEqual([running.id, unfolded.id].toSorted());
    expect(await f.redis.exists(`${oldPrefix(resting.id)}rec`)).toBe(1);
    expect(await acquire(running.id)).toMatchObject({ queued: [7] });
    expect(await acquire(unfolded.id)).toEqual({ nothing: true });
  });

  test('remembers what clients sent right before it: sent again, nothing is stored twice', async () => {
    const { id, ids } = await makeOldSession(f, { entries: [{ queued: say('once') }], state: RUNS, dirtyMs: OLD_MS });
    await f.redis.set(`${oldPrefix(id)}sent:abc`, `${ids[0]}|1`, 'EX', 60);
    await upgradeSessions(f.redis);
    const again = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'abc', isRetry: true });
    expect(again).toMatchObject({ outcome: 'repeated', events: [{ id: ids[0] }] });
    expect((await stateOf(f, id)).sequence).toBe(1);
    for (const key of await f.redis.keys('*:sent:*')) expect(await f.redis.ttl(key)).toBeGreaterThan(0);
    expect(await oldKeys(id)).toEqual([]);
  });

  test('leaves the deleted ones to be finished', async () => {
    const { id } = await makeOldSession(f, { state: { status: 'deleted' } });
    await f.redis.del(`${oldPrefix(id)}rec`);
    await f.redis.zadd(deletedKey(bucketOf(id)), OLD_MS, `${id}|${WORKSPACE}`);
    await f.blobs.put(`${WORKSPACE}/${id}/events/x`, Buffer.from('x'));
    await upgradeSessions(f.redis);
    expect(await f.log.get(id)).toBeNull();
    expect(await f.log.finishDeletes()).toBe(1);
    expect(await f.blobs.get(`${WORKSPACE}/${id}/events/x`)).toBeNull();
  });
});
