import { readFile } from 'node:fs/promises';
import path from 'node:path';
import {
  CallReply,
  type EgressReply,
  egressSubject,
  LeaseReply,
  poolLeaseSubject,
  SANDBOX_SUBJECT,
  workspaceSnapshotKey,
} from '@manyhands/contract';
import { startTestNats, type TestServer, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type PoolHost, startPoolHost } from './pool-host.ts';

let nats: TestServer;
beforeAll(async () => {
  nats = await startTestNats();
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
});

const refused = (code: string) => ({ ok: false, error: { code } });
async function killSandbox(host: PoolHost, id: string): Promise<void> {
  const information = JSON.parse(await readFile(path.join(host.poolRoot, id, 'driver', 'information'), 'utf8')) as { 'child-pid': number };
  process.kill(information['child-pid'], 'SIGKILL');
}

describe('a lease', () => {
  let host: PoolHost;
  beforeAll(async () => {
    host = await startPoolHost(nats);
  });
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
  });

  test('comes from the warm pool, which is filled again', async () => {
    const given = await host.client.leased('sesn_warm');
    expect(given.warm).toBe(true);
    await until(() => host.pool.warmCount === 1, { what: 'the warm pool is filled again' });
    await host.client.ask(given, 'release', {});
  });

  test('asked for again, even at the same time, is the same sandbox', async () => {
    const given = await Promise.all([1, 2, 3].map(() => host.client.leased('sesn_same', 1)));
    given.push(await host.client.leased('sesn_same', 1));
    expect(new Set(given.map(({ sandbox_id }) => sandbox_id)).size).toBe(1);
    expect(new Set(given.map(({ warm }) => warm)).size).toBe(1);
    const byName = await host.client.messaging.request(
      poolLeaseSubject(host.pool.poolId),
      {
        workspace_id: 'wrkspc_a',
        session_id: 'sesn_same',
        generation: 1,
        restore_from: null,
        spec: { environment_id: 'e', networking: { type: 'unrestricted' } },
      },
      LeaseReply,
      20_000,
    );
    expect(byName).toMatchObject({ ok: true, sandbox_id: given[0]?.sandbox_id });
    if (given[0]) await host.client.ask(given[0], 'release', {});
  });

  test('under a lower generation is refused; under a higher one it ends the older sandbox', async () => {
    const older = await host.client.leased('sesn_gen', 3);
    expect(await host.client.lease('sesn_gen', 2)).toMatchObject(refused('stale_generation'));
    const newer = await host.client.leased('sesn_gen', 4);
    expect(newer.sandbox_id).not.toBe(older.sandbox_id);
    expect(await host.client.start(older, 'sevt_1', 'true')).toMatchObject(refused('unknown_sandbox'));
    expect(await host.client.start({ ...newer, generation: 3 }, 'sevt_1', 'true')).toMatchObject(refused('stale_generation'));
    await host.client.ask(newer, 'release', {});
  });

  test('that ended is never given again under its generation', async () => {
    const given = await host.client.leased('sesn_over', 2);
    expect(await host.client.ask(given, 'release', {})).toEqual({ ok: true });
    expect(await host.client.ask(given, 'release', {})).toEqual({ ok: true });
    expect(await host.client.lease('sesn_over', 2)).toMatchObject(refused('sandbox_lost'));
    expect(await host.client.lease('sesn_over', 1)).toMatchObject(refused('stale_generation'));
    await host.client.ask(await host.client.leased('sesn_over', 3), 'release', {});
  });

  test('runs a call once however often it is started, and gives its outcome by key', async () => {
    const given = await host.client.leased('sesn_once');
    await Promise.all([1, 2, 3].map(() => host.client.start(given, 'sevt_1', 'echo x >> counter; sleep 0.3; echo done')));
    expect(await host.client.collect(given, 'sevt_1')).toContain('done');
    expect(await host.client.bash(given, 'wc -l < counter')).toBe('1');
    expect(await host.client.ask(given, 'ack', { keys: ['sevt_1'] })).toEqual({ ok: true });
    expect(await host.client.ask(given, 'wait', { key: 'sevt_never', wait_ms: 0 })).toMatchObject({ ok: true, call: { state: 'unknown' } });
    await host.client.ask(given, 'release', {});
  });

  test('runs the calls of each thread in a shell of its own, side by side', async () => {
    const given = await host.client.leased('sesn_threads');
    const start = (key: string, thread: string, command: string) =>
      host.client.ask(given, 'start', { key, thread, tool: 'bash', input: { command } });
    await start('sevt_1', 'sthr_1', 'mkfifo gate; NAME=one');
    await host.client.collect(given, 'sevt_1');
    await start('sevt_2', 'sthr_1', 'read line < gate; echo "$line $NAME"');
    await start('sevt_3', 'sthr_2', 'echo "opened" > gate; echo "[$NAME]"');
    expect(await host.client.collect(given, 'sevt_3')).toBe('[]');
    expect(await host.client.collect(given, 'sevt_2')).toBe('opened one');
    expect(await start('sevt_4', '', 'true')).toMatchObject({ ok: false, error: { code: 'invalid_request' } });
    await host.client.ask(given, 'release', {});
  });

  test('cancels a running call', async () => {
    const given = await host.client.leased('sesn_cancel');
    await host.client.start(given, 'sevt_1', 'sleep 600');
    await host.client.ask(given, 'cancel', { key: 'sevt_1' });
    expect(await host.client.collect(given, 'sevt_1')).toMatch(/interrupt|cancel/i);
    await host.client.ask(given, 'release', {});
  });

  test('takes an input by blob key', async () => {
    const given = await host.client.leased('sesn_ref');
    const content = 'z'.repeat(400_000);
    await host.blobs.put('wrkspc_a/sesn_ref/inputs/sevt_1', Buffer.from(JSON.stringify({ file_path: '/workspace/big.txt', content })));
    const reply = await host.client.ask(given, 'start', { key: 'sevt_1', tool: 'write', input_ref: 'wrkspc_a/sesn_ref/inputs/sevt_1' });
    expect(reply).toMatchObject({ ok: true });
    await host.client.collect(given, 'sevt_1');
    expect(await host.client.bash(given, 'wc -c < big.txt')).toBe('400000');
    await host.client.ask(given, 'release', {});
  });

  test('answers bad requests with what is wrong', async () => {
    const given = await host.client.leased('sesn_bad');
    const ask = (verb: Parameters<typeof host.client.ask>[1], body: object) => host.client.ask(given, verb, body);
    const cases: [Promise<unknown>, RegExp][] = [
      [ask('start', { tool: 'bash', input: {} }), /^key: /],
      [ask('start', { key: '../x', tool: 'bash', input: {} }), /^key: must be letters/],
      [ask('start', { key: 'sevt_1', tool: 'bash' }), /exactly one of input and input_ref/],
      [ask('start', { key: 'sevt_1', tool: 'bash', input: {}, input_ref: 'wrkspc_a/x' }), /exactly one of input and input_ref/],
      [
        ask('start', { key: 'sevt_1', tool: 'bash', input_ref: 'wrkspc_b/sesn_z/inputs/1' }),
        /input_ref: must be a blob key below "wrkspc_a\/"/,
      ],
      [ask('start', { key: 'sevt_1', tool: 'bash', input_ref: 'wrkspc_a/none' }), /there is no blob/],
      [ask('wait', { key: 'sevt_1', wait_ms: 60_000 }), /^wait_ms: /],
      [ask('park', { snapshot_key: 'wrkspc_a/../x' }), /snapshot_key: must be a blob key/],
      [ask('park', { snapshot_key: 'wrkspc_b/x' }), /snapshot_key: must be a blob key/],
      [host.client.lease('../sesn', 1), /^session_id: /],
      [host.client.lease('sesn_x', 0), /^generation: /],
      [host.client.lease('sesn_x', 1, { restore_from: '/etc/passwd' }), /^restore_from: /],
      [host.client.messaging.request(`sandbox.${given.pool_id}.${given.sandbox_id}.explode`, {}, CallReply, 5_000), /^verb: /],
    ];
    for (const [reply, message] of cases)
      expect(await reply).toMatchObject({
        ok: false,
        error: { code: 'invalid_request', message: expect.stringMatching(message) as string },
      });
    expect(
      await host.client.messaging.request(
        `sandbox.${given.pool_id}.${given.sandbox_id}.wait`,
        { session_id: 'sesn_other', generation: 1, key: 'k', wait_ms: 0 },
        CallReply,
        5_000,
      ),
    ).toMatchObject(refused('unknown_sandbox'));
    expect(
      await host.client.ask({ ...given, sandbox_id: 'sbx_none' }, 'wait', { session_id: 'sesn_bad', key: 'k', wait_ms: 0 }),
    ).toMatchObject(refused('unknown_sandbox'));
    await ask('release', {});
  });

  test('whose sandbox dies answers sandbox_lost, to who waits and to who comes later, and the next generation works', async () => {
    const given = await host.client.leased('sesn_dies');
    await host.client.start(given, 'sevt_1', 'sleep 600');
    const waiting = host.client.ask(given, 'wait', { key: 'sevt_1', wait_ms: 30_000 });
    await killSandbox(host, given.sandbox_id);
    expect(await waiting).toMatchObject(refused('sandbox_lost'));
    expect(await host.client.start(given, 'sevt_2', 'true')).toMatchObject(refused('sandbox_lost'));
    expect(await host.client.lease('sesn_dies', 1)).toMatchObject(refused('sandbox_lost'));
    const next = await host.client.leased('sesn_dies', 2);
    expect(await host.client.bash(next, 'echo again')).toBe('again');
    await host.client.ask(next, 'release', {});
    await until(async () => !(await host.sandboxDirectories()).includes(given.sandbox_id), { what: 'the dead sandbox is removed' });
  });

  test('is served from a prewarm, and a prewarm never takes the last one from a demand', async () => {
    await until(() => host.pool.warmCount === 1, { what: 'a warm sandbox' });
    expect(await host.client.prewarm('sesn_prewarmed')).toEqual({ pool_id: host.pool.poolId, reserved: true });
    expect(await host.client.prewarm('sesn_prewarmed')).toEqual({ pool_id: host.pool.poolId, reserved: true });
    const demanded = await host.client.leased('sesn_demand');
    const prewarmed = await host.client.leased('sesn_prewarmed');
    expect(prewarmed.warm).toBe(true);
    expect(prewarmed.sandbox_id).not.toBe(demanded.sandbox_id);
    for (const given of [demanded, prewarmed]) await host.client.ask(given, 'release', {});
  });

  test('under a missing snapshot fails with a reason and gives the sandbox to nobody', async () => {
    const before = host.pool.heldCount;
    expect(await host.client.lease('sesn_nosnap', 1, { restore_from: 'wrkspc_a/sesn_nosnap/none' })).toMatchObject({
      ok: false,
      error: { code: 'failed', message: expect.stringContaining('there is no workspace snapshot') as string },
    });
    expect(host.pool.heldCount).toBe(before);
    await host.client.ask(await host.client.leased('sesn_nosnap', 1), 'release', {});
  });
});

