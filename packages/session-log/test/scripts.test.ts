/** The scripts one by one: what each refuses it refuses whole, and their sources keep to what makes them readable. */
import { readdirSync, readFileSync } from 'node:fs';
import { primaryThreadId } from '@manyhands/contract';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bucketPrefix, dueKey, indexKey, oldPrefix, sessionKeys, threadKeys } from '../src/keys.ts';
import { defineScripts, type ScriptedRedis } from '../src/scripts.ts';
import { AGENT, contentOf, type LogFixture, message, startLogFixture, WORKSPACE } from './log-fixture.ts';
import { makeOldSession, TURN } from './old-session.ts';
import { answer, call, event, type Family, idle, messageTo, newThread, say, startFamily } from './steps.ts';

let f: LogFixture;
let redis: ScriptedRedis;
let family: Family;
beforeAll(async () => {
  f = await startLogFixture();
  redis = defineScripts(f.redis);
});
afterAll(() => f[Symbol.asyncDispose]());
beforeEach(async () => {
  await f.redis.flushall();
  family = await startFamily(f, ['kid']);
});

/** Everything that is stored. */
async function dump(): Promise<[string, string][]> {
  const keys = (await f.redis.keys('*')).toSorted();
  return Promise.all(keys.map(async (key): Promise<[string, string]> => [key, await contentOf(f.redis, key)]));
}
const NOBODY = 'sesn_nobody';
const json = JSON.stringify;
const internal = { code: 'internal' };
const fenced = { code: 'fenced' };

