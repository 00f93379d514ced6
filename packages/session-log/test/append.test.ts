import { randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { INTERRUPT, idle, RUNNING, say, startWorker, stateOf, threadOf } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

test('a session without initial events is idle with an empty log', async () => {
  const { id } = await f.session();
  expect(await stateOf(f, id)).toMatchObject({ status: 'idle', sequence: 0, primary_thread_id: primaryThreadId(id), children: 0 });
  expect((await threadOf(f, id)).state).toMatchObject({ status: 'idle', head: 0, parent_thread_id: null });
  expect(await f.log.listEvents(id, { limit: 10, order: 'asc' })).toEqual({ events: [], nextCursor: null });
  expect(await f.marks(id)).toEqual([]);
});

test('a message makes the session running and due before it is acknowledged, and is listed as queued', async () => {
  const { id } = await f.session();
  const threadId = primaryThreadId(id);
  const sent = await f.send(id, message('hi'));
  expect(sent).toMatchObject({ outcome: 'stored', wakes: [threadId], events: [{ type: 'user.message', processed_at: null }] });
  expect((await stateOf(f, id)).status).toBe('running');
  expect(await f.marks(id)).toMatchObject([{ threadId }]);
  const { events } = await f.log.listEvents(id, { limit: 10, order: 'asc' });
  expect(events).toHaveLength(1);
});

test('a retried send with the same digest returns the stored events and appends nothing', async () => {
  const { id } = await f.session();
  const first = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'same', isRetry: false });
  const again = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'same', isRetry: true });
  expect(again.outcome).toBe('repeated');
  expect('events' in again && 'events' in first && again.events[0]?.id === first.events[0]?.id).toBe(true);
  expect((await stateOf(f, id)).sequence).toBe(1);
  const deliberate = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'same', isRetry: false });
  expect(deliberate.outcome).toBe('stored');
  expect((await stateOf(f, id)).sequence).toBe(2);
});

test('an interrupt of an idle session is recorded as handled and starts nothing', async () => {
  const { id } = await f.session();
  const sent = await f.send(id, INTERRUPT);
  expect(sent).toMatchObject({ outcome: 'stored', wakes: [] });
  expect('events' in sent && sent.events[0]?.processed_at).toBeTruthy();
  expect((await stateOf(f, id)).status).toBe('idle');
  expect(await f.marks(id)).toEqual([]);
});

test('a processed event is listed once, at the position of its processed form, and queued ones come last', async () => {
  const { id } = await f.session();
  await f.send(id, message('one'));
  await f.send(id, message('two'));
  const worker = await startWorker(f, id);
  const [first] = await f.log.pending(id);
  await worker.write({ entries: [RUNNING, { processed: first!.position }] });
  const asc = await f.log.listEvents(id, { limit: 10, order: 'asc' });
  expect(asc.events.map((e) => [e.type, e.processed_at !== null])).toEqual([
    ['session.status_running', true],
    ['session.thread_status_running', true],
    ['user.message', true],
    ['user.message', false],
  ]);
  const desc = await f.log.listEvents(id, { limit: 10, order: 'desc' });
  expect(desc.events.map((e) => e.id)).toEqual(asc.events.map((e) => e.id).reverse());
});

test('an append under an old epoch is refused and leaves nothing', async () => {
  const { id } = await f.session([message('go')]);
  const old = await f.acquire(id, 'old', 1);
  const got = await until(
    async () => {
      const answer = await f.writer.acquire({ sessionId: id, threadId: old.threadId, workspaceId: WORKSPACE }, 'new', 5_000);
      return 'lease' in answer && answer;
    },
    { what: 'the lease lapsed' },
  );
  expect(got.lease.recoveries).toBe(1);
  await expect(f.writer.append(old, 1, { entries: [RUNNING] })).rejects.toMatchObject({ code: 'fenced' });
  expect(await f.writer.renew(old, 5_000)).toBeNull();
  expect(await stateOf(f, id)).toMatchObject({ sequence: 1 });
  // And its release gives nothing back.
  await f.writer.release(old, 'done');
  expect(await f.writer.renew(got.lease, 5_000)).toEqual({ head: 1, interrupt: 0 });
});

test('an append that is sent twice is applied once and answers the same', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  const batch = { entries: [RUNNING, { processed: 1 }], usage: { input_tokens: 5 }, sandboxUses: 1, progress: true };
  const first = await f.writer.append(lease, 1, batch);
  expect(first).toMatchObject({ outcome: 'applied', first: 2, head: 4, positions: [3, 4], sandboxUses: 1, sessionStatus: 'running' });
  await f.send(id, message('in between'));
  expect(await f.writer.append(lease, 1, batch)).toEqual(first);
  expect(await stateOf(f, id)).toMatchObject({ sequence: 5, sandbox_uses: 1, usage: { input_tokens: 5 } });
});

test('going idle is refused as a whole while something is queued', async () => {
  const { id } = await f.session([message('go')]);
  const worker = await startWorker(f, id);
  expect(await worker.append(idle())).toEqual({ outcome: 'pending' });
  expect(await stateOf(f, id)).toMatchObject({ sequence: 1, status: 'running' });
  await worker.write({ entries: [{ processed: 1 }] });
  expect((await worker.append(idle())).outcome).toBe('applied');
  await worker.release();
  expect((await stateOf(f, id)).status).toBe('idle');
  expect(await f.marks(id)).toEqual([]);
});

