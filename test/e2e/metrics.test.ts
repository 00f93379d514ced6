/** What operators see: every process tells Prometheus what it does, and says whether it can serve. Real processes under real work. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { createRedis } from '@manyhands/base';
import { type FakeScript, fakeScript } from '@manyhands/model/testing';
import { silentLogger, spawnService, until } from '@manyhands/test-kit';
import { createTurnQueue } from '@manyhands/turn-queue';
import { beforeAll, describe, expect, test } from 'vitest';
import { OPERATOR_KEY, type Role, type Stack, startStack } from '../conformance/stack.ts';
import { useStack } from '../conformance/verifies.ts';
import { say, startSession, texts, untilEvent, untilIdle } from './conversation.ts';
import { type Exposition, operationsUrl, readiness, scrape, scrapeText, sum } from './exposition.ts';
import { startInstance } from './instance.ts';

const GATEWAY = path.resolve(import.meta.dirname, '../../packages/gateway/dist/main.js');
const ROLES = ['gateway', 'harness', 'sandbox-pool', 'egress'] as const satisfies readonly Role[];
const OPERATIONS = { MANYHANDS_OPS_LISTEN: '0' };

async function scrapeAll(stack: Stack): Promise<Record<(typeof ROLES)[number], Exposition>> {
  const found = await Promise.all(ROLES.map(async (role) => [role, await scrape(stack.service(role))] as const));
  return Object.fromEntries(found) as Record<(typeof ROLES)[number], Exposition>;
}
async function run(stack: Stack, sessionId: string, steps: FakeScript, turns = 1): Promise<string> {
  await say(stack.client(), sessionId, fakeScript(steps));
  return texts(await untilIdle(stack.client(), sessionId, 40_000, turns), 'agent.message').at(-1) ?? '';
}
function bash(command: string): FakeScript {
  return [{ blocks: [{ tool: 'bash', input: { command } }] }, { blocks: [{ text: '{{last_tool_result}}' }] }];
}
/** Asks the forwarder in the sandbox for an address that nothing may reach, without any program but the shell. */
const FORBIDDEN = [
  'p="$' + '{HTTP_PROXY##*:}"; exec 3<>"/dev/tcp/127.0.0.1/$' + '{p%/}"',
  "printf 'GET http://169.254.169.254/ HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n' >&3",
  'head -n 1 <&3',
].join('; ');

