/** Times in the log are Redis' own: a process whose clock is wrong changes none of them (C56). */
import { type Clock, randomIds } from '@manyhands/base';
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSessionLog } from '../src/sessions/session-log.ts';
import { createSessionWriter } from '../src/work/session-writer.ts';
import { AGENT, type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { idle, messageTo, newThread, RUNNING } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

const HOUR_MS = 3_600_000;
/** What a process may take for a step. */
const MINUTE_MS = 60_000;

describe.each([
  { name: 'an hour ahead', offMs: HOUR_MS },
  { name: 'an hour behind', offMs: -HOUR_MS },
])('a process whose clock is $name', ({ offMs }) => {
  const clock: Clock = { now: () => Date.now() + offMs };
  /** A gateway and a worker with that clock. */
  const wrong = () => ({ log: createSessionLog({ ...f.deps, clock }), writer: createSessionWriter({ ...f.deps }) });

  test('makes sessions, events and due marks of the right time, in order with those of others', async () => {
    const { log, writer } = wrong();
    const id = randomIds.id('session');
    const record = { id, workspace_id: WORKSPACE, agent: AGENT, environment_id: 'env_test' };
    const startedMs = Date.now();
    await log.create({ record, title: null, metadata: {}, budget: null, initialEvents: [message('one')], begunAtMs: clock.now() });
    const right = (ms: number) => Math.abs(ms - startedMs) < MINUTE_MS;
    expect((await f.marks(id)).every(({ atMs }) => right(atMs))).toBe(true);

    const place = { sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE };
    const got = await writer.acquire(place, 'w', MINUTE_MS / 2);
    if (!('lease' in got)) throw new Error(JSON.stringify(got));
    expect(right(got.stored.as_of_ms)).toBe(true);
    await writer.append(got.lease, 1, { entries: [RUNNING, { processed: 1 }] });
    let digest = 0;
    const send = (gateway: typeof log, text: string) =>
      gateway.send({
        sessionId: id,
        bodies: [message(text), { type: 'user.interrupt' as const, session_thread_id: null }],
        digest: `${digest++}`,
        isRetry: false,
      });
    await send(log, 'two');
    await send(f.log, 'three');
    const thread = newThread();
    await writer.append(got.lease, 2, { entries: (await log.pending(id)).map(({ position }) => ({ processed: position })) });
    await f.writer.append(got.lease, 3, { entries: [], threads: [thread], messages: [messageTo(thread.record.id, place.threadId)] });
    await writer.append(got.lease, 4, idle());
    await writer.release(got.lease, 'unavailable');
    await log.update(id, 0, { title: 'new' });

    const stored = (await f.log.get(id))!;
    expect(right(stored.state.created_at_ms) && right(stored.state.updated_at_ms) && right(stored.state.running_since_ms!)).toBe(true);
    for (const { state } of await f.log.threads(stored)) expect(right(state.created_at_ms) && right(state.updated_at_ms)).toBe(true);
    const times = (await f.log.read(id, 0, 100)).flatMap((entry) => entry.event.processed_at ?? []);
    expect(times.length).toBeGreaterThan(5);
    expect(times.every((at) => right(Date.parse(at)))).toBe(true);
    expect(times).toEqual(times.toSorted());
    const marks = await f.marks(id);
    expect(marks).toHaveLength(2);
    expect(marks.every(({ atMs }) => right(atMs))).toBe(true);
    // Listed where it belongs, by its time.
    const since = { gte: startedMs - MINUTE_MS, lte: startedMs + MINUTE_MS };
    const { sessions } = await log.list(WORKSPACE, { limit: 10, order: 'desc', includeArchived: false, range: since });
    expect(sessions.map((session) => session.record.id)).toContain(id);
  });

  test('archives and ends what others made, at the right time', async () => {
    const { log } = wrong();
    const { id } = await f.session();
    await log.archive(id);
    const { state } = (await f.log.get(id))!;
    expect(Math.abs(state.archived_at_ms! - Date.now())).toBeLessThan(MINUTE_MS);
    const other = await f.session();
    await log.delete(other.id);
    // Too young to be finished, whatever this process believes.
    expect(await log.finishDeletes()).toBe(0);
  });
});