describe('an idle session', () => {
  test('is idle, evicted with its workspace saved, and gets it back in another sandbox', async () => {
    await using host = await startPoolHost(nats, { graceMs: 100 });
    const first = await host.client.leased('sesn_sleeps');
    await host.client.bash(first, 'echo kept > file.txt; echo out > /mnt/session/outputs/o.txt');
    const key = workspaceSnapshotKey('wrkspc_a', 'sesn_sleeps', 1);
    expect(await host.client.ask(first, 'park', { snapshot_key: key })).toEqual({ ok: true, parked: true });
    await until(() => host.pool.heldCount === 0, { what: 'the sandbox is evicted' });
    expect(await host.client.start(first, 'sevt_1', 'true')).toMatchObject(refused('unknown_sandbox'));
    const second = await host.client.leased('sesn_sleeps', 2, { restore_from: key });
    expect(await host.client.bash(second, 'cat file.txt /mnt/session/outputs/o.txt')).toBe('kept\nout');
    expect(second.sandbox_id).not.toBe(first.sandbox_id);
  });

  test('that nobody parks is evicted by itself under its default key', async () => {
    await using host = await startPoolHost(nats, { leaseTtlMs: 200 });
    const given = await host.client.leased('sesn_forgotten');
    await host.client.start(given, 'sevt_1', 'sleep 1; echo written > late.txt');
    await until(() => host.pool.heldCount === 0, { what: 'the lease expires' });
    const next = await host.client.leased('sesn_forgotten', 2, { restore_from: workspaceSnapshotKey('wrkspc_a', 'sesn_forgotten', 1) });
    expect(await host.client.bash(next, 'cat late.txt')).toBe('written');
  });
});

