/** The queues on a Redis Cluster and behind sentinels: what is added is done, also when the master of the queues dies. */
import { createRedis } from '@manyhands/base';
import { silentLogger, startTestRedisCluster, startTestSentinel, type TestServer, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { consumeTurns, createTurnQueue, QUEUE_PREFIX, type TurnQueue } from '../src/index.ts';

const WORKSPACE = 'wrkspc_test';
/** More than what each step below may take, so that the step that fails is named. */
const FAILOVER_MS = 120_000;

interface Place extends AsyncDisposable {
  url: string;
  master(): Promise<TestServer>;
}
async function startPlace(kind: 'cluster' | 'sentinel'): Promise<Place> {
  if (kind === 'sentinel') return startTestSentinel();
  const cluster = await startTestRedisCluster({ replicas: true });
  return { url: cluster.url, master: () => cluster.masterOf(QUEUE_PREFIX), [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

/** A worker that notes what it does. */
function startWorker(redisUrl: string, during: () => Promise<unknown> = async () => {}) {
  const done: string[] = [];
  let releasesFail = 0;
  const consumer = consumeTurns({
    ...{ redisUrl, log: silentLogger, concurrency: 4, workerId: 'worker' },
    async onTurn(job, report) {
      report.phase('model');
      report.line('a line');
      await during();
      done.push(`turn ${job.thread_id}`);
    },
    async onPrewarm(job) {
      done.push(`prewarm ${job.session_id}`);
    },
    async onRelease(job) {
      done.push(`release ${job.sandbox_id}`);
      if (releasesFail-- > 0) throw new Error('once more');
    },
  });
  return {
    done,
    failReleases: (times: number) => (releasesFail = times),
    [Symbol.asyncDispose]: () => consumer.close(),
  };
}
const turnOf = (n: number) => ({ session_id: `sesn_${n}`, workspace_id: WORKSPACE, thread_id: `sthr_${n}` });

describe.each(['cluster', 'sentinel'] as const)('on a %s', (kind) => {
  let place: Place;
  let redis: ReturnType<typeof createRedis>;
  let queue: TurnQueue;
  beforeAll(async () => {
    place = await startPlace(kind);
    redis = createRedis(place.url, 'finite', silentLogger, 'gateway-queue');
    queue = createTurnQueue(redis);
  });
  afterAll(async () => {
    await queue?.close();
    redis?.disconnect();
    await place?.[Symbol.asyncDispose]();
  });

  test('a wake-up, a prewarm and a release reach a worker, and a release that fails is tried again', async () => {
    await queue.wake(turnOf(1));
    expect(await queue.depth()).toEqual({ waiting: 1, active: 0 });
    // What is gathered when a turn ends is not shown: this one goes on until its line is.
    const [turns] = queue.queues;
    const isShown = async () => {
      const [job] = (await turns?.getJobs(['active'])) ?? [];
      return (await turns?.getJobLogs(String(job?.id)))?.logs.join() === 'a line';
    };
    await using worker = startWorker(place.url, () => until(isShown, { what: 'the line of a running turn on the board' }));
    worker.failReleases(1);
    await queue.prewarm({ session_id: 'sesn_1', workspace_id: WORKSPACE });
    await queue.release({
      ...{ session_id: 'sesn_1', workspace_id: WORKSPACE, pool_id: 'pool', sandbox_id: 'sbx_1', generation: 1, delete_blobs: false },
    });
    await until(() => worker.done.length === 4, { what: 'all is done' });
    expect(worker.done.sort()).toEqual(['prewarm sesn_1', 'release sbx_1', 'release sbx_1', 'turn sthr_1']);
    await until(async () => (await queue.depth()).active === 0, { what: 'nothing is active' });
    expect(await queue.depth()).toEqual({ waiting: 0, active: 0 });
  });

  test('the board reads jobs, their counts and their lines', async () => {
    const [turns] = queue.queues;
    await until(async () => (await turns?.getJobCounts())?.['completed'] === 1, { what: 'the turn is counted' });
    const [job] = (await turns?.getJobs(['completed'])) ?? [];
    expect(job?.data).toMatchObject({ thread_id: 'sthr_1' });
    await until(async () => (await turns?.getJobLogs(String(job?.id)))?.logs.join() === 'a line', { what: 'the line is there' });
  });

  test.each([
    ['dies', 10, (master: TestServer): Promise<void> | void => master.kill()],
    ['falls silent', 20, (master: TestServer): Promise<void> | void => master.pause()],
  ])(
    'a worker goes on when the master of the queues %s and another server takes over',
    { timeout: FAILOVER_MS },
    async (_how, from, harm) => {
      await using worker = startWorker(place.url);
      await queue.wake(turnOf(from));
      await until(() => worker.done.includes(`turn sthr_${from}`), { what: 'a turn before' });
      const old = await place.master();
      await harm(old);
      await until(async () => (await place.master()) !== old, { what: 'another server took over', timeoutMs: 25_000 });
      const added: string[] = [];
      // A gateway answers 503 meanwhile and its client sends again.
      for (let n = from + 1; added.length < 5; n++) {
        await until(() => queue.wake(turnOf(n)).then(() => true), { what: 'a wake-up is accepted', timeoutMs: 30_000 });
        added.push(`turn sthr_${n}`);
      }
      await until(() => added.every((name) => worker.done.includes(name)), { what: 'all that was accepted is done', timeoutMs: 30_000 });
      old.resume();
      await old.restart();
    },
  );
});
