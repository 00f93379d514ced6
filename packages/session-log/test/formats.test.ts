/** What a newer version wrote is refused with a message that names it and says what to do; it is never guessed at, nor changed (I16). */
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { sessionKeys, threadKeys } from '../src/keys.ts';
import { createSessionLog } from '../src/sessions/session-log.ts';
import { LOG_FORMAT } from '../src/threads/state.ts';
import { contentOf, type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { type Family, say, startFamily } from './steps.ts';

let f: LogFixture;
let family: Family;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());
beforeEach(async () => {
  family = await startFamily(f, ['kid']);
});

const NEWER = LOG_FORMAT + 1;
const refusal = (what: string) => ({
  code: 'newer_format',
  message: `${what} has format ${NEWER}, this program knows ${LOG_FORMAT}: start a newer version, or restore a backup`,
});
/** Everything that is stored. */
async function dump(): Promise<Map<string, string>> {
  const keys = (await f.redis.keys('*')).toSorted();
  return new Map(await Promise.all(keys.map(async (key) => [key, await contentOf(f.redis, key)] as const)));
}
type Call = (family: Family) => Promise<unknown>;
/** What there is to do with a session and its threads. */
const CALLS: Record<string, Call> = {
  get: ({ id }) => f.log.get(id),
  list: () => createSessionLog(f.deps).list(WORKSPACE, { limit: 1_000, order: 'asc', includeArchived: true }),
  send: ({ id }) => f.send(id, message('x')),
  update: ({ id }) => f.log.update(id, 0, { title: 'x' }),
  archive: ({ id }) => f.log.archive(id),
  delete: ({ id }) => f.log.delete(id),
  addFile: ({ id }) => f.log.addFile(id, { id: 'r', file_id: 'f', mount_path: '/a', created_at_ms: 1 }),
  acquire: ({ id }) => f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 5_000),
  renew: ({ primary }) => f.writer.renew(primary.lease, 5_000),
  release: ({ primary }) => primary.release(),
  append: ({ primary }) => primary.append({ entries: [say('x')] }),
  sandboxAnswered: ({ id }) => f.writer.sandboxAnswered(id, 1),
};

describe('the state of a session in a newer format', () => {
  test.each(Object.entries(CALLS))('is left alone by %s', async (_name, call) => {
    await f.redis.hset(sessionKeys(family.id).state, 'format', NEWER);
    const before = await dump();
    await expect(call(family)).rejects.toMatchObject(refusal('the state of a session'));
    expect(await dump()).toEqual(before);
    await f.redis.hset(sessionKeys(family.id).state, 'format', LOG_FORMAT);
    await expect(call(family)).resolves.not.toThrow();
  });
});

describe('the state of a thread in a newer format', () => {
  test('is neither shown nor gone on with', async () => {
    const { id, primary, children } = family;
    const [{ id: child, worker } = { id: '', worker: primary }] = children;
    await f.redis.hset(threadKeys(id, child).state, 'format', NEWER);
    const before = await dump();
    const calls: Call[] = [
      async () => f.log.threads((await f.log.get(id))!),
      async () => f.log.thread((await f.log.get(id))!, child),
      () => worker.append({ entries: [say('x')] }),
      () => f.writer.renew(worker.lease, 5_000),
      () => worker.release(),
      () => f.writer.acquire({ sessionId: id, threadId: child, workspaceId: WORKSPACE }, 'w', 5_000),
    ];
    for (const call of calls) await expect(call(family)).rejects.toMatchObject(refusal('the state of a thread'));
    expect(await dump()).toEqual(before);
    // Others of the session go on.
    expect((await primary.append({ entries: [say('x')] })).outcome).toBe('applied');
  });
});

test('a record in a newer format is refused, that of a session and that of a thread', async () => {
  const { id, children } = family;
  const raise = async (key: string) =>
    f.redis.set(key, JSON.stringify({ ...(JSON.parse((await f.redis.get(key))!) as object), format: NEWER }));
  const stored = (await f.log.get(id))!;
  await raise(threadKeys(id, children[0]!.id).record);
  await expect(f.log.threads(stored)).rejects.toMatchObject(refusal('the record of a thread'));
  await raise(sessionKeys(id).record);
  await expect(f.log.get(id)).rejects.toMatchObject(refusal('the record of a session'));
});

test('a worker that finds a record in a newer format leaves no lease behind, and the thread is due', async () => {
  const { id, primary } = family;
  await primary.release();
  const { record } = sessionKeys(id);
  const text = (await f.redis.get(record))!;
  await f.redis.set(record, JSON.stringify({ ...(JSON.parse(text) as object), format: NEWER }));
  const acquire = () => f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 60_000);
  await expect(acquire()).rejects.toMatchObject(refusal('the record of a session'));
  expect((await f.marks(id)).map(({ threadId }) => threadId)).toContain(primaryThreadId(id));
  await f.redis.set(record, text);
  expect(await acquire()).toMatchObject({ lease: { recoveries: 0 }, thread: { state: { exceptions: 0 } } });
});

test('an entry in a newer format is refused by whoever reads it, and nothing before it is', async () => {
  const { id, primary } = family;
  const { head } = await primary.write({ entries: [say('known')] });
  const keys = threadKeys(id, primaryThreadId(id));
  await f.redis.xadd(
    keys.log,
    `${head + 1}-0`,
    'v',
    NEWER,
    's',
    99,
    'i',
    'sevt_x',
    't',
    'agent.message',
    'k',
    'e',
    'p',
    Date.now(),
    'b',
    '{}',
    'x',
    '',
    'a',
    '',
  );
  await f.redis.hset(keys.state, 'head', head + 1);
  const refused = refusal('an entry of a session log');
  await expect(f.log.read(id, 0, 100)).rejects.toMatchObject(refused);
  await expect(f.log.listEvents(id, { limit: 100, order: 'desc' })).rejects.toMatchObject(refused);
  expect((await f.log.read(id, 0, head)).at(-1)?.position).toBe(head);
  await primary.release();
  const got = await f.writer.acquire({ sessionId: id, threadId: primaryThreadId(id), workspaceId: WORKSPACE }, 'w', 60_000);
  // Its reader learns of it, under a lease that it can give back.
  expect('entries' in got && got.entries.at(-1)?.position).toBe(head);
});

test('what names no number for its format is refused as well', async () => {
  const { id } = family;
  await f.redis.hset(sessionKeys(id).state, 'format', 'two');
  await expect(f.log.get(id)).rejects.toMatchObject({ code: 'newer_format' });
  await expect(f.send(id, message('x'))).rejects.toMatchObject({ code: 'newer_format' });
});
