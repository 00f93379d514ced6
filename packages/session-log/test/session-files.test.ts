/** The files of a session: changed at any time, never two at one path, gone with the session. */
import { FILES_PER_SESSION_MAX } from '@manyhands/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toSession } from '../src/resources/resources.ts';
import type { SessionFile } from '../src/types.ts';
import { AGENT, type LogFixture, startLogFixture, WORKSPACE } from './log-fixture.ts';

let f: LogFixture;
beforeAll(async () => {
  f = await startLogFixture();
});
afterAll(() => f[Symbol.asyncDispose]());

let made = 0;
const file = (mount_path: string): SessionFile => ({ id: `sesrsc_${++made}`, file_id: `file_${made}`, mount_path, created_at_ms: made });

test('files of a new session are there with it, in order, and a resent creation adds none', async () => {
  const record = { id: 'sesn_first', workspace_id: WORKSPACE, agent: AGENT, environment_id: 'env_test' };
  const files = [file('/a'), file('/b')];
  for (let sent = 0; sent < 2; sent++)
    await f.log.create({
      record,
      title: null,
      metadata: {},
      budget: null,
      files: sent === 0 ? files : [file('/c')],
      initialEvents: [],
      begunAtMs: Date.now(),
    });
  const stored = await f.log.get(record.id);
  expect(stored?.files).toEqual(files);
  expect(toSession(stored!, () => 0).resources).toMatchObject([{ mount_path: '/a' }, { mount_path: '/b' }]);
  expect(await f.log.filesRevision(record.id)).toBe(1);
});

test('each change has a revision of its own; a refusal and a resent command have none', async () => {
  const { id } = await f.session();
  expect(await f.log.filesRevision(id)).toBe(0);
  const first = file('/a/b');
  for (let sent = 0; sent < 2; sent++) expect(await f.log.addFile(id, first)).toEqual({ outcome: 'added' });
  for (const path of ['/a/b', '/a', '/a/b/c']) expect(await f.log.addFile(id, file(path))).toEqual({ outcome: 'taken', path: '/a/b' });
  expect(await f.log.filesRevision(id)).toBe(1);
  for (const path of ['/a/bc', '/a/c', '/ab']) expect(await f.log.addFile(id, file(path))).toEqual({ outcome: 'added' });
  expect(await f.log.removeFile(id, first.id)).toBe('removed');
  expect(await f.log.removeFile(id, first.id)).toBe('unknown');
  const { revision, files } = await f.log.files(id);
  expect(revision).toBe(5);
  expect(files.map(({ mount_path }) => mount_path)).toEqual(['/a/bc', '/a/c', '/ab']);
});

test('there are no more than a session may have, also when they come at the same time', async () => {
  const { id } = await f.session();
  const added = await Promise.all(Array.from({ length: FILES_PER_SESSION_MAX + 5 }, (_, i) => f.log.addFile(id, file(`/f${i}`))));
  expect(added.filter(({ outcome }) => outcome === 'added')).toHaveLength(FILES_PER_SESSION_MAX);
  expect(added.filter(({ outcome }) => outcome === 'too_many')).toHaveLength(5);
});

test('an archived session keeps its files and takes no others; a deleted one leaves nothing', async () => {
  const { id } = await f.session();
  const kept = file('/a');
  await f.log.addFile(id, kept);
  await f.log.archive(id);
  expect(await f.log.addFile(id, file('/b'))).toEqual({ outcome: 'archived' });
  expect(await f.log.removeFile(id, kept.id)).toBe('archived');
  expect((await f.log.get(id))?.files).toEqual([kept]);
  await f.log.delete(id);
  expect(await f.log.addFile(id, file('/b'))).toEqual({ outcome: 'missing' });
  expect(await f.redis.keys(`*${id}:files`)).toEqual([]);
  expect(await f.log.addFile('sesn_unknown', file('/b'))).toEqual({ outcome: 'missing' });
});