describe('metrics of an instance under work', () => {
  const pool = { MANYHANDS_SANDBOX_GRACE_MS: '200', MANYHANDS_POOL_MAX: '8' };
  const started = useStack({
    tier: 'full',
    env: { gateway: OPERATIONS, harness: OPERATIONS, egress: OPERATIONS, 'sandbox-pool': { ...OPERATIONS, ...pool } },
  });
  let stack: Stack;
  beforeAll(() => {
    stack = started();
  });

  test('a turn with a tool call moves the numbers of the process that did it', async () => {
    const before = await scrapeAll(stack);
    const sessionId = await startSession(stack.client());
    expect(await run(stack, sessionId, bash('echo out; exit 3'))).toContain('out');
    // Idle is told before the worker lets go.
    await until(async () => (sum(await scrape(stack.service('harness')), 'manyhands_turn_seconds_count', { end: 'idle' }) ?? 0) > 0, {
      what: 'the turn to be counted',
    });
    const after = await scrapeAll(stack);
    const grown = (role: (typeof ROLES)[number], name: string, labels: Record<string, string> = {}) =>
      (sum(after[role], name, labels) ?? 0) - (sum(before[role], name, labels) ?? 0);

    const post = { method: 'POST', route: '/v1/sessions/:session_id/events', status: '2xx' };
    expect(grown('gateway', 'manyhands_http_request_seconds_count', post)).toBe(1);
    expect(grown('gateway', 'manyhands_http_request_seconds_sum', post)).toBeGreaterThan(0);
    expect(grown('gateway', 'manyhands_events_appended_total', { op: 'send' })).toBe(1);
    expect(grown('gateway', 'manyhands_append_seconds_count', { op: 'send', outcome: 'applied' })).toBe(1);
    expect(grown('gateway', 'manyhands_append_seconds_count', { op: 'create', outcome: 'applied' })).toBe(1);

    expect(grown('harness', 'manyhands_turn_seconds_count', { end: 'idle' })).toBeGreaterThanOrEqual(1);
    expect(grown('harness', 'manyhands_turn_start_seconds_count')).toBe(1);
    expect(grown('harness', 'manyhands_turn_start_seconds_sum')).toBeLessThan(20);
    expect(grown('harness', 'manyhands_session_lease_seconds_count', { outcome: 'taken' })).toBeGreaterThanOrEqual(1);
    expect(grown('harness', 'manyhands_model_request_seconds_count', { model: 'fake', outcome: 'answered' })).toBe(2);
    expect(grown('harness', 'manyhands_model_first_token_seconds_count', { model: 'fake' })).toBe(2);
    expect(grown('harness', 'manyhands_model_first_token_seconds_sum')).toBeLessThanOrEqual(
      grown('harness', 'manyhands_model_request_seconds_sum'),
    );
    const output = grown('harness', 'manyhands_model_tokens_total', { kind: 'output' });
    expect(output).toBeGreaterThan(0);
    // Most of the prompt counts as written to or read from the cache.
    expect(grown('harness', 'manyhands_model_tokens_total')).toBeGreaterThan(output);
    expect(grown('harness', 'manyhands_tool_seconds_count', { tool: 'bash' })).toBe(1);
    expect(grown('harness', 'manyhands_sandbox_wait_seconds_count', { outcome: 'leased' })).toBe(1);
    expect(grown('harness', 'manyhands_events_appended_total', { op: 'turn' })).toBeGreaterThan(8);
    expect(sum(after.harness, 'manyhands_turns_max')).toBe(64);

    expect(grown('sandbox-pool', 'manyhands_sandbox_lease_seconds_count')).toBe(1);
    expect(sum(after['sandbox-pool'], 'manyhands_sandbox_create_seconds_count', { outcome: 'ok' })).toBeGreaterThanOrEqual(1);
    expect(sum(after['sandbox-pool'], 'manyhands_sandboxes_max')).toBe(8);
    expect(sum(after['sandbox-pool'], 'manyhands_sandbox_room')).toBe(1);
    for (const role of ROLES) expect(sum(after[role], 'nodejs_eventloop_lag_seconds', { service: role })).toBeGreaterThanOrEqual(0);
  }, 90_000);

  test('gauges show what is going on while it goes on, and are back at rest after it', async () => {
    const { harness, pool } = { harness: stack.service('harness'), pool: stack.service('sandbox-pool') };
    const sessionId = await startSession(stack.client());
    await using stream = await openStream(stack, sessionId);
    expect(stream.status).toBe(200);
    await say(stack.client(), sessionId, fakeScript(bash('until [ -e go ]; do sleep 0.05; done')));
    // Sandboxes of earlier sessions may still be there; the call itself shows that this one has its own.
    await untilEvent(stack.client(), sessionId, 'agent.tool_use');
    await until(async () => sum(await scrape(harness), 'manyhands_sandbox_wait_seconds_count', { outcome: 'leased' }) === 2, {
      what: 'a sandbox for the call',
    });
    expect(sum(await scrape(pool), 'manyhands_sandboxes', { state: 'leased' })).toBeGreaterThanOrEqual(1);
    expect(sum(await scrape(harness), 'manyhands_turns_running')).toBe(1);
    const gateway = await scrape(stack.service('gateway'));
    expect(sum(gateway, 'manyhands_queue_jobs', { queue: 'turns', state: 'active' })).toBe(1);
    expect(sum(gateway, 'manyhands_event_streams_open')).toBe(1);
    await until(async () => (sum(await scrape(stack.service('egress')), 'manyhands_egress_sandboxes') ?? 0) > 0, {
      what: 'a way out to be open',
    });
    await stack.client().beta.sessions.events.send(sessionId, { events: [{ type: 'user.interrupt' }] });
    await untilIdle(stack.client(), sessionId, 40_000);
    await until(async () => sum(await scrape(harness), 'manyhands_turns_running') === 0, { what: 'no turn running' });
    await until(
      async () => sum(await scrape(stack.service('gateway')), 'manyhands_queue_jobs', { queue: 'turns', state: 'active' }) === 0,
      {
        what: 'no active job',
      },
    );
    expect(sum(await scrape(harness), 'manyhands_model_requests_running')).toBe(0);
  }, 90_000);

  test('a workspace that is saved and restored, and a sandbox that dies, are counted by its pool', async () => {
    const pool = stack.service('sandbox-pool');
    const held = (found: Exposition) =>
      sum(found, 'manyhands_sandboxes', { state: 'leased' })! + sum(found, 'manyhands_sandboxes', { state: 'parked' })!;
    const saved = (found: Exposition) => sum(found, 'manyhands_sandbox_snapshot_seconds_count', { op: 'save', outcome: 'ok' }) ?? 0;
    // Sessions of other tests still let go of theirs.
    await until(async () => held(await scrape(pool)) === 0, { what: 'no sandbox to be held' });
    const before = await scrape(pool);
    const sessionId = await startSession(stack.client());
    await run(stack, sessionId, bash('echo kept > file'));
    await until(
      async () => {
        const found = await scrape(pool);
        return saved(found) > saved(before) && held(found) === 0;
      },
      { what: 'the workspace to be saved and the sandbox to be let go' },
    );
    expect(await run(stack, sessionId, bash('cat file; kill -9 -1'), 2)).not.toBe('');
    const after = await until(
      async () => {
        const found = await scrape(pool);
        return sum(found, 'manyhands_sandboxes_lost_total', { state: 'leased' }) === 1 && found;
      },
      { what: 'the loss to be counted' },
    );
    expect(sum(after, 'manyhands_sandbox_snapshot_seconds_count', { op: 'restore', outcome: 'ok' })).toBe(1);
    expect(sum(after, 'manyhands_sandbox_snapshot_bytes_total')).toBeGreaterThan(100);
    expect(sum(after, 'manyhands_sandboxes_ended_total', { reason: 'lost' })).toBe(1);
    expect(sum(after, 'manyhands_sandboxes_ended_total', { reason: 'let go' })).toBeGreaterThanOrEqual(1);
  }, 90_000);

  test('a way out that is refused is counted by the egress process', async () => {
    const egress = stack.service('egress');
    const sessionId = await startSession(stack.client());
    expect(await run(stack, sessionId, bash(FORBIDDEN))).toContain('403');
    expect(sum(await scrape(egress), 'manyhands_egress_requests_total', { kind: 'request', decision: 'blocked' })).toBe(1);
    expect(sum(await scrape(egress), 'manyhands_egress_requests_total', { decision: 'allowed' })).toBe(0);
  }, 90_000);

  test('no metric carries an id, a key, a password or anything that a user wrote', async () => {
    const secret = 'sk-ant-api03-secret-of-a-user';
    const agent = await stack.client().beta.agents.create({
      name: secret,
      model: secret,
      tools: [{ type: 'agent_toolset_20260401' }],
      metadata: { secret },
    });
    const environment = await stack.client().beta.environments.create({ name: secret, config: { type: 'cloud' } });
    const session = await stack.client().beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const failure = { error: { status: 400, type: 'invalid_request_error', message: secret } };
    const call = { blocks: [{ tool: secret, input: { secret } }] };
    await say(stack.client(), session.id, fakeScript([call, failure], secret));
    await untilEvent(stack.client(), session.id, 'session.status_idle');
    await fetch(`${stack.url()}/v1/${secret}?key=${secret}`, { headers: { 'x-api-key': secret } });
    await fetch(`${stack.url()}/v1/sessions/${secret}`, { method: 'PUT', headers: { authorization: `Bearer ${OPERATOR_KEY}` } });
    // This endpoint answers to any model id, and ids that answered are told: the one thing of a user's that is.
    const known = new Set([secret]);
    for (const role of ROLES) {
      const found = await scrape(stack.service(role));
      const text = await scrapeText(stack.service(role));
      for (const forbidden of [OPERATOR_KEY, session.id, agent.id, environment.id, stack.data, String(stack.redis.port)])
        expect(text).not.toContain(forbidden);
      expect(text).not.toMatch(/\b(sesn|sevt|sthr|agent|env|sbx|pool|wrkspc|apikey|req|evt)_[1-9A-HJ-NP-Za-km-z]{8,}/);
      for (const [name, family] of found) {
        const values = family.samples.flatMap(({ labels }) =>
          Object.entries(labels).filter(([label]) => !(label === 'model' && known.has(labels['model']!))),
        );
        expect(JSON.stringify(values), name).not.toContain(secret);
      }
    }
  }, 90_000);

  test('a model that never answered and a tool that does not exist are told as other', async () => {
    const harness = stack.service('harness');
    const agent = await stack
      .client()
      .beta.agents.create({ name: 'a', model: 'no-such-model', tools: [{ type: 'agent_toolset_20260401' }] });
    const environment = await stack.client().beta.environments.create({ name: 'e', config: { type: 'cloud' } });
    const { id } = await stack.client().beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    await say(stack.client(), id, fakeScript([{ error: { status: 529, type: 'overloaded_error', times: 99 } }]));
    await untilIdle(stack.client(), id, 40_000);
    const found = await scrape(harness);
    expect(sum(found, 'manyhands_model_request_seconds_count', { model: 'other', outcome: 'overloaded' })).toBe(3);
    expect(sum(found, 'manyhands_model_request_seconds_count', { model: 'no-such-model' })).toBeUndefined();
    expect(sum(found, 'manyhands_turns_given_up_total')).toBeGreaterThanOrEqual(1);
    expect(sum(found, 'manyhands_tool_seconds_count', { tool: 'other', outcome: 'refused' })).toBe(1);
  }, 90_000);
});

