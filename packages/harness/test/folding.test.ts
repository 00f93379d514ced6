/** Logs that go on without turns: a worker folds them now and then, so that the next turn reads little (I14). */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { INTERRUPT, type Parking, script, startParking } from './parked-fixture.ts';

let parking: Parking;
beforeAll(async () => {
  parking = await startParking();
});
afterAll(() => parking[Symbol.asyncDispose]());

test('a worker deletes the checkpoints behind its own, and none ahead of it: that is of one that took the thread over', async () => {
  const session = await parking.session([]);
  const { blobs } = parking.deps;
  const folder = `wrkspc_test/${session.id}/context`;
  const left = [`${folder}/${session.primary}/7-1`, `${folder}/9-1`, `${folder}/${session.primary}/100000-3`, `${folder}/sthr_child/7-1`];
  for (const key of left) await blobs.put(key, Buffer.from('{}'));
  await session.send(...Array.from({ length: 100 }, () => INTERRUPT), script([{ blocks: [{ text: 'here' }] }]));
  await session.settle();
  const kept: string[] = [];
  for await (const key of blobs.list(`${folder}/`)) kept.push(key);
  expect(kept.toSorted()).toEqual([(await session.thread()).checkpoint!.blob, left[2], left[3]].toSorted());
});

for (const when of ['never', 'before', 'after'] as const) {
  test(`a long log without turns is folded and nothing is told of it; the worker dies ${when} it is written`, async () => {
    const session = await parking.session([]);
    const interrupts = Array.from({ length: 700 }, () => INTERRUPT);
    await session.send(...interrupts);
    expect(await session.due()).toBe(true);
    await session.settle({ death: when === 'never' ? null : { append: 1, when } });
    const { checkpoint, head, status } = await session.thread();
    expect({ head, status, folded: checkpoint?.position }).toEqual({ head: 700, status: 'idle', folded: 700 });

    await session.send(...interrupts, script([{ blocks: [{ text: 'here' }] }]));
    await session.settle();
    const events = await session.history();
    expect(events.slice(0, 1000).every(({ type }) => type === 'user.interrupt')).toBe(true);
    const { blobs } = parking.deps;
    const kept: string[] = [];
    for await (const key of blobs.list(`wrkspc_test/${session.id}/context/`)) kept.push(key);
    expect(kept).toEqual([(await session.thread()).checkpoint!.blob]);
    expect((await parking.deps.log.listEvents(session.id, { limit: 1, order: 'desc' })).events).toMatchObject([
      { type: 'session.status_idle', stop_reason: { type: 'end_turn' } },
    ]);
  });
}
