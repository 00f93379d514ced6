import { randomIds } from '@manyhands/base';
import type { EventBody } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Lease } from '../src/index.ts';
import { type Fixture, message, startFixture } from './fixture.ts';

let f: Fixture;
beforeAll(async () => {
  f = await startFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const event = (body: EventBody) => ({ event: { id: randomIds.eventId(0), body } });
const running = () => event({ type: 'session.status_running' });

test('a session without initial events is idle with an empty log', async () => {
  const { id } = await f.session();
  expect((await f.log.get(id))?.state).toMatchObject({ status: 'idle', head: 0 });
  expect(await f.log.listEvents(id, { limit: 10, order: 'asc' })).toEqual({ events: [], nextCursor: null });
  expect(await f.writer.due(100, 0)).toEqual([]);
});

test('a message makes the session running and due before it is acknowledged, and is listed as queued', async () => {
  const { id, workspace_id } = await f.session();
  const sent = await f.send(id, message('hi'));
  expect(sent).toMatchObject({ outcome: 'stored', startsWork: true, events: [{ type: 'user.message', processed_at: null }] });
  expect((await f.log.get(id))?.state.status).toBe('running');
  expect(await f.writer.due(100, 0)).toContainEqual({ sessionId: id, workspaceId: workspace_id });
  const { events } = await f.log.listEvents(id, { limit: 10, order: 'asc' });
  expect(events).toHaveLength(1);
});

test('a retried send with the same digest returns the stored events and appends nothing', async () => {
  const { id } = await f.session();
  const first = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'same', isRetry: false });
  const again = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'same', isRetry: true });
  expect(again.outcome).toBe('repeated');
  expect('events' in again && 'events' in first && again.events[0]?.id === first.events[0]?.id).toBe(true);
  expect((await f.log.get(id))?.state.head).toBe(1);
  const deliberate = await f.log.send({ sessionId: id, bodies: [message('once')], digest: 'same', isRetry: false });
  expect(deliberate.outcome).toBe('stored');
  expect((await f.log.get(id))?.state.head).toBe(2);
});

test('an interrupt of an idle session is recorded as handled and starts nothing', async () => {
  const { id } = await f.session();
  const sent = await f.send(id, { type: 'user.interrupt', session_thread_id: null });
  expect(sent).toMatchObject({ outcome: 'stored', startsWork: false });
  expect('events' in sent && sent.events[0]?.processed_at).toBeTruthy();
  expect((await f.log.get(id))?.state.status).toBe('idle');
});

test('a stamped event is listed once, at the position of its stamp, and queued ones come last', async () => {
  const { id } = await f.session();
  await f.send(id, message('one'));
  await f.send(id, message('two'));
  const lease = await f.acquire(id);
  const [first] = await f.log.pending(id);
  await f.writer.append(lease, 1, { entries: [running(), { stamp: first!.position }] });
  const asc = await f.log.listEvents(id, { limit: 10, order: 'asc' });
  expect(asc.events.map((e) => [e.type, e.processed_at !== null])).toEqual([
    ['session.status_running', true],
    ['user.message', true],
    ['user.message', false],
  ]);
  const desc = await f.log.listEvents(id, { limit: 10, order: 'desc' });
  expect(desc.events.map((e) => e.id)).toEqual(asc.events.map((e) => e.id).reverse());
});

test('an append under an old epoch is refused and leaves nothing', async () => {
  const { id } = await f.session([message('go')]);
  const old = await f.acquire(id, 'old', 1);
  let lease: Lease | undefined;
  await expect
    .poll(async () => {
      const got = await f.writer.acquire(id, 'new', 5000);
      if ('lease' in got) lease = got.lease;
      return lease !== undefined;
    })
    .toBe(true);
  expect(lease!.takeovers).toBe(1);
  const head = (await f.log.get(id))!.state.head;
  await expect(f.writer.append(old, 1, { entries: [running()] })).rejects.toMatchObject({ code: 'fenced' });
  expect(await f.writer.renew(old, 'old', 5000)).toBe(false);
  expect((await f.log.get(id))!.state.head).toBe(head);
});

