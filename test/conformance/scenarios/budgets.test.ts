/** Budgets and cost: caps that hold, raises that resume, sums that are exact whoever ran the turn. */
import type { ModelUsageCounts } from '@manyhands/model';
import { createPriceTable, parsePriceOverride } from '@manyhands/model';
import { until } from '@manyhands/test-kit';
import { describe, expect } from 'vitest';
import { expectRejection } from '../client.ts';
import {
  answer,
  expectSound,
  follow,
  history,
  INTERRUPT,
  modelRequests,
  only,
  openSession,
  say,
  script,
  send,
  texts,
  types,
} from '../conversation.ts';
import { useStack, verifies } from '../verifies.ts';

/** A token costs a tenth of a cent, so that small talk costs cents. */
const RATES = { input: '1000', output: '1000', cache_write_5m: '1250', cache_write_1h: '2000', cache_read: '100' };
const PRICES = JSON.stringify({ session_hour: '0.08', models: { fake: RATES } });
const stack = useStack({
  tier: 'turns',
  env: {
    gateway: { MANYHANDS_PRICES: PRICES },
    harness: { MANYHANDS_PRICES: PRICES, MANYHANDS_LOG_LEVEL: 'warn' },
  },
});
const sessions = () => stack().client().beta.sessions;
const budget = (cents: number) => ({ type: 'limit' as const, max_list_cost: { amount: String(cents), currency: 'USD' as const } });
const TOOLS = { tools: ['web_search'] as const };
/** A call that is refused, so that a round needs no sandbox. */
const round = { blocks: [{ text: 'on it' }, { tool: 'bash', input: { command: 'true' } }] };
const CAPPED = { stop_reason: { type: 'budget_reached' } };

describe('a budget', () => {
  verifies(['budgets.cap', 'budgets.resume'], async () => {
    const id = await openSession(stack(), TOOLS, { budget: budget(1) });
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([round, round, answer('All done.')]));
    const idle = await stream.next('session.status_idle');
    expect(idle).toMatchObject({ ...CAPPED, stop_details: null });
    expect(types(stream.events).slice(-3)).toEqual(['session.thread_status_idle', 'session.usage', 'session.status_idle']);
    expect(stream.events.at(-3)).toMatchObject(CAPPED);
    const told = stream.events.at(-2) as { usage: { list_cost: { amount: string } }; budget: unknown };
    expect(told.budget).toEqual(budget(1));
    expect(Number(told.usage.list_cost.amount)).toBeGreaterThanOrEqual(1);
    // One request may go over the cap, no second one is begun.
    expect(await modelRequests(stack(), id)).toHaveLength(1);
    const session = await sessions().retrieve(id);
    expect(session).toMatchObject({ status: 'idle', budget: budget(1), usage: { list_cost: told.usage.list_cost } });
    const spent = Number(told.usage.list_cost.amount);

    await expectRejection(send(stack(), id, say('more')), {
      status: 400,
      says: ['events.0', 'budget', 'user.tool_confirmation', 'user.interrupt'],
    });
    const before = await history(stack(), id);
    expect((await send(stack(), id, INTERRUPT)).data).toMatchObject([{ type: 'user.interrupt', processed_at: expect.any(String) }]);
    expect(await history(stack(), id)).toEqual(before);

    for (const cents of [1, spent])
      await expectRejection(sessions().update(id, { budget: budget(cents) }), {
        status: 400,
        code: 'budget_not_raised',
        says: String(spent),
      });
    const raised = await sessions().update(id, { budget: budget(90_000) });
    expect(raised).toMatchObject({ status: 'running', budget: budget(90_000) });
    expect(await stream.next('session.updated')).toMatchObject({ budget: budget(90_000) });
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
    const events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message')).toEqual(['on it', 'on it', 'All done.']);
    expect(types(events).filter((type) => type === 'session.status_running')).toHaveLength(2);
    expect(await modelRequests(stack(), id)).toHaveLength(3);
  });

  verifies('budgets.rules', async () => {
    await expectRejection(openSession(stack(), { model: 'nobody-knows' }, { budget: budget(5) }), {
      status: 400,
      code: 'model_not_budgetable',
    });
    await expectRejection(openSession(stack(), { model: { id: 'fake', speed: 'fast' } }, { budget: budget(5) }), {
      status: 400,
      code: 'model_not_budgetable',
    });
    const free = await openSession(stack());
    await expectRejection(sessions().update(free, { budget: budget(5) }), { status: 400, code: 'budget_create_only' });
    expect((await sessions().update(free, { budget: null })).budget).toBeNull();
    expect(await history(stack(), free)).toEqual([]);

    const id = await openSession(stack(), {}, { budget: budget(500) });
    // Lowering is a change like any other, as long as it is more than what was spent.
    expect((await sessions().update(id, { budget: budget(400) })).budget).toEqual(budget(400));
    expect((await sessions().update(id, { budget: budget(400) })).budget).toEqual(budget(400));
    expect((await sessions().update(id, { budget: null })).budget).toBeNull();
    await expectRejection(sessions().update(id, { budget: budget(900) }), { status: 400, code: 'budget_create_only' });
    expect(only(await history(stack(), id), 'session.updated').map((event) => event.budget)).toEqual([budget(400), null]);
  });

  verifies('budgets.queued', async () => {
    const id = await openSession(stack(), TOOLS, { budget: budget(1) });
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([{ ...round, delay_ms: 300 }, answer('First.')]));
    await stream.next('span.model_request_start');
    await send(stack(), id, script([answer('Second.')]));
    expect(await stream.next('session.status_idle')).toMatchObject(CAPPED);
    expect((await history(stack(), id)).every(({ processed_at }) => processed_at !== null)).toBe(true);
    // Taking the budget away lets the session go on as well.
    await sessions().update(id, { budget: null });
    expect(await stream.next('session.status_idle')).toMatchObject({ stop_reason: { type: 'end_turn' } });
    const events = await history(stack(), id);
    expectSound(events);
    expect(texts(events, 'agent.message')).toEqual(['on it', 'Second.']);
  });

  verifies('budgets.race', async () => {
    const rounds = 12;
    const id = await openSession(stack(), TOOLS, { budget: budget(1) });
    await send(stack(), id, script([...Array.from({ length: rounds }, () => round), answer('All done.')]));
    // Raises come whenever they come: while a request runs, while idle is being told, after it.
    const done = async () => texts(await history(stack(), id), 'agent.message').includes('All done.');
    let cents = 1;
    await until(
      async () => {
        const { usage } = await sessions().retrieve(id);
        cents = Math.max(cents, Number(usage.list_cost?.amount ?? 0)) + 3;
        await sessions()
          .update(id, { budget: budget(cents) })
          .catch((error: { status?: number }) => expect(error.status).toBe(400));
        return done();
      },
      { timeoutMs: 25_000, what: 'the work to be done' },
    );
    await until(async () => (await sessions().retrieve(id)).status === 'idle', { timeoutMs: 10_000, what: 'the session to be idle' });
    const events = await history(stack(), id);
    expectSound(events);
    expect(await modelRequests(stack(), id)).toHaveLength(rounds + 1);
    const stops = only(events, 'session.status_idle').map(({ stop_reason }) => stop_reason.type);
    expect(stops).toEqual([...stops.slice(0, -1).map(() => 'budget_reached'), 'end_turn']);
    expect(stops.length).toBeGreaterThan(1);
  });
});

