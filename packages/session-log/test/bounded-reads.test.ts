/** Reads are bounded in bytes as well as in entries, and one body that cannot be read costs nobody but its own session (C52, C53). */
import { type ClientEventBody, primaryThreadId, type SessionEvent } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { threadKeys } from '../src/keys.ts';
import { BODIES_MAX_BYTES, INLINE_EVENT_MAX_BYTES } from '../src/log/entry.ts';
import type { EventQuery } from '../src/log-port.ts';
import { type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { event, INTERRUPT, say, startWorker, stateOf } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const MEBIBYTE = 1024 * 1024;
/** The largest body that is stored in its entry, but for what is around its text. */
const inline = (n: number): ClientEventBody => message(`${n} `.padEnd(INLINE_EVENT_MAX_BYTES - 100, 'x'));
const image = (n: number): ClientEventBody => message(`${n} `.padEnd(5 * MEBIBYTE, 'y'));
const bytesOf = (events: readonly SessionEvent[]) => JSON.stringify(events).length;

async function pages(id: string, query: EventQuery): Promise<SessionEvent[][]> {
  const found: SessionEvent[][] = [];
  let cursor: string | undefined;
  do {
    const page = await f.log.listEvents(id, { ...query, cursor });
    found.push(page.events);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return found;
}
/** Bytes that the log's server sent while something was done. */
async function bytesSent(work: () => Promise<unknown>): Promise<number> {
  const sent = async () => Number(/total_net_output_bytes:(\d+)/.exec(await f.redis.info('stats'))![1]);
  const before = await sent();
  await work();
  return (await sent()) - before;
}

describe('a log of events with large bodies, some of which still wait', () => {
  let id: string;
  /** Ids in the order of the list. */
  let ids: string[];
  beforeAll(async () => {
    ({ id } = await f.session());
    for (let i = 0; i < 4; i++) await f.send(id, ...Array.from({ length: 60 }, (_, n) => inline(i * 60 + n)));
    for (let i = 0; i < 5; i++) await f.send(id, image(i), INTERRUPT, inline(i));
    const queued = (await f.redis.lrange(threadKeys(id, primaryThreadId(id)).queue, 0, -1)).map(Number);
    const taken = queued.filter((position) => position < 200 || position % 3 === 0);
    const worker = await startWorker(f, id);
    await worker.write({ entries: taken.map((processed) => ({ processed })) });
    const size = 4 * 60 + 5 * 3;
    const left = queued.filter((position) => !taken.includes(position));
    // Each of them by itself, to know what there is.
    const entries: { id: string; position: number; kind: string }[] = [];
    for (let after = 0; ; ) {
      const chunk = await f.log.read(id, after, 1_000);
      if (chunk.length === 0) break;
      entries.push(...chunk.map(({ event: { id: eventId }, position, kind }) => ({ id: eventId, position, kind })));
      after = chunk.at(-1)!.position;
    }
    expect(entries.map(({ position }) => position)).toEqual(entries.map((_, i) => i + 1));
    ids = [...entries.filter(({ kind }) => kind === 'event'), ...left.map((position) => entries[position - 1]!)].map((entry) => entry.id);
    expect(ids).toHaveLength(size);
  });

  test.each(['asc', 'desc'] as const)('is listed in pages of bounded bytes, %s, and its cursors lose and repeat nothing', async (order) => {
    const found = await pages(id, { limit: 1_000, order });
    expect(found.flat().map((one) => one.id)).toEqual(order === 'asc' ? ids : ids.toReversed());
    expect(found.length).toBeGreaterThan(4);
    for (const page of found) {
      expect(page.length).toBeGreaterThan(0);
      expect(page.length === 1 || bytesOf(page) < BODIES_MAX_BYTES * 1.1).toBe(true);
    }
    // No more of them than the bytes ask for.
    expect(found.length).toBeLessThan((2 * bytesOf(found.flat())) / BODIES_MAX_BYTES + 2);
  });

  test('is read in chunks of bounded bytes that lose and repeat nothing, and end at its end only', async () => {
    const positions: number[] = [];
    for (;;) {
      const chunk = await f.log.read(id, positions.at(-1) ?? 0, 1_000);
      if (chunk.length === 0) break;
      expect(chunk.length === 1 || bytesOf(chunk.map((entry) => entry.event)) < BODIES_MAX_BYTES * 1.1).toBe(true);
      positions.push(...chunk.map(({ position }) => position));
    }
    const { sequence } = await stateOf(f, id);
    expect(positions).toEqual(Array.from({ length: sequence }, (_, i) => i + 1));
  });
});

test('a turn begins with what is small of its log: the rest is read as it is needed', async () => {
  const { id } = await f.session(Array.from({ length: 50 }, (_, n) => inline(n)));
  let got = await f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 60_000);
  if (!('lease' in got)) throw new Error(JSON.stringify(got));
  expect(got.queued).toHaveLength(50);
  expect(got.entries.length).toBeGreaterThan(10);
  expect(bytesOf(got.entries.map((entry) => entry.event))).toBeLessThan(3 * MEBIBYTE);
  const last = got.entries.at(-1)!.position;
  expect((await f.log.read(id, last, 1_000))[0]!.position).toBe(last + 1);

  const other = await f.session([message('small'), image(1), message('behind it')]);
  got = await f.writer.acquire({ sessionId: other.id, threadId: primaryThreadId(other.id), workspaceId: WORKSPACE }, 'w', 60_000);
  // Nobody waits for a blob under a lease that is not renewed yet.
  expect('entries' in got && got.entries.map(({ position }) => position)).toEqual([1]);
});

test('a page of a session with thousands of events that wait reads what it answers', async () => {
  const { id } = await f.session();
  for (let i = 0; i < 20; i++) await f.send(id, ...Array.from({ length: 100 }, (_, n) => message(`${i} ${n} `.padEnd(5_000, 'z'))));
  const whole = 20 * 100 * 5_000;
  for (const order of ['asc', 'desc'] as const) {
    let cursor: string | undefined;
    for (let page = 0; page < 3; page++) {
      const read = await bytesSent(async () => {
        const { nextCursor } = await f.log.listEvents(id, { limit: 20, order, cursor });
        cursor = nextCursor ?? undefined;
      });
      expect([order, page, read < 0.1 * whole]).toEqual([order, page, true]);
    }
  }
  const all = (await pages(id, { limit: 300, order: 'asc' })).flat();
  expect(new Set(all.map((one) => one.id)).size).toBe(2_000);
});

describe('a body that is gone or damaged in the blob store', () => {
  /** A session whose third event cannot be read; its id. */
  async function broken(how: 'gone' | 'damaged'): Promise<{ id: string; eventId: string }> {
    const { id } = await f.session();
    const sent = await f.send(id, message('one'), message('two'), message('x'.repeat(100_000)), message('four'));
    const eventId = 'events' in sent ? sent.events[2]!.id : '';
    const key = `${WORKSPACE}/${id}/events/${eventId}`;
    if (how === 'gone') await f.blobs.delete(key);
    else await f.blobs.put(key, Buffer.from('{"content":['));
    return { id, eventId };
  }

  test.each(['gone', 'damaged'] as const)('(%s) costs the pages of its own session that hold it, and they name the event', async (how) => {
    const { id, eventId } = await broken(how);
    const list = (query: Partial<EventQuery>) => f.log.listEvents(id, { limit: 10, order: 'asc', ...query });
    await expect(list({})).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining(eventId) });
    await expect(f.log.read(id, 0, 10)).rejects.toThrow(eventId);
    await expect(f.log.pending(id)).rejects.toThrow(eventId);
    // The pages around it are there.
    expect((await list({ limit: 2 })).events).toMatchObject([{ content: [{ text: 'one' }] }, { content: [{ text: 'two' }] }]);
    expect((await list({ limit: 1, order: 'desc' })).events).toMatchObject([{ content: [{ text: 'four' }] }]);
    expect((await f.log.read(id, 3, 10)).map(({ position }) => position)).toEqual([4]);
    // And so are other sessions, while it is asked for.
    const other = await f.session([message('mine')]);
    const [failed, fine] = await Promise.allSettled([list({}), f.log.listEvents(other.id, { limit: 10, order: 'asc' })]);
    expect([failed.status, fine.status]).toEqual(['rejected', 'fulfilled']);
  });

  test('keeps no worker from its lease, nor from ending the turn', async () => {
    const { id } = await broken('gone');
    const worker = await startWorker(f, id);
    await worker.write({ entries: [1, 2, 3, 4].map((processed) => ({ processed })) });
    await worker.write({ entries: [say('sorry')], idle: { stop: { type: 'retries_exhausted' }, known: 99, captured: 0 } });
    expect((await stateOf(f, id)).status).toBe('idle');
    const types = new Set(['agent.message', 'session.status_idle']);
    expect((await f.log.listEvents(id, { limit: 10, order: 'asc', types })).events.map(({ type }) => type)).toEqual([
      'agent.message',
      'session.status_idle',
    ]);
  });
});

test('an event that is processed keeps its body where it was, and says how large that is', async () => {
  const { id } = await f.session([image(1)]);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [{ processed: 1 }, event({ type: 'agent.thinking' })] });
  const keys: string[] = [];
  for await (const key of f.blobs.list(`${WORKSPACE}/${id}/`)) keys.push(key);
  expect(keys).toHaveLength(1);
  const { events } = await f.log.listEvents(id, { limit: 2, order: 'asc' });
  expect(events[0]).toMatchObject(image(1));
});