async function openStream(stack: Stack, sessionId: string): Promise<{ status: number } & AsyncDisposable> {
  const controller = new AbortController();
  const response = await fetch(`${stack.url()}/v1/sessions/${sessionId}/events/stream`, {
    headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    signal: controller.signal,
  });
  // A body that nobody reads is cancelled as soon as it is garbage.
  const read = response.text().catch(() => '');
  return {
    status: response.status,
    async [Symbol.asyncDispose]() {
      controller.abort();
      await read;
    },
  };
}

describe('readiness', () => {
  const started = useStack({ tier: 'turns', count: { harness: 2 }, env: { gateway: OPERATIONS, harness: OPERATIONS } });
  let stack: Stack;
  beforeAll(async () => {
    stack = started();
    await stack.add('egress', OPERATIONS);
  }, 60_000);

  const becomes = (role: Role, expected: { code: number; status: string; missing: string[] }) =>
    until(async () => JSON.stringify(await readiness(stack.service(role)).then(pick)) === JSON.stringify(expected), {
      what: `${role} to say ${JSON.stringify(expected)}`,
      timeoutMs: 20_000,
      intervalMs: 100,
    });
  const pick = ({ code, status, missing }: { code: number; status: string; missing: string[] }) => ({ code, status, missing });
  const READY = { code: 200, status: 'ready', missing: [] };
  const without = (...missing: string[]) => ({ code: 503, status: 'unavailable', missing });

  test('a Redis that is gone or hangs is named by those that need it, a scrape still answers, and all are ready again when it is back', async () => {
    for (const role of ['gateway', 'harness', 'egress'] as const) await becomes(role, READY);
    for (const [take, back] of [
      [() => stack.redis.kill(), () => stack.redis.restart()],
      [() => stack.redis.pause(), () => stack.redis.resume()],
    ] as const) {
      await take();
      await Promise.all([becomes('gateway', without('redis')), becomes('harness', without('redis'))]);
      expect(pick(await readiness(stack.service('egress')))).toEqual(READY);
      const found = await scrape(stack.service('gateway'));
      expect(sum(found, 'manyhands_queue_jobs')).toBeUndefined();
      expect(sum(found, 'manyhands_scrape_failures_total', { source: 'queues' })).toBeGreaterThanOrEqual(1);
      expect((await fetch(`${operationsUrl(stack.service('harness'))}/healthz`)).status).toBe(200);
      await back();
      await Promise.all([becomes('gateway', READY), becomes('harness', READY)]);
      await until(
        async () => sum(await scrape(stack.service('gateway')), 'manyhands_queue_jobs', { queue: 'turns', state: 'waiting' }) === 0,
        {
          what: 'the queue to be told again',
          timeoutMs: 20_000,
        },
      );
    }
  }, 90_000);

  test('a NATS that is gone or hangs is named by those that need it, and all are ready again when it is back', async () => {
    for (const [take, back] of [
      [() => stack.nats!.kill(), () => stack.nats!.restart()],
      [() => stack.nats!.pause(), () => stack.nats!.resume()],
    ] as const) {
      await take();
      await Promise.all([becomes('harness', without('nats')), becomes('egress', without('nats'))]);
      expect(pick(await readiness(stack.service('gateway')))).toEqual(READY);
      await back();
      await Promise.all([becomes('harness', READY), becomes('egress', READY)]);
    }
  }, 90_000);

  test('a worker killed in the middle of an answer shows as a take-over of another one', async () => {
    const sessionId = await startSession(stack.client());
    await say(stack.client(), sessionId, fakeScript([{ blocks: [{ text: 'word '.repeat(100) }], delta_ms: 40, delta_chars: 5 }]));
    const workers = stack.services('harness');
    const busy = await until(
      async () => {
        const running = await Promise.all(workers.map(async (worker) => sum(await scrape(worker), 'manyhands_model_requests_running')));
        return running.indexOf(1) + 1;
      },
      { what: 'a worker to ask the model' },
    );
    await stack.kill('harness', busy - 1);
    await untilIdle(stack.client(), sessionId, 60_000);
    const found = await scrape(workers[2 - busy]!);
    expect(sum(found, 'manyhands_turn_takeovers_total')).toBe(1);
    // The dead one is started again for the tests that follow.
    await stack.restart('harness', busy - 1);
  }, 90_000);

  test('readiness ends when the end of a process begins, while it still finishes its work and answers', async () => {
    const sessionId = await startSession(stack.client());
    await say(stack.client(), sessionId, fakeScript([{ blocks: [{ text: 'word '.repeat(60) }], delta_ms: 50, delta_chars: 5 }]));
    const workers = stack.services('harness');
    const busy = await until(
      async () => {
        const running = await Promise.all(workers.map(async (worker) => sum(await scrape(worker), 'manyhands_turns_running')));
        return running.indexOf(1) + 1;
      },
      { what: 'a worker to run the turn' },
    );
    const worker = workers[busy - 1]!;
    const ended = worker.kill('SIGTERM');
    await until(async () => (await readiness(worker)).status === 'ending', { what: 'the worker to say that it ends', intervalMs: 5 });
    expect((await readiness(worker)).code).toBe(503);
    expect((await scrapeText(worker)).includes('manyhands_turns_running')).toBe(true);
    expect((await ended).code).toBe(0);
    await untilIdle(stack.client(), sessionId, 60_000);
  }, 90_000);
});

