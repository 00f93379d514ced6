/** Budgets of a session: compared with what it has spent in the append that would spend more. */
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sessionKeys } from '../src/keys.ts';
import { type LogFixture, message, startLogFixture } from './log-fixture.ts';
import { event, INTERRUPT, idle, RUNNING, startWorker, stateOf } from './steps.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

/** Two cents; nano-dollars. */
const CAP = { type: 'limit', max_list_cost: { amount: '2', currency: 'USD' } } as const;
const RAISED = { type: 'limit', max_list_cost: { amount: '3', currency: 'USD' } } as const;
const CAP_NANO = 20_000_000;
const HOUR_MS = 3_600_000;
const START = () => event({ type: 'span.model_request_start' });
/** What there is of a budget is compared to the nano-dollar: running time would blur it. */
async function withoutRunningTime(id: string): Promise<void> {
  await f.redis.hset(sessionKeys(id).state, 'running_since', '');
}
async function update(id: string, change: Parameters<LogFixture['log']['update']>[2]) {
  return f.log.update(id, (await stateOf(f, id)).revision, change);
}
/** A session that stopped at its budget. */
async function capped(): Promise<string> {
  const { id } = await f.session([message('hi')], CAP);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [RUNNING, { processed: 1 }], usage: { list_cost_nano: CAP_NANO } });
  await worker.write({ ...idle('budget_reached'), budget: 'reached' });
  await worker.release();
  return id;
}

test('exactly at the cap nothing is left, and what was refused may be tried anew', async () => {
  const { id } = await f.session([message('hi')], CAP);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [], usage: { list_cost_nano: CAP_NANO - 1 } });
  await withoutRunningTime(id);
  expect((await worker.append({ entries: [START()], budget: 'reached' })).outcome).toBe('budget');
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('applied');
  await worker.write({ entries: [], usage: { list_cost_nano: 1 } });
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('budget');
  expect((await worker.append({ entries: [START()], budget: 'reached' })).outcome).toBe('applied');
});

test('a session without a budget has something left however much it spent', async () => {
  const { id } = await f.session([message('hi')]);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [], usage: { list_cost_nano: 9e15 } });
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('applied');
  expect((await worker.append({ entries: [START()], budget: 'reached' })).outcome).toBe('budget');
});

test('running time counts against the budget at the price of an hour', async () => {
  const { id } = await f.session([message('hi')], CAP);
  const worker = await startWorker(f, id);
  // An hour costs eight cents: of two cents, a quarter of an hour leaves nothing.
  await f.redis.hset(sessionKeys(id).state, 'active_ms', HOUR_MS / 4 - 60_000);
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('applied');
  await f.redis.hset(sessionKeys(id).state, 'active_ms', HOUR_MS / 4);
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('budget');
});

test('something without a list price leaves nothing of any budget, and its cost is not told', async () => {
  const { id } = await f.session([message('hi')], CAP);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [{ processed: 1 }], usage: { input_tokens: 1, list_cost_nano: null } });
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('budget');
  await worker.write({ ...idle('budget_reached'), budget: 'reached' });
  const { events } = await f.log.listEvents(id, { limit: 2, order: 'desc' });
  expect(events[1]).toMatchObject({ type: 'session.usage', usage: { input_tokens: 1 }, budget: CAP });
  expect(events[1]).not.toHaveProperty('usage.list_cost');
  expect((await stateOf(f, id)).usage.list_cost_nano).toBeNull();
});

test.each([
  { what: 'raised', budget: RAISED },
  { what: 'taken away', budget: null },
])(
  'a budget that is reached refuses work, takes an interrupt without a trace, and lets work go on when it is $what',
  async ({ budget }) => {
    const id = await capped();
    const { sequence } = await stateOf(f, id);
    expect(await f.send(id, message('more'))).toEqual({ outcome: 'capped', index: 0 });
    const ignored = await f.send(id, INTERRUPT);
    expect(ignored).toMatchObject({ outcome: 'stored', wakes: [], events: [{ processed_at: expect.any(String) }] });
    expect(await stateOf(f, id)).toMatchObject({ sequence, status: 'idle' });
    expect(await update(id, { title: 'same budget' })).toEqual({ outcome: 'updated', wakes: [] });
    const threadId = primaryThreadId(id);
    expect(await update(id, { budget })).toEqual({ outcome: 'updated', wakes: [threadId] });
    expect(await stateOf(f, id)).toMatchObject({ status: 'running', budget, running_since_ms: expect.any(Number) });
    expect(await f.marks(id)).toMatchObject([{ threadId }]);
    expect((await f.send(id, message('more'))).outcome).toBe('stored');
    const { events } = await f.log.listEvents(id, { limit: 10, order: 'desc' });
    expect(events.find((told) => told.type === 'session.updated')).toMatchObject({ budget });
  },
);

test('a budget that is raised between the last request and the idle that would tell of it keeps the turn going', async () => {
  const { id } = await f.session([message('hi')], CAP);
  const worker = await startWorker(f, id);
  await worker.write({ entries: [{ processed: 1 }], usage: { list_cost_nano: CAP_NANO } });
  expect(await update(id, { budget: RAISED })).toEqual({ outcome: 'updated', wakes: [] });
  expect((await worker.append({ ...idle('budget_reached'), budget: 'reached' })).outcome).toBe('budget');
  expect((await stateOf(f, id)).status).toBe('running');
  expect((await worker.append({ entries: [START()], budget: 'left' })).outcome).toBe('applied');
});