test('marking processed what is not queued refuses the whole append', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  await expect(f.writer.append(lease, 1, { entries: [RUNNING, { processed: 77 }] })).rejects.toMatchObject({ code: 'internal' });
  expect((await stateOf(f, id)).sequence).toBe(1);
});

test('a live lease is respected and a released one is free at once without counting as a recovery', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  const busy = await f.writer.acquire(lease, 'w2', 5_000);
  expect('busyForMs' in busy && busy.busyForMs > 0 && busy.busyForMs <= 5_000).toBe(true);
  await f.writer.release(lease, 'done');
  expect((await f.acquire(id, 'w2')).recoveries).toBe(0);
});

test('a body over 64 KiB is stored in the blob store and comes back whole', async () => {
  const { id } = await f.session();
  const text = 'ä'.repeat(60_000);
  await f.send(id, message(text));
  const { events } = await f.log.listEvents(id, { limit: 1, order: 'asc' });
  expect(events[0]).toMatchObject({ content: [{ text }] });
});

test('archive and delete are refused while running, and deletion ends the log and its blobs', async () => {
  const busy = await f.session([message('go')]);
  expect(await f.log.archive(busy.id)).toBe('running');
  expect(await f.log.delete(busy.id)).toBe('running');
  const { id, workspace_id } = await f.session();
  await f.blobs.put(`${workspace_id}/${id}/x`, Buffer.from('x'));
  expect(await f.log.archive(id)).toBe('archived');
  expect(await f.log.archive(id)).toBe('archived');
  expect(await f.send(id, message('late'))).toEqual({ outcome: 'archived' });
  expect(await f.log.delete(id)).toBe('deleted');
  expect(await f.log.get(id)).toBeNull();
  expect(await f.log.delete(id)).toBe('missing');
  expect(await f.blobs.get(`${workspace_id}/${id}/x`)).toBeNull();
  expect((await f.log.read(id, 0, 10)).map((e) => e.event.type)).toEqual([
    'session.thread_status_terminated',
    'session.status_terminated',
    'session.deleted',
  ]);
});

test('an update with a stale revision changes nothing', async () => {
  const { id } = await f.session();
  expect(await f.log.update(id, 0, { title: 'a' })).toEqual({ outcome: 'updated', wakes: [] });
  expect(await f.log.update(id, 0, { title: 'b' })).toEqual({ outcome: 'stale' });
  expect((await f.log.get(id))?.state.title).toBe('a');
});

test('an event is found by its id from the sequence number it carries', async () => {
  const { id } = await f.session();
  const sent = await f.send(id, message('a'), message('b'));
  const events = 'events' in sent ? sent.events : [];
  expect(await f.log.findEvent(id, events[1]!.id)).toBe(2);
  expect(await f.log.findEvent(id, randomIds.eventId(0))).toBeNull();
});

test('paging while events are processed shows every event exactly once', async () => {
  const { id } = await f.session();
  await f.send(id, message('a'), message('b'), message('c'));
  const first = await f.log.listEvents(id, { limit: 2, order: 'asc' });
  const worker = await startWorker(f, id);
  for (const { position } of await f.log.pending(id)) await worker.write({ entries: [{ processed: position }, say('noted')] });
  const seen = first.events.map((e) => e.id);
  let cursor = first.nextCursor;
  while (cursor) {
    const page = await f.log.listEvents(id, { limit: 2, order: 'asc', cursor });
    seen.push(...page.events.map((e) => e.id));
    cursor = page.nextCursor;
  }
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen).toHaveLength(6);
});

test('a cursor used with the other order is refused by name', async () => {
  const { id } = await f.session();
  await f.send(id, message('a'), message('b'));
  const { nextCursor } = await f.log.listEvents(id, { limit: 1, order: 'asc' });
  await expect(f.log.listEvents(id, { limit: 1, order: 'desc', cursor: nextCursor! })).rejects.toThrow(/page: .*order=asc/);
  await expect(f.log.listEvents(id, { limit: 1, order: 'asc', cursor: 'nonsense' })).rejects.toThrow(/page: not a cursor/);
});

test('sessions are listed by creation in both directions without loss or repetition', async () => {
  const made: string[] = [];
  for (let i = 0; i < 7; i++) made.push((await f.session()).id);
  for (const order of ['asc', 'desc'] as const) {
    const all = await f.log.list(WORKSPACE, { limit: 1000, order, includeArchived: true });
    const ids = all.sessions.map((s) => s.record.id);
    const walked: string[] = [];
    let page = await f.log.list(WORKSPACE, { limit: 3, order, includeArchived: true });
    let last = page;
    for (;;) {
      walked.push(...page.sessions.map((s) => s.record.id));
      last = page;
      if (!page.nextCursor) break;
      page = await f.log.list(WORKSPACE, { limit: 3, order, includeArchived: true, cursor: page.nextCursor });
    }
    expect(walked).toEqual(ids);
    const back = await f.log.list(WORKSPACE, { limit: 3, order, includeArchived: true, cursor: last.prevCursor! });
    const start = ids.indexOf(last.sessions[0]!.record.id);
    expect(back.sessions.map((s) => s.record.id)).toEqual(ids.slice(start - 3, start));
  }
  expect((await f.log.list(WORKSPACE, { limit: 1000, order: 'asc', includeArchived: false })).sessions.map((s) => s.record.id)).toEqual(
    expect.arrayContaining(made),
  );
});