describe('the listener of a process', () => {
  test('an address that is no address, or is taken, ends the start with a line that names the variable', async () => {
    await using stack = await startStack({ tier: 'gateway', env: { gateway: OPERATIONS } });
    const start = (listen: string) =>
      spawnService({
        name: 'gateway',
        entry: GATEWAY,
        env: { REDIS_URL: stack.redis.url, MANYHANDS_DATA: stack.data, MANYHANDS_PORT: '0', MANYHANDS_OPS_LISTEN: listen },
      });
    await expect(start('nonsense')).rejects.toThrow('MANYHANDS_OPS_LISTEN: must be a port or host:port, such as 9464');
    const taken = String(stack.service('gateway').ready['ops_port']);
    await expect(start(taken)).rejects.toThrow(`MANYHANDS_OPS_LISTEN: cannot listen on 127.0.0.1 port ${taken}: the address is in use`);
  }, 90_000);

  test('is off unless it is asked for, and the public address never serves metrics', async () => {
    await using stack = await startStack({ tier: 'gateway' });
    expect(stack.service('gateway').ready).not.toHaveProperty('ops_port');
    expect((await fetch(`${stack.url()}/metrics`)).status).toBe(401);
    const asked = await fetch(`${stack.url()}/metrics`, { headers: { authorization: `Bearer ${OPERATOR_KEY}` } });
    expect(asked.status).toBe(404);
    // One socket listens, the API's.
    expect(listening(stack.service('gateway').pid)).toBe(1);
  }, 90_000);

  test('a scrape with 1,000 jobs waiting asks Redis no more than one with none, and tells depth and age', async () => {
    await using stack = await startStack({ tier: 'gateway', env: { gateway: OPERATIONS } });
    const gateway = stack.service('gateway');
    const redis = createRedis(stack.redis.url, 'finite', silentLogger, 'test');
    const turnQueue = createTurnQueue(createRedis(stack.redis.url, 'finite', silentLogger, 'test-queue'));
    try {
      const calls = async () => {
        let total = 0;
        for (const [, command, count] of (await redis.info('commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm))
          if (command !== 'info') total += Number(count);
        return total;
      };
      const costOfScrape = async () => {
        const before = await calls();
        for (let n = 0; n < 5; n++) await scrape(gateway);
        return ((await calls()) - before) / 5;
      };
      await scrape(gateway);
      const empty = await costOfScrape();
      const addedMs = Date.now();
      for (let n = 0; n < 1_000; n++)
        await turnQueue.wake({ session_id: `sesn_${n}`, thread_id: `sthr_${n}`, workspace_id: 'wrkspc_test' });
      const full = await costOfScrape();
      const found = await scrape(gateway);
      const passed = (Date.now() - addedMs) / 1000;
      expect(sum(found, 'manyhands_queue_jobs', { queue: 'turns', state: 'waiting' })).toBe(1_000);
      const age = sum(found, 'manyhands_queue_oldest_waiting_seconds', { queue: 'turns' })!;
      expect(age).toBeLessThanOrEqual(passed);
      expect(age).toBeGreaterThan(passed - 1);
      expect(sum(found, 'manyhands_queue_oldest_waiting_seconds', { queue: 'sandboxes' })).toBe(0);
      // Commands inside scripts count, too.
      expect(full).toBeLessThanOrEqual(40);
      expect(full - empty).toBeLessThanOrEqual(5);
    } finally {
      await turnQueue.close();
      redis.disconnect();
    }
  }, 60_000);
});

test('up --metrics-port tells every process on consecutive ports of this machine, in the order of the ready file, and says which', async () => {
  const first = await consecutivePorts(5);
  await using instance = await startInstance({ workers: 2, args: ['--metrics-port', String(first)] });
  const ours = /^(gateway|harness|sandbox-pool|egress)-\d+$/;
  const names = instance.ready().processes.flatMap(({ name }) => (ours.test(name) ? [name] : []));
  expect(names).toEqual(['gateway-1', 'harness-1', 'harness-2', 'sandbox-pool-1', 'egress-1']);
  for (const [index, name] of names.entries()) {
    const url = `http://127.0.0.1:${first + index}`;
    const found = await scrape(url);
    expect(sum(found, 'process_start_time_seconds', { service: name.replace(/-\d+$/, '') })).toBeGreaterThan(0);
    expect((await readiness(url)).code).toBe(200);
  }
  const told = names.map((name, index) => `${name} ${first + index}`).join(', ');
  expect(instance.output().match(new RegExp(`http://127\\.0\\.0\\.1:PORT/metrics +\\(${told}\\)`, 'g'))).toHaveLength(2);
}, 200_000);

/** The first of so many ports that nobody has at the moment. */
async function consecutivePorts(count: number): Promise<number> {
  for (let first = 21_000 + (process.pid % 1_000) * 7; first < 60_000; first += count) {
    const servers = Array.from({ length: count }, () => createServer());
    const opened = await Promise.all(
      servers.map(
        (server, index) =>
          new Promise<boolean>((resolve) => {
            server.once('error', () => resolve(false));
            server.listen(first + index, '127.0.0.1', () => resolve(true));
          }),
      ),
    );
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    if (opened.every(Boolean)) return first;
  }
  throw new Error('no free ports');
}

/** How many TCP sockets of a process listen. */
function listening(pid: number): number {
  const inodes = new Set(
    ['tcp', 'tcp6'].flatMap((kind) =>
      readFileSync(`/proc/${pid}/net/${kind}`, 'utf8')
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter((fields) => fields[3] === '0A')
        .map((fields) => fields[9]),
    ),
  );
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    return inodes.has(/^socket:\[(\d+)\]$/.exec(target)?.[1]);
  }).length;
}
