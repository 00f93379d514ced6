/** Logs that grew long: what is asked of them is found, and found without reading all of them (I14). */
import { type ClientEventBody, eventIdSequence, primaryThreadId, type SessionEvent } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { threadKeys } from '../src/keys.ts';
import { TYPE_BITS } from '../src/log/type-index.ts';
import type { EventQuery } from '../src/log-port.ts';
import { createSessionLog } from '../src/sessions/session-log.ts';
import { type LogFixture, message, startLogFixture } from './log-fixture.ts';
import { INTERRUPT, RUNNING, startWorker, stateOf } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const interrupts = (count: number) => Array.from({ length: count }, () => INTERRUPT);

async function title(id: string, text: string) {
  return f.log.update(id, (await stateOf(f, id)).revision, { title: text });
}
/** Every page. */
async function all(id: string, query: EventQuery): Promise<{ events: SessionEvent[]; pages: number }> {
  const events: SessionEvent[] = [];
  let cursor: string | undefined;
  let pages = 0;
  do {
    const page = await f.log.listEvents(id, { ...query, cursor });
    events.push(...page.events);
    cursor = page.nextCursor ?? undefined;
    pages++;
  } while (cursor !== undefined);
  return { events, pages };
}
/** Bytes that the log's server sent while something was done. */
async function bytesSent(work: () => Promise<unknown>): Promise<number> {
  const sent = async () => Number(/total_net_output_bytes:(\d+)/.exec(await f.redis.info('stats'))![1]);
  const before = await sent();
  await work();
  return (await sent()) - before;
}

/** Thousands of events of one kind, a rare kind here and there, messages that were processed long after they came, some that still wait. */
async function longLog(): Promise<{ id: string; events: SessionEvent[] }> {
  const { id } = await f.session();
  for (let part = 0; part < 4; part++) {
    await f.send(id, ...interrupts(300));
    await title(id, `part ${part}`);
  }
  await f.send(id, ...Array.from({ length: 300 }, (_, i) => message(`message ${i}`)));
  const worker = await startWorker(f, id);
  const queued = await f.log.pending(id);
  for (const part of [queued.slice(0, 140), queued.slice(140, 290)])
    await worker.write({ entries: part.map(({ position }) => ({ processed: position })) });
  await worker.write({ entries: [RUNNING] });
  return { id, events: (await all(id, { limit: 1000, order: 'asc' })).events };
}

test('every type of event has a number of its own', () => {
  const bits = Object.values(TYPE_BITS);
  expect(new Set(bits).size).toBe(bits.length);
  expect(Math.min(...bits)).toBeGreaterThan(0);
  expect(Math.max(...bits)).toBeLessThan(64);
});

test('a long log is listed by time and type, in both orders and any page size, as if all of it were looked at', async () => {
  const { id, events } = await longLog();
  const times = [...new Set(events.flatMap(({ processed_at }) => (processed_at === null ? [] : [Date.parse(processed_at)])))];
  const moments = [times[0]!, times[Math.floor(times.length / 2)]!, times.at(-1)!];
  const ranges: EventQuery['range'][] = [
    undefined,
    ...moments.flatMap((at) => [{ gt: at }, { gt: at - 1 }, { gte: at }, { lt: at }, { lt: at + 1 }, { lte: at }]),
  ];
  ranges.push(
    { gte: moments[1]!, lte: moments[1]! },
    { gt: moments[2]!, lt: moments[0]! },
    { lt: moments[0]! - 5 },
    { gt: moments[2]! + 5 },
  );
  const kinds = [
    undefined,
    ['session.updated'],
    ['user.message', 'session.status_running'],
    ['agent.message', 'span.outcome_evaluation_end'],
  ];
  for (const range of ranges) {
    for (const kind of kinds) {
      const types = kind && new Set(kind);
      const wanted = events.filter(({ type, processed_at }) => {
        if (types && !types.has(type)) return false;
        if (!range) return true;
        const at = processed_at === null ? Number.NaN : Date.parse(processed_at);
        const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = range;
        return at > gt && at >= gte && at < lt && at <= lte;
      });
      for (const [order, limit] of [
        ['asc', 273],
        ['desc', 1000],
      ] as const) {
        const { events: listed } = await all(id, { order, limit, types, range });
        const ids = wanted.map((event) => event.id);
        expect(listed.map((event) => event.id)).toEqual(order === 'asc' ? ids : ids.reverse());
      }
    }
  }
});