describe('a full pool', () => {
  test('leaves the queue group, says so on its own subject, and comes back when there is room', async () => {
    await using host = await startPoolHost(nats, { warm: 1, max: 2 });
    const [one, two] = [await host.client.leased('sesn_1'), await host.client.leased('sesn_2')];
    await until(
      () =>
        host.client.messaging.request(SANDBOX_SUBJECT.lease, {}, LeaseReply, 500).then(
          () => false,
          (error: { code?: string }) => error.code === 'unavailable',
        ),
      { what: 'nobody serves demands' },
    );
    const request = {
      workspace_id: 'wrkspc_a',
      session_id: 'sesn_3',
      generation: 1,
      restore_from: null,
      spec: { environment_id: 'e', networking: { type: 'unrestricted' } },
    };
    expect(await host.client.messaging.request(poolLeaseSubject(host.pool.poolId), request, LeaseReply, 5_000)).toMatchObject(
      refused('at_capacity'),
    );
    await host.client.ask(one, 'release', {});
    const three = await until(() => host.client.leased('sesn_3'), { what: 'a lease after a release' });
    expect(await host.client.bash(three, 'echo ok')).toBe('ok');
    for (const given of [two, three]) await host.client.ask(given, 'release', {});
  });

  test('evicts an idle session, saved, when another asks', async () => {
    await using host = await startPoolHost(nats, { warm: 0, max: 1 });
    const idle = await host.client.leased('sesn_parked');
    await host.client.bash(idle, 'echo mine > file.txt');
    await host.client.ask(idle, 'park', { snapshot_key: workspaceSnapshotKey('wrkspc_a', 'sesn_parked', 1) });
    const given = await until(() => host.client.leased('sesn_new'), { what: 'room was made' });
    expect(await host.client.bash(given, 'ls -A')).not.toContain('file.txt');
    await host.client.ask(given, 'release', {});
    const back = await until(
      () => host.client.leased('sesn_parked', 2, { restore_from: workspaceSnapshotKey('wrkspc_a', 'sesn_parked', 1) }),
      {
        what: 'a lease',
      },
    );
    expect(await host.client.bash(back, 'cat file.txt')).toBe('mine');
  });

  test('meets a burst of demands up to its size with one sandbox each', async () => {
    await using host = await startPoolHost(nats, { warm: 1, max: 4 });
    const given = await Promise.all([1, 2, 3, 4].map((index) => host.client.leased(`sesn_${index}`)));
    expect(new Set(given.map(({ sandbox_id }) => sandbox_id)).size).toBe(4);
    expect(await Promise.all(given.map((each, index) => host.client.bash(each, `echo ${index}`)))).toEqual(['0', '1', '2', '3']);
  });
});

