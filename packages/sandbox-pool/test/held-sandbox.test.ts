import { mkdir, symlink, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createMetrics, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { type HandRequest, workspaceSnapshotKey } from '@manyhands/contract';
import { silentLogger, until } from '@manyhands/test-kit';
import { describe, expect, test } from 'vitest';
import { saveSnapshot } from '../src/files/workspace-snapshot.ts';
import { createHeldSandbox } from '../src/pool/held-sandbox.ts';
import { type LeaseRecord, readLease, writeLease } from '../src/records/lease-record.ts';
import { createPoolMetrics } from '../src/service/metrics.ts';
import { type ScriptedDaemon, scriptedDaemon } from './scripted-daemon.ts';

const LEASE: LeaseRecord = {
  ...{ session_id: 'sesn_a', workspace_id: 'wrkspc_a', generation: 1, warm: true, state: 'leased', parked_at_ms: null },
  snapshot_key: 'wrkspc_a/sesn_a/snapshots/workspace.tar.gz',
  expires_at_ms: Date.now() + 60_000,
};
const outcome = (text: string) => ({ state: 'done', outcome: { is_error: false, content: [{ type: 'text', text }] } });

async function holding(daemon: ScriptedDaemon, change: { graceMs?: number; leaseTtlMs?: number } = {}, lease: LeaseRecord = LEASE) {
  const ends: string[] = [];
  const blobs = createDirectoryBlobStore(path.join(daemon.scratch, 'blobs'));
  await writeLease(daemon.sandbox.directory, lease);
  const held = createHeldSandbox(daemon.sandbox, lease, {
    ...{ blobs, clock: systemClock, log: silentLogger, graceMs: 60_000, leaseTtlMs: 60_000, ...change },
    metrics: createPoolMetrics(createMetrics('sandbox-pool')),
    onEnd: async (_held, reason) => void ends.push(reason),
    onIdleChange: () => {},
  });
  return { held, blobs, ends };
}
/** Answers pings and snapshots; the rest is the test's. */
function honest(sandboxExchange: () => string, rest: (request: HandRequest) => unknown = () => ({})) {
  return (request: HandRequest, send: (message: unknown) => void) => {
    if (request.op !== 'snapshot') return send({ id: request.id, ok: true, ...(rest(request) as object) });
    void writeFile(path.join(sandboxExchange(), request.name), 'the archive').then(() => send({ id: request.id, ok: true, bytes: 11 }));
  };
}

describe('calls', () => {
  test('a large outcome goes to the blob store once and comes back as a reference, also when asked again', async () => {
    const text = 'ä'.repeat(200_000);
    await using daemon = await scriptedDaemon(({ id }, send) => send({ id, ok: true, call: outcome(text) }));
    const { held, blobs } = await holding(daemon);
    const reply = await held.wait('sevt_1', 0);
    expect(reply).toEqual({ ok: true, outcome_ref: 'wrkspc_a/sesn_a/outcomes/sevt_1', uses: 1 });
    expect(await held.wait('sevt_1', 0)).toEqual(reply);
    expect(JSON.parse(String(await blobs.get('wrkspc_a/sesn_a/outcomes/sevt_1')))).toEqual({
      is_error: false,
      content: [{ type: 'text', text }],
    });
  });

  test('a small outcome comes inline', async () => {
    await using daemon = await scriptedDaemon(({ id }, send) => send({ id, ok: true, call: outcome('small') }));
    const { held } = await holding(daemon);
    expect(await held.start('sevt_1', 'bash', {})).toEqual({ ok: true, call: outcome('small'), uses: 2 });
  });

  test('a daemon that breaks the protocol is a lost sandbox, for the call that waits and for all after it', async () => {
    await using daemon = await scriptedDaemon(({ id }, send) => send({ id, ok: true, call: { state: 'exploded' } }));
    const { held, ends } = await holding(daemon);
    expect(await held.wait('sevt_1', 0)).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
    expect(await held.start('sevt_2', 'bash', {})).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
    expect(await held.park('wrkspc_a/x')).toMatchObject({ ok: false, error: { code: 'sandbox_lost' } });
    expect(ends).toEqual(['lost']);
  });
});

describe('idleness', () => {
  test('an idle sandbox is evicted after the grace time, its snapshot whole under the key of its park', async () => {
    let exchange = '';
    await using daemon = await scriptedDaemon(honest(() => exchange));
    exchange = daemon.sandbox.directory.exchange;
    const { held, blobs, ends } = await holding(daemon, { graceMs: 0 });
    await held.park('wrkspc_a/sesn_a/snapshots/other.tar.gz');
    expect(await readLease(daemon.sandbox.directory)).toMatchObject({
      state: 'parked',
      snapshot_key: 'wrkspc_a/sesn_a/snapshots/other.tar.gz',
    });
    await held.tick();
    expect(ends).toEqual(['let go']);
    expect(String(await blobs.get('wrkspc_a/sesn_a/snapshots/other.tar.gz'))).toBe('the archive');
  });

  test('a call ends the idle state durably before it reaches the daemon', async () => {
    let stateAtCall: string | undefined;
    await using daemon = await scriptedDaemon(({ id }, send) => {
      void readLease(daemon.sandbox.directory).then((lease) => {
        stateAtCall = lease?.state;
        send({ id, ok: true, call: { state: 'running' } });
      });
    });
    const { held, ends } = await holding(daemon, { graceMs: 0 });
    await held.park(LEASE.snapshot_key);
    await held.start('sevt_1', 'bash', {});
    expect(stateAtCall).toBe('leased');
    await held.tick();
    expect(ends).toEqual([]);
  });

  test('a call that comes while the snapshot is taken keeps the sandbox', async () => {
    let finish: (() => void) | undefined;
    await using daemon = await scriptedDaemon((request, send) => {
      if (request.op === 'snapshot')
        finish = () =>
          void writeFile(path.join(daemon.sandbox.directory.exchange, request.name), 'x').then(() => send({ id: request.id, ok: true }));
      else send({ id: request.id, ok: true, call: { state: 'running' } });
    });
    const { held, ends } = await holding(daemon, { graceMs: 0 });
    await held.park(LEASE.snapshot_key);
    const ticking = held.tick();
    await until(() => finish, { what: 'the snapshot was asked for' });
    expect(await held.start('sevt_1', 'bash', {})).toMatchObject({ ok: true });
    finish?.();
    await ticking;
    expect(ends).toEqual([]);
    expect(held.lease.state).toBe('leased');
  });

  test('a lease that nobody uses is evicted by itself, but not while a call of it runs', async () => {
    let exchange = '';
    let state = 'running';
    await using daemon = await scriptedDaemon(
      honest(
        () => exchange,
        ({ op }) => (op === 'start' || op === 'wait' ? { call: state === 'running' ? { state } : outcome('') } : {}),
      ),
    );
    exchange = daemon.sandbox.directory.exchange;
    const { held, blobs, ends } = await holding(daemon, { leaseTtlMs: 0 });
    await held.start('sevt_1', 'bash', {});
    await held.tick();
    expect(ends).toEqual([]);
    state = 'done';
    await held.tick();
    expect(ends).toEqual(['let go']);
    expect(String(await blobs.get(LEASE.snapshot_key))).toBe('the archive');
  });

  test('a snapshot that fails keeps the sandbox and the older snapshot', async () => {
    await using daemon = await scriptedDaemon(({ id, op }, send) =>
      send(op === 'snapshot' ? { id, ok: false, error: 'disk full' } : { id, ok: true }),
    );
    const { held, blobs, ends } = await holding(daemon, { graceMs: 0 });
    await blobs.put(LEASE.snapshot_key, Buffer.from('older'));
    await held.park(LEASE.snapshot_key);
    await held.tick();
    expect(ends).toEqual([]);
    expect(String(await blobs.get(LEASE.snapshot_key))).toBe('older');
    expect(await held.wait('sevt_1', 0)).toMatchObject({ ok: true });
  });
});

describe('a sandbox that several threads share', () => {
  /** A daemon whose calls are as the test says. */
  async function shared(change: { graceMs?: number } = {}, lease: LeaseRecord = LEASE) {
    const states = new Map<string, unknown>();
    let exchange = '';
    const daemon = await scriptedDaemon(
      honest(
        () => exchange,
        (request) => ('key' in request ? { call: states.get(request.key) ?? { state: 'unknown' } } : {}),
      ),
    );
    exchange = daemon.sandbox.directory.exchange;
    await mkdir(daemon.sandbox.directory.outputs);
    const holder = await holding(daemon, change, lease);
    const begin = async (key: string, thread?: string) => {
      states.set(key, { state: 'running' });
      return usesOf(await holder.held.start(key, 'bash', {}, thread));
    };
    const end = async (key: string) => {
      states.set(key, outcome(''));
      return usesOf(await holder.held.wait(key, 0));
    };
    return { daemon, ...holder, states, begin, end };
  }
  const usesOf = (reply: { ok: boolean; uses?: number | undefined }) => reply.uses ?? -1;

  test('counts each start, each end and each mount, and nothing else', async () => {
    const { daemon, held, begin, end } = await shared();
    await using _ = daemon;
    expect(await begin('sevt_1')).toBe(1);
    expect(usesOf(await held.wait('sevt_1', 0))).toBe(1);
    expect(await begin('sevt_2')).toBe(2);
    expect(await end('sevt_1')).toBe(3);
    expect(await end('sevt_1')).toBe(3);
    await held.ack(['sevt_1']);
    expect(usesOf(await held.outputs())).toBe(3);
    expect(usesOf(await held.mount(1, []))).toBe(4);
    expect(await end('sevt_2')).toBe(5);
  });

  test('is not made idle by who does not know of its latest use, and is by who does', async () => {
    const { daemon, held, begin, end, ends } = await shared({ graceMs: 0 });
    await using _ = daemon;
    await begin('sevt_mine');
    const mine = await end('sevt_mine');
    await begin('sevt_of_a_sibling');
    const latest = await end('sevt_of_a_sibling');
    expect(await held.park(LEASE.snapshot_key, mine)).toEqual({ ok: true, parked: false });
    await held.tick();
    expect([held.lease.state, ends]).toEqual(['leased', []]);
    expect(await held.park(LEASE.snapshot_key, latest)).toEqual({ ok: true, parked: true });
    // It is already as this one wants it.
    expect(await held.park(LEASE.snapshot_key, mine)).toEqual({ ok: true, parked: true });
    await held.tick();
    expect(ends).toEqual(['let go']);
  });

  test('is not made idle while a call runs, nor by who knows not of the end of one that nobody collected', async () => {
    const { daemon, held, begin, states } = await shared();
    await using _ = daemon;
    const uses = await begin('sevt_runs');
    expect(await held.park(LEASE.snapshot_key, uses)).toEqual({ ok: true, parked: false });
    states.set('sevt_runs', outcome('written'));
    expect(await held.park(LEASE.snapshot_key, uses)).toEqual({ ok: true, parked: false });
    expect(usesOf(await held.outputs())).toBe(uses + 1);
    expect(await held.park(LEASE.snapshot_key, uses + 1)).toEqual({ ok: true, parked: true });
  });

  test('is made idle by a worker of 0.1.0, which names no count and is alone', async () => {
    const { daemon, held, begin } = await shared();
    await using _ = daemon;
    await begin('sevt_runs');
    expect(await held.park(LEASE.snapshot_key)).toEqual({ ok: true, parked: true });
  });

  test('stays idle when a thread that is done acknowledges its calls late', async () => {
    const { daemon, held, begin, end } = await shared();
    await using _ = daemon;
    await begin('sevt_1');
    await held.park(LEASE.snapshot_key, await end('sevt_1'));
    expect(await held.ack(['sevt_1'])).toEqual({ ok: true });
    expect(held.lease.state).toBe('parked');
  });

  test('tells outputs as they were after the latest use, also when a look for somebody else was under way', async () => {
    const { daemon, held, begin, end } = await shared();
    await using _ = daemon;
    await begin('sevt_1');
    const early = held.outputs();
    const latest = await end('sevt_1');
    const late = held.outputs();
    expect(usesOf(await early)).toBe(1);
    expect(usesOf(await late)).toBe(latest);
  });

  test('counts on from a bound that is on disk before the first use that it covers', async () => {
    let onDisk: number | undefined;
    await using daemon = await scriptedDaemon(({ id }, send) => {
      void readLease(daemon.sandbox.directory).then((lease) => {
        onDisk ??= lease?.uses_up_to;
        send({ id, ok: true, call: { state: 'running' } });
      });
    });
    const { held } = await holding(daemon, {}, { ...LEASE, uses_up_to: 3_000 });
    expect(usesOf(await held.start('sevt_1', 'bash', {}))).toBe(3_001);
    expect(onDisk).toBeGreaterThan(3_001);
  });

  test('in which nothing was ever done ends unsaved: an older snapshot with the same contents stays as it is', async () => {
    const { daemon, held, blobs, ends } = await shared({ graceMs: 0 }, { ...LEASE, uses_up_to: 0 });
    await using _ = daemon;
    await held.park(LEASE.snapshot_key);
    await held.tick();
    expect(ends).toEqual(['let go']);
    expect(await blobs.get(LEASE.snapshot_key)).toBeNull();
  });

  test('whose pool leaves starts no call of a thread that has none running', async () => {
    const { daemon, held, begin, states } = await shared();
    await using _ = daemon;
    await begin('sevt_runs', 'sthr_busy');
    const over = new AbortController();
    const leaving = held.leave(over.signal);
    states.set('sevt_beside', { state: 'running' });
    expect(await held.start('sevt_other', 'bash', {}, 'sthr_other')).toMatchObject({ ok: false, error: { code: 'leaving' } });
    expect(await held.start('sevt_beside', 'bash', {}, 'sthr_busy')).toMatchObject({ ok: true });
    over.abort();
    await leaving;
  });
});

describe('a hostile snapshot', () => {
  test('a link to a file of the host is not read', async () => {
    await using daemon = await scriptedDaemon((request, send) => {
      if (request.op !== 'snapshot') return;
      void symlink('/etc/hostname', path.join(daemon.sandbox.directory.exchange, request.name)).then(() =>
        send({ id: request.id, ok: true, bytes: 5 }),
      );
    });
    const { blobs } = await holding(daemon);
    await expect(saveSnapshot(daemon.sandbox, blobs, LEASE.snapshot_key)).rejects.toThrow(/ELOOP/);
    expect(await blobs.get(LEASE.snapshot_key)).toBeNull();
  });

  test('a directory, a device or nothing at all is refused without waiting', async () => {
    await using daemon = await scriptedDaemon((request, send) => {
      if (request.op === 'snapshot')
        void unlink(path.join(daemon.sandbox.directory.exchange, request.name))
          .catch(() => {})
          .then(() => send({ id: request.id, ok: true }));
    });
    const { blobs } = await holding(daemon);
    await expect(saveSnapshot(daemon.sandbox, blobs, LEASE.snapshot_key)).rejects.toThrow(/ENOENT/);
  });
});

describe('a pool that leaves', () => {
  test('lets running calls finish, starts none, and keeps outcomes that nobody collected', async () => {
    const calls = new Map<string, unknown>([['sevt_runs', { state: 'running' }]]);
    let exchange = '';
    await using daemon = await scriptedDaemon(
      honest(
        () => exchange,
        (request) => ('key' in request ? { call: calls.get(request.key) ?? { state: 'unknown' } } : {}),
      ),
    );
    exchange = daemon.sandbox.directory.exchange;
    const { held, blobs, ends } = await holding(daemon);
    await held.start('sevt_runs', 'bash', {});
    const over = new AbortController();
    let left = false;
    const leaving = held.leave(over.signal).then(() => {
      left = true;
    });
    // Calls of one answer come together, so one more may join what runs.
    expect(await held.start('sevt_beside', 'bash', {})).toMatchObject({ ok: true });
    expect(left).toBe(false);
    calls.set('sevt_runs', outcome('finished'));
    await leaving;
    expect(await held.start('sevt_late', 'bash', {})).toMatchObject({ ok: false, error: { code: 'leaving' } });
    expect(await held.start('sevt_runs', 'bash', {})).toMatchObject({ ok: true, call: { state: 'done' } });
    expect(await held.evict('shut down')).toBe(true);
    expect(ends).toEqual(['shut down']);
    expect(JSON.parse(String(await blobs.get('wrkspc_a/sesn_a/outcomes/sevt_runs')))).toMatchObject({ content: [{ text: 'finished' }] });
    expect(await blobs.get('wrkspc_a/sesn_a/outcomes/sevt_beside')).toBeNull();
    expect(await held.start('sevt_late', 'bash', {})).toMatchObject({ ok: false, error: { code: 'unknown_sandbox' } });
  });

  test('waits for a running call no longer than it is given', async () => {
    await using daemon = await scriptedDaemon(({ id }, send) => send({ id, ok: true, call: { state: 'running' } }));
    const { held } = await holding(daemon);
    await held.start('sevt_1', 'bash', {});
    const over = new AbortController();
    const leaving = held.leave(over.signal);
    over.abort();
    await leaving;
  });

  test('a call that never reached the daemon, since the sandbox ended under it, may run elsewhere', async () => {
    const asked: string[] = [];
    await using daemon = await scriptedDaemon(({ id, op }, send) => {
      asked.push(op);
      send({ id, ok: true });
    });
    const { held } = await holding(daemon);
    await held.park('wrkspc_a/sesn_a/snapshots/workspace-1.tar.gz');
    // Un-parking is written to disk first; the end comes in between.
    const start = held.start('sevt_1', 'bash', {});
    const ending = held.end('superseded');
    expect(await start).toMatchObject({ ok: false, error: { code: 'unknown_sandbox' } });
    await ending;
    expect(asked).not.toContain('start');
  });
});

describe('snapshots', () => {
  test('of older generations go when a newer one is whole, those of newer ones stay', async () => {
    let exchange = '';
    await using daemon = await scriptedDaemon(honest(() => exchange));
    exchange = daemon.sandbox.directory.exchange;
    const { held, blobs } = await holding(daemon, { graceMs: 0 });
    const key = (generation: number) => workspaceSnapshotKey('wrkspc_a', 'sesn_a', generation);
    for (const generation of [0, 2]) await blobs.put(key(generation), Buffer.from('other'));
    await held.park(key(1));
    await held.tick();
    const keys: string[] = [];
    for await (const found of blobs.list('wrkspc_a/sesn_a/snapshots/')) keys.push(found);
    expect(keys.sort()).toEqual([key(1), key(2)]);
  });
});