type Refused = [what: string, call: () => Promise<unknown>, answer: unknown];
/** By script; an answer with a code is thrown. */
const REFUSED: Record<string, Refused[]> = {
  create: [
    [
      'a session that is there: it stays as it was first made',
      async () => {
        const record = { id: family.id, workspace_id: 'wrkspc_other', agent: AGENT, environment_id: 'env_other' };
        return f.log.create({ record, title: 'x', metadata: {}, budget: null, initialEvents: [message('y')], begunAtMs: Date.now() });
      },
      { wakes: [expect.any(String)] },
    ],
  ],
  send: [
    ['to nobody', () => f.send(NOBODY, message('x')), { outcome: 'missing' }],
    ['an answer to what was never asked', () => f.send(family.id, message('x'), answer('sevt_x')), { outcome: 'no_such_call', index: 1 }],
    [
      'for a thread of nobody',
      () => f.send(family.id, message('x'), { type: 'user.interrupt', session_thread_id: 'sthr_x' }),
      { outcome: 'no_such_thread', index: 1 },
    ],
  ],
  acquire: [
    ['what is held', () => acquire(family.id), { busyForMs: expect.any(Number) }],
    ['what is not there', () => acquire(NOBODY), { missing: true }],
  ],
  renew: [
    ['under another epoch', () => f.writer.renew({ ...family.primary.lease, epoch: 7 }, 1), null],
    ['of nobody', () => f.writer.renew({ ...family.primary.lease, sessionId: NOBODY }, 1), null],
  ],
  release: [
    ['under another epoch', () => f.writer.release({ ...family.primary.lease, epoch: 7 }, 'failed'), undefined],
    ['of nobody', () => f.writer.release({ ...family.primary.lease, sessionId: NOBODY }, 'failed'), undefined],
  ],
  append: [
    ['under another epoch', () => f.writer.append({ ...family.primary.lease, epoch: 0 }, 3, { entries: [say('x')] }), fenced],
    ['for nobody', () => f.writer.append({ ...family.primary.lease, sessionId: NOBODY }, 3, { entries: [say('x')] }), fenced],
    ['that skips a number', () => f.writer.append(family.primary.lease, 9, { entries: [say('x')] }), internal],
    ['that processes what is not queued', () => family.primary.append({ entries: [say('x'), { processed: 1 }] }), internal],
    [
      'that processes something twice',
      async () => {
        const [queued] = await f.log.pending(family.id);
        return family.primary.append({ entries: [1, 2].map(() => ({ processed: queued!.position })) });
      },
      internal,
    ],
    ['with a call to wait for that it does not make', () => family.primary.append({ ...call('ask').batch, entries: [say('x')] }), internal],
    [
      'that answers in the place of a client that was faster',
      () => family.primary.append({ entries: [say('x')], calls: [{ id: 'sevt_x', waitsFor: 'taken' }] }),
      { outcome: 'pending' },
    ],
    ['that rests while something is queued', () => family.primary.append({ ...idle(), entries: [say('x')] }), { outcome: 'pending' }],
    [
      'that waits for the client without knowing what came',
      () => family.primary.append(idle('requires_action', { known: 1 })),
      { outcome: 'pending' },
    ],
    ['with a budget that is not reached', () => family.primary.append({ entries: [say('x')], budget: 'reached' }), { outcome: 'budget' }],
    [
      'that knows another sandbox',
      () =>
        family.primary.append({
          entries: [say('x')],
          sandbox: { value: { generation: 2, sandbox_id: 'a', pool_id: 'p' }, expected: { generation: 1, sandbox_id: 'b', pool_id: 'p' } },
        }),
      { outcome: 'bound', sandbox: null },
    ],
    [
      'with a message to nobody',
      () => family.primary.append({ entries: [say('x')], threads: [newThread()], messages: [messageTo('sthr_x', 'sthr_y')] }),
      { outcome: 'no_receiver', index: 0 },
    ],
  ],
  change: [
    ['of a revision that is over', () => f.log.update(family.id, 3, { title: 'x' }), { outcome: 'stale' }],
    ['of nobody', () => f.log.update(NOBODY, 0, { title: 'x' }), { outcome: 'missing' }],
    ['of the agent of a session at work', () => f.log.update(family.id, 0, { title: 'x', agent: AGENT }), { outcome: 'running' }],
    ['to archive what works', () => f.log.archive(family.id), 'running'],
    ['to delete what works', () => f.log.delete(family.id), 'running'],
    ['to end nobody', () => f.log.delete(NOBODY), 'missing'],
    [
      'to archive fewer threads than there are',
      async () => {
        const { id } = await f.session();
        const keys = sessionKeys(id);
        const before = await dump();
        const header = { what: 'archive', revision: '0', readable_seconds: 60, rate: 0, fields: {}, agent: false, threads: [] };
        const reply = await redis.mhChange(keys.state, keys.due, keys.deleted, json(header), '', '');
        expect(await dump()).toEqual(before);
        await f.redis.flushall();
        return reply;
      },
      [-5],
    ],
  ],
  files: [
    ['of nobody', () => f.log.removeFile(NOBODY, 'r'), 'missing'],
    ['that are not there', () => f.log.removeFile(family.id, 'r'), 'unknown'],
  ],
  migrate: [
    ['what is not there', () => migrate(NOBODY, '0'), -1],
    ['what was put into the format before', () => migrate(family.id, '0'), 0],
    [
      'what has changed since it was read',
      async () => {
        const { id } = await makeOldSession(f, { entries: TURN });
        const before = await dump();
        const code = await migrate(id, '5');
        expect(await dump()).toEqual(before);
        await f.redis.flushall();
        return code;
      },
      -2,
    ],
  ],
  'sandbox-answer': [
    ['of nobody', () => f.writer.sandboxAnswered(NOBODY, 1), undefined],
    ['that is not known', () => f.writer.sandboxSilence(family.id, 1), null],
  ],
  due: [['what nobody marked', () => redis.mhDue(`${bucketPrefix(99)}due`, 10, 10), []]],
  get: [['nobody', () => f.log.get(NOBODY), null]],
  'get-thread': [['nobody', () => f.log.get(family.id).then((stored) => f.log.thread(stored!, 'sthr_x')), null]],
  heads: [['nobody', () => redis.mhHeads(dueKey(0), threadKeys(NOBODY, 'sthr_x').state), [0, '']]],
  index: [
    [
      'nothing',
      () => redis.mhIndex(indexKey(0, 'w', 'all', 'idle'), 'asc', '-inf', '+inf', '', '', 5, indexKey(0, 'w', 'all', 'idle')),
      [],
    ],
  ],
  ends: [['nobody', () => redis.mhEnds(threadKeys(NOBODY, 'sthr_x').state), [0, [], []]]],
  read: [['nobody', () => redis.mhRead(threadKeys(NOBODY, 'sthr_x').log, 1, '+', 5, 5, 'desc'), []]],
  'find-time': [['in an empty log', () => redis.mhFindTime(threadKeys(NOBODY, 'sthr_x').log, 5, 'from'), 1]],
  'find-sequence': [['in an empty log', () => redis.mhFindSequence(threadKeys(NOBODY, 'sthr_x').log, 5), 1]],
};