describe('cost', () => {
  verifies(['usage.cost', 'usage.takeover'], async () => {
    const prices = createPriceTable({ override: parsePriceOverride(PRICES, 'PRICES') });
    const id = await openSession(stack(), TOOLS);
    expect((await sessions().retrieve(id)).usage.list_cost).toEqual({ amount: '0', currency: 'USD' });
    await using stream = await follow(stack(), id);
    await send(stack(), id, script([round, { blocks: [{ text: 'slowly' }], delay_ms: 5_000 }]));
    await stream.next('agent.tool_result');
    await stream.next('span.model_request_start');
    const partial = (await sessions().retrieve(id)).usage;
    await stack().kill('harness');
    await stack().add('harness');
    await stream.next('session.status_idle');
    const events = await history(stack(), id);
    expectSound(events);
    const spans = only(events, 'span.model_request_end').map(({ model_usage }) => model_usage);
    expect(only(events, 'span.model_request_end').map(({ is_error }) => is_error)).toEqual([false, true, false]);
    const cost = (list: typeof spans) =>
      list.reduce(
        (sum, usage) => sum + prices.costOf('fake', { ...usage, cache_creation_5m: 0, cache_creation_1h: 0 } as ModelUsageCounts)!,
        0,
      );
    const { usage } = await sessions().retrieve(id);
    expect(usage.input_tokens).toBe(spans.reduce((sum, { input_tokens }) => sum + input_tokens, 0));
    const runtime = prices.runtimeCost(usage.active_seconds! * 1000);
    expect(usage.list_cost).toEqual({ amount: String(Math.floor((cost(spans) + runtime) / 10_000_000)), currency: 'USD' });
    expect(Number(partial.list_cost!.amount)).toBeGreaterThanOrEqual(Math.floor(cost(spans.slice(0, 1)) / 10_000_000));
    expect({ server_tool_use: null, ...only(events, 'session.usage').at(-1)!.usage }).toEqual(usage);
    // What has no price is told as unknown, never guessed.
    const unknown = await openSession(stack(), { model: 'nobody-knows' });
    await using other = await follow(stack(), unknown);
    await send(stack(), unknown, script([answer('hm')]));
    await other.next('session.status_idle');
    expect((await sessions().retrieve(unknown)).usage).toMatchObject({ list_cost: null, input_tokens: expect.any(Number) });
  });
});
