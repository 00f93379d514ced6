/** A wake-up too many does nothing, whatever the session's state (C50): it would spin, or cost, for ever. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { errors, only, told, use } from './histories.ts';
import { answer, cents, custom, type Parking, type Session, script, startParking } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());
beforeEach(() => {
  parking.woken.length = 0;
});

const JOBS = 20;
/** One script call and what it does inside. */
const COMMANDS_A_JOB = 15;
const LOOK_UP = { blocks: [{ tool: 'look_up', input: {} }] };
/** A call that is refused at once, so that the model is asked again. */
const AGAIN = { blocks: [{ tool: 'nothing_like_it', input: {} }] };
const END = { blocks: [{ text: 'done' }] };

/** Commands that Redis ran for `work`, those of scripts included. */
async function commandsOf(work: () => Promise<unknown>): Promise<number> {
  await parking.redis.config('RESETSTAT');
  await work();
  const stats = await parking.redis.info('commandstats');
  const calls = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)];
  return calls.reduce((sum, [, name, count]) => (name!.startsWith('config') || name === 'info' ? sum : sum + Number(count)), 0);
}

/** How a session looks from outside. */
async function seen(session: Session) {
  const { status, sequence, updated_at_ms } = await session.state();
  return {
    status,
    sequence,
    updated_at_ms,
    head: (await session.thread()).head,
    epoch: await session.field('epoch'),
    due: await session.due(),
  };
}

async function atBudget(): Promise<Session> {
  const session = await parking.session([], { budget: cents(1) });
  await session.send(script([AGAIN, END]));
  await session.settle();
  expect(told(await session.history()).at(-1)).toBe('idle budget_reached');
  return session;
}
async function idle(): Promise<Session> {
  const session = await parking.session([]);
  await session.send(script([END]));
  await session.settle();
  return session;
}
async function awaitingAction(): Promise<Session> {
  const session = await parking.session([custom('look_up')]);
  await session.send(script([LOOK_UP, END]), script([END], 'and then'));
  await session.settle();
  expect(told(await session.history()).slice(-2)).toEqual(['idle look_up', 'user.message']);
  return session;
}
async function archived(): Promise<Session> {
  const session = await idle();
  await parking.deps.log.archive(session.id);
  return session;
}

describe('a wake-up too many', () => {
  test.each([
    ['at its budget', atBudget, 'nothing'],
    ['idle', idle, 'nothing'],
    ['awaiting action', awaitingAction, 'nothing'],
    ['archived', archived, 'elsewhere'],
  ] as const)('of a session that is %s appends nothing, wakes nobody and costs a handful of commands', async (_state, prepare, end) => {
    const session = await prepare();
    const before = await seen(session);
    const ends: string[] = [];
    const commands = await commandsOf(async () => {
      for (let job = 0; job < JOBS; job++) ends.push(await session.work());
    });
    expect(new Set(ends)).toEqual(new Set([end]));
    expect(commands).toBeLessThanOrEqual(JOBS * COMMANDS_A_JOB);
    expect(await seen(session)).toEqual(before);
    expect([parking.woken, await session.leased(), parking.followers.now]).toEqual([[], false, 0]);
  });

  test.each([
    ['at its budget', atBudget],
    ['idle', idle],
    ['awaiting action', awaitingAction],
    ['archived', archived],
  ] as const)('after the stored send was sent again to a session that is %s does nothing', async (_state, prepare) => {
    const session = await prepare();
    const before = await seen(session);
    for (let again = 0; again < JOBS; again++) {
      const result = await session.sendAgain();
      expect(result.outcome).toBe('repeated');
      await session.work();
    }
    expect(await seen(session)).toEqual(before);
    expect(parking.woken).toEqual([]);
  });

  test('of a session at its budget whose long log is to be folded tells nothing and is followed by no other', async () => {
    const session = await atBudget();
    const { log } = parking.deps;
    for (let n = 0; n <= 500; n++) {
      const { revision } = await session.state();
      const { outcome } = await log.update(session.id, revision, { title: `title ${n}` });
      expect(outcome).toBe('updated');
    }
    expect(await session.marks()).toEqual([session.primary]);
    const { head } = await session.thread();
    expect(await session.work()).toBe('idle');
    expect(await session.thread()).toMatchObject({ head, status: 'idle', checkpoint: { position: head } });
    expect(await session.due()).toBe(false);
    expect(await session.work()).toBe('nothing');
    expect(parking.woken).toEqual([]);
  });
});

test('a session at its budget works again when that is raised, and tells no error', async () => {
  const session = await atBudget();
  const { revision } = await session.state();
  const raised = await parking.deps.log.update(session.id, revision, { budget: cents(100_000) });
  expect(raised).toEqual({ outcome: 'updated', wakes: [session.primary] });
  await session.settle();
  const events = await session.history();
  expect(only(events, 'session.status_idle').map(({ stop_reason }) => stop_reason.type)).toEqual(['budget_reached', 'end_turn']);
  expect(errors(events)).toEqual([]);
});

test('an answer to a session that awaits action at its budget stops it there, with the answer kept for later', async () => {
  const session = await parking.session([custom('look_up')], { budget: cents(1) });
  await session.send(script([LOOK_UP, END]));
  await session.settle();
  await session.send(answer(await use(session, 'look_up'), 'found'));
  await session.settle();
  expect(told(await session.history()).slice(-3)).toEqual(['answer look_up', 'session.status_running', 'idle budget_reached']);
  expect(await session.work()).toBe('nothing');
});