function acquire(sessionId: string): Promise<unknown> {
  return f.writer.acquire({ sessionId, threadId: primaryThreadId(sessionId), workspaceId: WORKSPACE }, 'w', 5_000);
}
function migrate(sessionId: string, sequence: string): Promise<number> {
  const keys = sessionKeys(sessionId);
  const header = { old: oldPrefix(sessionId), old_dirty: ['mh:{b00}:dirty', 'x'], sequence, session: {}, thread: {}, calls: [] };
  return redis.mhMigrate(keys.state, keys.due, json(header));
}

const FOLDER = new URL('../src/lua/', import.meta.url);
const files = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter(
  (file) => file.endsWith('.lua') && !file.startsWith('library/'),
);
const nameOf = (file: string) => file.split('/').at(-1)!.split('.')[0]!;

describe.each(Object.entries(REFUSED))('%s', (_script, cases) => {
  test.each(cases)('refuses, or finds nothing of, what it cannot do, and writes nothing: %s', async (_what, refused, answer) => {
    await f.send(family.id, message('waits'));
    const before = await dump();
    if (answer === internal || answer === fenced) {
      await expect(refused()).rejects.toMatchObject(answer);
    } else {
      const given = await refused();
      if (answer !== null && typeof answer === 'object') expect(given).toMatchObject(answer);
      else expect(given).toBe(answer);
    }
    const after = await dump();
    if (after.length > 0) expect(after).toEqual(before);
  });
});

test('every script has its refusals here', () => {
  expect(Object.keys(REFUSED).toSorted()).toEqual(files.map(nameOf).toSorted());
});

describe.each(files)('the source of %s', (file) => {
  const lines = readFileSync(new URL(file, FOLDER), 'utf8').trimEnd().split('\n');
  const code = lines.filter((line) => line !== '' && !line.startsWith('--'));

  test('says in its header what its keys, arguments and results are', () => {
    const header = lines
      .slice(
        0,
        lines.findIndex((line) => !line.startsWith('--')),
      )
      .join('\n');
    expect(header).toMatch(/^-- KEYS /m);
    expect(header).toMatch(/^-- Returns /m);
    if (code.some((line) => line.includes('ARGV'))) expect(header).toMatch(/^-- ARGV /m);
  });

  test('names its keys and arguments first, and knows them by their names from there on', () => {
    const positional = /(KEYS|ARGV)\[\d+\]/;
    const first = code.findIndex((line) => !/^local .* = /.test(line));
    expect(code.slice(first).filter((line) => positional.test(line))).toEqual([]);
    const keys = code.flatMap((line) => [...line.matchAll(/KEYS\[(\d+)\]/g)].map(([, n]) => Number(n)));
    // The name of the file says how many keys there are; some only say which slot it is.
    if (keys.length > 0) expect(Math.max(...keys)).toBe(Number(file.split('.')[1]));
  });

  test('takes time and chance from nowhere but the server and its arguments', () => {
    expect(code.filter((line) => /math\.random|os\.(time|clock)/.test(line))).toEqual([]);
  });
});

test('an append refused by one script call leaves the log as it was for the next one', async () => {
  const { primary } = family;
  const refused = { ...call('custom').batch, entries: [say('x'), event({ type: 'agent.thinking' })] };
  await expect(primary.append(refused)).rejects.toMatchObject(internal);
  expect((await primary.append({ entries: [say('y')] })).outcome).toBe('applied');
});
