/** A lease is renewed from its first moment to its last and no longer; who lost it writes nothing more (I3, C51). */
import type { ModelClient } from '@manyhands/model';
import type { Lease, SessionWriter } from '@manyhands/session-log';
import { until } from '@manyhands/test-kit';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { expectSound, only, told } from './histories.ts';
import { type Parking, type Session, script, startParking, WORKSPACE } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());
afterEach(() => {
  parking.faults.outage = () => null;
  parking.faults.slow = null;
});

const END = { blocks: [{ text: 'done' }] };

async function asked(said = 'go'): Promise<Session> {
  const session = await parking.session([]);
  await session.send(script([END], said));
  return session;
}
/** A gate, and the way to open it. */
function gate(): { opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
/** The model port, which answers when it may, or is stopped. */
function waiting(begun: () => void, may: Promise<void>): ModelClient {
  return {
    ...parking.deps.model,
    async stream(request, listener, signal) {
      begun();
      await new Promise<void>((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        void may.then(resolve);
      });
      return parking.deps.model.stream(request, listener, signal);
    },
  };
}

/** Another worker takes the thread, as if this one had been gone for a while. */
async function takeOver(session: Session): Promise<Lease> {
  return until(
    async () => {
      await session.expire();
      const taken = await parking.deps.writer.acquire(
        { sessionId: session.id, threadId: session.primary, workspaceId: WORKSPACE },
        'another',
        60_000,
      );
      return 'lease' in taken && taken.lease;
    },
    { what: 'another worker has the lease' },
  );
}

test('a renewal that comes after the append that ended the turn is refused, counts as no loss, and none follows', async () => {
  const session = await asked();
  const { writer } = parking.deps;
  const steps: string[] = [];
  const leases: Lease[] = [];
  const renewing = gate();
  const ending = gate();
  const watched: SessionWriter = {
    ...writer,
    async renew(lease, ttlMs) {
      leases.push(lease);
      steps.push('renewal begins');
      renewing.open();
      await ending.opened;
      const held = await writer.renew(lease, ttlMs);
      steps.push(held ? 'renewed' : 'refused');
      return held;
    },
    async append(lease, n, batch) {
      const appended = await writer.append(lease, n, batch);
      if (batch.idle) {
        steps.push('idle');
        ending.open();
      }
      return appended;
    },
    async release(lease, how) {
      await writer.release(lease, how);
      steps.push('released');
    },
  };
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const model = waiting(() => {}, renewing.opened);
  expect(await session.work(session.primary, { deps: { writer: watched, model } })).toBe('idle');
  // The append that told idle gave the lease back.
  expect(steps).toEqual(['renewal begins', 'idle', 'refused']);
  await until(() => timers() <= before, { what: 'its timer is gone' });

  expect(await writer.renew(leases[0]!, 5_000)).toBeNull();
  expect(await session.leased()).toBe(false);
  await session.send(script([END], 'next'));
  const taken = await writer.acquire({ sessionId: session.id, threadId: session.primary, workspaceId: WORKSPACE }, 'the next one', 5_000);
  expect(taken).toMatchObject({ lease: { recoveries: 0 } });
});

test('a lease is renewed while its log is still being read', async () => {
  const session = await asked('x'.repeat(70_000));
  const { writer } = parking.deps;
  const renewed = gate();
  const watched: SessionWriter = {
    ...writer,
    async renew(lease, ttlMs) {
      const held = await writer.renew(lease, ttlMs);
      renewed.open();
      return held;
    },
  };
  let reads = 0;
  parking.faults.slow = async (operation) => {
    if (operation !== 'get') return;
    reads++;
    await renewed.opened;
  };
  expect(await session.work(session.primary, { deps: { writer: watched } })).toBe('idle');
  expect(reads).toBeGreaterThan(0);
  expect(told(await session.history()).at(-1)).toBe('idle end_turn');
});

test('a lease that was lost stops the run quietly: its request ends, and nothing more is written or given back', async () => {
  const session = await asked();
  const { writer } = parking.deps;
  const begun = gate();
  const calls: string[] = [];
  const watched: SessionWriter = {
    ...writer,
    append: (...args) => {
      calls.push('append');
      return writer.append(...args);
    },
    release: (...args) => {
      calls.push('release');
      return writer.release(...args);
    },
  };
  let stopped = false;
  const model = waiting(() => begun.open(), new Promise(() => {}));
  const stoppable: ModelClient = {
    ...model,
    stream: (request, listener, signal) => {
      signal?.addEventListener('abort', () => {
        stopped = true;
      });
      return model.stream(request, listener, signal);
    },
  };
  const working = session.work(session.primary, { deps: { writer: watched, model: stoppable } });
  await begun.opened;
  const lease = await takeOver(session);
  const written = calls.length;
  const { head } = await session.thread();
  expect(await working).toBe('elsewhere');
  expect({ stopped, calls: calls.length, head: (await session.thread()).head }).toEqual({ stopped: true, calls: written, head });
  expect([await session.field('lease_worker'), parking.followers.now]).toEqual(['another', 0]);

  await writer.release(lease, 'done');
  await session.settle();
  const events = await session.history();
  expectSound(events);
  expect(only(events, 'session.error')).toEqual([]);
  expect(told(events).at(-1)).toBe('idle end_turn');
});

test('a worker whose append is fenced stops quietly, too', async () => {
  const session = await asked();
  const { writer } = parking.deps;
  const answered = gate();
  const begun = gate();
  const working = session.work(session.primary, {
    deps: {
      model: waiting(() => begun.open(), answered.opened),
      // It notices nothing by itself.
      writer: { ...writer, renew: async () => ({ head: 0, interrupt: 0 }) },
    },
  });
  await begun.opened;
  const lease = await takeOver(session);
  const { head } = await session.thread();
  answered.open();
  expect(await working).toBe('elsewhere');
  expect([(await session.thread()).head, await session.field('lease_worker')]).toEqual([head, 'another']);
  await writer.release(lease, 'done');
  await session.settle();
  expect(only(await session.history(), 'agent.message')).toHaveLength(1);
});