test('an append that is sent twice is applied once and answers the same', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  const batch = { entries: [running(), running()], state: { takeovers: 0 } };
  const first = await f.writer.append(lease, 1, batch);
  await f.send(id, message('in between'));
  expect(await f.writer.append(lease, 1, batch)).toEqual(first);
  expect((await f.log.get(id))!.state.head).toBe(4);
});

test('going idle is refused as a whole while something is queued', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  const idle = {
    entries: [event({ type: 'session.status_idle', stop_reason: { type: 'end_turn' }, stop_details: null })],
    goIdle: true,
    state: { status: 'idle' as const },
  };
  const head = (await f.log.get(id))!.state.head;
  expect(await f.writer.append(lease, 1, idle)).toEqual({ outcome: 'pending' });
  expect((await f.log.get(id))!.state).toMatchObject({ head, status: 'running' });
  const [queued] = await f.log.pending(id);
  await f.writer.append(lease, 1, { entries: [{ stamp: queued!.position }] });
  expect((await f.writer.append(lease, 2, idle)).outcome).toBe('applied');
  await f.writer.release(lease, false);
  expect((await f.log.get(id))!.state.status).toBe('idle');
  expect((await f.writer.due(100, 0)).map((d) => d.sessionId)).not.toContain(id);
});

test('a stamp of something that is not queued refuses the whole append', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  await expect(f.writer.append(lease, 1, { entries: [running(), { stamp: 77 }] })).rejects.toMatchObject({ code: 'internal' });
  expect((await f.log.get(id))!.state.head).toBe(1);
});

test('a live lease is respected and a released one is free at once without counting as a take-over', async () => {
  const { id } = await f.session([message('go')]);
  const lease = await f.acquire(id);
  const busy = await f.writer.acquire(id, 'w2', 5000);
  expect('busyForMs' in busy && busy.busyForMs > 0 && busy.busyForMs <= 5000).toBe(true);
  await f.writer.release(lease, true);
  expect((await f.acquire(id, 'w2')).takeovers).toBe(0);
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
  expect(await f.log.update(id, 0, { title: 'a' })).toBe('updated');
  expect(await f.log.update(id, 0, { title: 'b' })).toBe('stale');
  expect((await f.log.get(id))?.state.title).toBe('a');
});

test('an event is found by its id from the position it carries', async () => {
  const { id } = await f.session();
  const sent = await f.send(id, message('a'), message('b'));
  const events = 'events' in sent ? sent.events : [];
  expect(await f.log.findEvent(id, events[1]!.id)).toBe(2);
  expect(await f.log.findEvent(id, randomIds.eventId(0))).toBeNull();
});

test('paging while events are stamped shows every event exactly once', async () => {
  const { id } = await f.session();
  await f.send(id, message('a'), message('b'), message('c'));
  const first = await f.log.listEvents(id, { limit: 2, order: 'asc' });
  const lease = await f.acquire(id);
  for (const [i, entry] of (await f.log.pending(id)).entries())
    await f.writer.append(lease, i + 1, { entries: [{ stamp: entry.position }, running()] });
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
    const all = await f.log.list('wrkspc_test', { limit: 1000, order, includeArchived: true });
    const ids = all.sessions.map((s) => s.record.id);
    const walked: string[] = [];
    let page = await f.log.list('wrkspc_test', { limit: 3, order, includeArchived: true });
    let last = page;
    for (;;) {
      walked.push(...page.sessions.map((s) => s.record.id));
      last = page;
      if (!page.nextCursor) break;
      page = await f.log.list('wrkspc_test', { limit: 3, order, includeArchived: true, cursor: page.nextCursor });
    }
    expect(walked).toEqual(ids);
    const back = await f.log.list('wrkspc_test', { limit: 3, order, includeArchived: true, cursor: last.prevCursor! });
    const start = ids.indexOf(last.sessions[0]!.record.id);
    expect(back.sessions.map((s) => s.record.id)).toEqual(ids.slice(start - 3, start));
  }
  expect((await f.log.list('wrkspc_test', { limit: 1000, order: 'asc', includeArchived: false })).sessions.map((s) => s.record.id)).toEqual(
    expect.arrayContaining(made),
  );
});