describe('egress', () => {
  test('is told of the policy with the lease, and of the end', async () => {
    await using host = await startPoolHost(nats, { egress: true });
    const told: string[] = [];
    const serve = (verb: 'open' | 'close') =>
      host.client.messaging.serve(egressSubject(host.pool.poolId, verb), async (body) => {
        const { sandbox_id } = body as { sandbox_id: string };
        told.push(`${verb} ${verb === 'open' ? await readFile(path.join(host.poolRoot, sandbox_id, 'policy.json'), 'utf8') : sandbox_id}`);
        return { ok: true } satisfies EgressReply;
      });
    serve('open');
    serve('close');
    const given = await host.client.leased('sesn_net', 1, {
      spec: {
        environment_id: 'e',
        networking: { type: 'limited', allowed_hosts: ['example.com'], allow_mcp_servers: false, allow_package_managers: false },
      },
    });
    await until(() => told.length === 1, { what: 'egress is told of the policy' });
    expect(JSON.parse(told[0]?.slice(5) ?? '')).toMatchObject({
      sandbox_id: given.sandbox_id,
      session_id: 'sesn_net',
      networking: { type: 'limited', allowed_hosts: ['example.com'] },
    });
    await host.client.ask(given, 'release', {});
    await until(() => told.includes(`close ${given.sandbox_id}`), { what: 'egress is told of the end' });
  });

  test('that does not answer delays no lease, and is asked on', async () => {
    await using host = await startPoolHost(nats, { egress: true });
    const given = await host.client.leased('sesn_net');
    expect(await host.client.bash(given, 'echo works')).toBe('works');
    const asked = new Promise<unknown>((resolve) => {
      host.client.messaging.serve(egressSubject(host.pool.poolId, 'open'), async (body) => {
        resolve(body);
        return { ok: true };
      });
    });
    expect(await asked).toEqual({ sandbox_id: given.sandbox_id });
  });
});

describe('the end of a pool', () => {
  test('saves what sessions have and leaves nothing', async () => {
    await using host = await startPoolHost(nats, { warm: 2 });
    const given = await host.client.leased('sesn_saved');
    await host.client.bash(given, 'echo saved > file.txt; (setsid sleep 600 >/dev/null 2>&1 &)');
    const { poolRoot } = host;
    await host.pool.drain();
    expect(await host.sandboxDirectories()).toEqual([]);
    expect((await host.traces()).filter((trace) => trace.includes(poolRoot))).toEqual([]);
    expect(
      await host.blobs.open(workspaceSnapshotKey('wrkspc_a', 'sesn_saved', 1)).then((blob) => blob?.stream.destroy() && blob.bytes),
    ).toBeGreaterThan(0);
  });
});