test('a page reads a small part of the log, wherever it is and however rare what it asks for', async () => {
  const { id } = await f.session();
  const middle: number[] = [];
  for (let part = 0; part < 8; part++) {
    await f.send(id, ...interrupts(1000));
    if (part % 2 === 0) await title(id, `part ${part}`);
    const [last] = (await f.log.listEvents(id, { limit: 1, order: 'desc' })).events;
    middle.push(Date.parse(last!.processed_at!));
  }
  const whole = await bytesSent(() => f.log.read(id, 0, 100_000));
  const part = async (query: Partial<EventQuery>) =>
    (await bytesSent(() => f.log.listEvents(id, { limit: 20, order: 'asc', ...query }))) / whole;
  for (const order of ['asc', 'desc'] as const) {
    expect(await part({ order })).toBeLessThan(0.02);
    // Four of them, each in a segment of its own.
    expect(await part({ order, types: new Set(['session.updated']) })).toBeLessThan(0.1);
    expect(await part({ order, types: new Set(['agent.tool_use']) })).toBeLessThan(0.02);
    expect(await part({ order, range: { gte: middle[3]! } })).toBeLessThan(0.02);
    expect(await part({ order, range: { lte: middle[3]! } })).toBeLessThan(0.02);
  }
});

test('a type is found in a log from before there was an index of types, a bounded part of it a page', async () => {
  const { id } = await f.session();
  await title(id, 'first');
  for (let part = 0; part < 7; part++) await f.send(id, ...interrupts(1000));
  await title(id, 'last');
  const { types: index } = threadKeys(id, primaryThreadId(id));
  const query = { limit: 20, types: new Set(['session.updated']) };
  expect((await all(id, { ...query, order: 'asc' })).pages).toBe(1);
  await f.redis.del(index);
  for (const order of ['asc', 'desc'] as const) {
    const { events, pages } = await all(id, { ...query, order });
    expect(events).toHaveLength(2);
    expect(pages).toBe(2);
  }
  // What comes from here on is indexed.
  await f.send(id, ...interrupts(1000));
  await title(id, 'newest');
  expect((await all(id, { ...query, order: 'desc' })).events).toHaveLength(3);
});

test('bodies are read for the events of a page only', async () => {
  const { id, workspace_id } = await f.session([message('x'.repeat(70_000))]);
  await f.send(id, INTERRUPT);
  await f.blobs.deletePrefix(`${workspace_id}/${id}/`);
  const types = new Set(['user.interrupt']);
  expect((await f.log.listEvents(id, { limit: 10, order: 'asc', types })).events).toHaveLength(1);
  await expect(f.log.listEvents(id, { limit: 10, order: 'asc' })).rejects.toThrow('missing from the blob store');
});

test('the id of an event says nearly where it is, also when its gateway has not looked at the session for long', async () => {
  const { id } = await f.session();
  const other = createSessionLog(f.deps);
  const send = (digest: string, ...bodies: ClientEventBody[]) => other.send({ sessionId: id, bodies, digest, isRetry: false });
  await send('one', INTERRUPT);
  for (let part = 0; part < 3; part++) await f.send(id, ...interrupts(1000));
  const large = message('x'.repeat(70_000));
  const sent = await send('two', INTERRUPT, large);
  if (sent.outcome !== 'stored') throw new Error(sent.outcome);
  expect(sent.events.map(({ id: eventId }) => eventIdSequence(eventId))).toEqual([3001, 3001]);
  expect(await other.findEvent(id, sent.events[1]!.id)).toBe(3003);
  const { events } = await other.listEvents(id, { limit: 1, order: 'desc' });
  expect(events).toEqual([sent.events[1]]);
  expect(events[0]).toMatchObject(large);
  expect((await send('two', INTERRUPT, large)).outcome).toBe('stored');
});

test('a log that goes on without turns wants to be folded, for one worker and not before it is worth one', async () => {
  const { id, workspace_id } = await f.session();
  const threadId = primaryThreadId(id);
  expect(await f.send(id, ...interrupts(500))).toMatchObject({ wakes: [] });
  expect(await title(id, 'not yet')).toEqual({ outcome: 'updated', wakes: [threadId] });
  expect(await f.marks(id)).toMatchObject([{ threadId }]);
  expect(await f.send(id, INTERRUPT)).toMatchObject({ wakes: [threadId] });
  expect((await stateOf(f, id)).status).toBe('idle');
  const worker = await startWorker(f, id);
  const checkpoint = { position: worker.lease.head, blob: `${workspace_id}/${id}/context/1` };
  await worker.write({ entries: [], checkpoint, progress: true });
  await worker.release();
  expect(await f.marks(id)).toEqual([]);
  expect((await stateOf(f, id)).sequence).toBe(worker.lease.sequence);
  expect(await f.send(id, ...interrupts(500))).toMatchObject({ wakes: [] });
  expect(await f.send(id, INTERRUPT)).toMatchObject({ wakes: [threadId] });
});
