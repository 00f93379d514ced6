/** What 0.1.0 itself stored (test/fixtures/0.1.0): told by this log as 0.1.0's API told it. */
import path from 'node:path';
import { createRedis, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { primaryThreadId, type SessionEvent } from '@manyhands/contract';
import {
  type FixtureSession,
  type FixtureSessions,
  loadFixture,
  silentLogger,
  startTestRedis,
  temporaryDirectory,
} from '@manyhands/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createSessionLog,
  createSessionWriter,
  type SessionLog,
  type SessionWriter,
  toSession,
  toThread,
  upgradeSessions,
} from '../src/index.ts';

const ROOT = path.join(import.meta.dirname, '../../../test/fixtures');
const HOUR_NANO = 80_000_000;
const WORKING = new Set(['running', 'rescheduling']);

describe.each(['0.1.0', '0.1.0/stopped'])('the fixture %s', (name) => {
  let fixture: FixtureSessions;
  let log: SessionLog;
  let writer: SessionWriter;
  const ending: (() => PromiseLike<void> | void)[] = [];
  beforeAll(async () => {
    const server = await startTestRedis();
    const directory = await temporaryDirectory('legacy');
    const data = path.join(directory.path, 'data');
    fixture = await loadFixture(path.join(ROOT, name), { redisUrl: server.url, dataDirectory: data });
    const redis = createRedis(server.url, 'patient', silentLogger, 'test');
    ending.push(
      () => redis.disconnect(),
      () => server[Symbol.asyncDispose](),
      () => directory[Symbol.asyncDispose](),
    );
    const blobs = createDirectoryBlobStore(path.join(data, 'blobs'));
    const deps = { redis, blobs, clock: systemClock, ids: randomIds, log: silentLogger, hourNano: HOUR_NANO };
    await upgradeSessions(redis);
    log = createSessionLog(deps);
    writer = createSessionWriter(deps);
  });
  afterAll(async () => {
    for (const end of ending) await end();
  });

  const live = () => fixture.session_ids.map((id) => Object.values(fixture.sessions).find(({ session_id }) => session_id === id)!);
  /** Times that go on while a session works. */
  const atRest = ({ status }: FixtureSession) => !WORKING.has(status);

  test('has its sessions in their order, under each of their filters', async () => {
    const list = async (more: object) => {
      const page = await log.list('wrkspc_default', { limit: 100, order: 'desc', includeArchived: true, ...more });
      return page.sessions.map(({ record }) => record.id);
    };
    expect(await list({})).toEqual(fixture.session_ids);
    for (const { agent_id, status } of live()) {
      const wanted = live().filter((one) => one.agent_id === agent_id && one.status === status);
      const found = await list({ agentId: agent_id, statuses: new Set([status]) });
      expect(found).toEqual(wanted.map(({ session_id }) => session_id));
    }
  });

  test('has its sessions and threads as they were told', async () => {
    const runtime = (ms: number) => Math.round((ms * HOUR_NANO) / 3_600_000);
    for (const session of live()) {
      const stored = (await log.get(session.session_id))!;
      const told = toSession(stored, runtime) as unknown as Record<string, unknown>;
      const thread = (await log.thread(stored, primaryThreadId(session.session_id)))!;
      const toldThread = toThread(session.session_id, thread) as unknown as Record<string, unknown>;
      for (const [was, is] of [
        [session.session, told],
        [session.thread, toldThread],
      ] as const) {
        const { stats, usage, ...lasting } = was;
        expect(is, session.about).toMatchObject(lasting);
        if (!atRest(session)) continue;
        expect(is['usage'], session.about).toEqual(usage);
        expect((is['stats'] as { active_seconds: number }).active_seconds).toBe((stats as { active_seconds: number }).active_seconds);
      }
    }
  });

  test('has its events as they were listed, in both orders, and each is found by its id', async () => {
    for (const { session_id: id, events, about } of live()) {
      for (const order of ['asc', 'desc'] as const) {
        const listed: SessionEvent[] = [];
        let cursor: string | undefined;
        do {
          const page = await log.listEvents(id, { limit: 200, order, cursor });
          listed.push(...page.events);
          cursor = page.nextCursor ?? undefined;
        } while (cursor !== undefined);
        expect(order === 'asc' ? listed : listed.reverse(), about).toEqual(events);
      }
      for (const event of events.slice(-50)) expect(await log.findEvent(id, event.id), about).not.toBeNull();
    }
  });

  test('gives work to whoever asks for the sessions that had some, and to nobody for the others', async () => {
    const due = new Set((await writer.due(1_000)).map(({ sessionId }) => sessionId));
    for (const session of live()) {
      const { session_id: sessionId, queued_count, status, about } = session;
      expect(due.has(sessionId), about).toBe(!atRest(session));
      const place = { sessionId, threadId: primaryThreadId(sessionId), workspaceId: session.workspace_id };
      const got = await writer.acquire(place, 'w', 60_000);
      if (atRest(session)) expect(got, about).toEqual(status === 'terminated' ? { missing: true } : { nothing: true });
      else expect('lease' in got && got.queued.length, about).toBe(queued_count);
    }
  });
});
