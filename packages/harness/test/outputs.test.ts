/** Capturing outputs, on a real Redis and real blobs; the sandbox is the test's, since what it does at a bad moment is what matters. */

import { createHash } from 'node:crypto';
import { createRedis, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { fileBlobKey } from '@manyhands/contract';
import type { SessionRecord } from '@manyhands/session-log';
import { createFileStore, type FileStore } from '@manyhands/store';
import { silentLogger, startTestRedis, type TestServer, temporaryDirectory } from '@manyhands/test-kit';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { captureOutputs } from '../src/tools/outputs.ts';

const WORKSPACE = 'wrkspc_test';
let server: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let redis: ReturnType<typeof createRedis>;
let blobs: ReturnType<typeof createDirectoryBlobStore>;
let files: FileStore;
let session = 'sesn_0';
let sessions = 0;
/** What is in the sandbox, and how often it was asked to store something. */
let outputs: Record<string, string> = {};
let collected = 0;
beforeAll(async () => {
  server = await startTestRedis();
  directory = await temporaryDirectory('outputs');
  redis = createRedis(server.url, 'patient', silentLogger, 'test');
  blobs = createDirectoryBlobStore(directory.path);
  files = createFileStore(redis, blobs, systemClock);
});
afterAll(async () => {
  redis.disconnect();
  await server[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});
beforeEach(() => {
  session = `sesn_${++sessions}`;
  outputs = {};
  collected = 0;
});

const facts = (path: string, text: string) => ({ path, size: text.length, sha256: createHash('sha256').update(text).digest('hex') });
const hand = {
  outputs: async () => Object.entries(outputs).map(([path, text]) => facts(path, text)),
  async collect(wanted: { path: string; file_id: string }[]) {
    collected += wanted.length;
    const stored = wanted.filter(({ path }) => outputs[path] !== undefined);
    for (const { path, file_id } of stored) await blobs.put(fileBlobKey(WORKSPACE, session, file_id), Buffer.from(outputs[path]!));
    return stored.map(({ path, file_id }) => ({ ...facts(path, outputs[path]!), file_id }));
  },
};
const capture = (change: Partial<typeof hand> = {}, store: FileStore = files) =>
  captureOutputs(
    { files: store, clock: systemClock },
    { id: session, workspace_id: WORKSPACE } as SessionRecord,
    { ...hand, ...change },
    silentLogger,
  );
async function known(): Promise<Record<string, string>> {
  const { data } = await files.list(WORKSPACE, { limit: 100, sessionId: session });
  return Object.fromEntries(data.map(({ filename, id }) => [filename, id]));
}
async function blobCount(): Promise<number> {
  let count = 0;
  for await (const _key of blobs.list(`${WORKSPACE}/${session}/`)) count++;
  return count;
}

test('what did not change is neither stored again nor given another id', async () => {
  outputs = { a: '1', 's/b.csv': '2' };
  await capture();
  const before = await known();
  expect(Object.keys(before).sort()).toEqual(['a', 's/b.csv']);
  expect(await files.get(WORKSPACE, before['s/b.csv']!)).toMatchObject({ mime_type: 'text/csv', size_bytes: 1, session_id: session });
  await capture();
  expect(await known()).toEqual(before);
  expect(collected).toBe(2);
});

test('a worker that dies at any step of a replacement is repeated without a double or a loss', async () => {
  for (const step of ['pending', 'create', 'dropReplaced'] as const) {
    session = `sesn_${++sessions}`;
    outputs = { a: 'old' };
    await capture();
    const old = (await known())['a'];
    outputs = { a: 'new' };
    await capture({}, { ...files, [step]: async () => Promise.reject(new Error('died')) });
    await capture();
    const after = await known();
    expect(after['a'], step).not.toBe(old);
    expect((await files.list(WORKSPACE, { limit: 9, sessionId: session })).data, step).toHaveLength(1);
    expect(String(await blobs.get(fileBlobKey(WORKSPACE, session, after['a']!))), step).toBe('new');
    await capture();
    expect(await known()).toEqual(after);
    expect(await blobCount(), step).toBe(1);
  }
});

test('what a client deleted stays away until it changes, and what comes back to an older content has an id of its own', async () => {
  outputs = { a: 'one' };
  await capture();
  const first = (await known())['a']!;
  outputs = { a: 'two' };
  await capture();
  outputs = { a: 'one' };
  await capture();
  const third = (await known())['a']!;
  expect(third).not.toBe(first);
  await files.delete(WORKSPACE, third);
  await capture();
  expect(await known()).toEqual({});
  outputs = { a: 'three' };
  await capture();
  expect(Object.keys(await known())).toEqual(['a']);
});

test('what vanishes while it is stored leaves nothing, and a sandbox that fails holds nobody up', async () => {
  outputs = { a: '1', b: '2' };
  await capture({
    async collect(wanted) {
      delete outputs['b'];
      return hand.collect(wanted);
    },
  });
  expect(Object.keys(await known())).toEqual(['a']);
  expect(await redis.zrange(`mh:{${WORKSPACE}}:files:pending`, '0', '-1')).toEqual([]);
  await capture({ outputs: async () => Promise.reject(new Error('gone')) });
  await files.deleteScope(WORKSPACE, session);
  expect(await known()).toEqual({});
  expect(await blobCount()).toBe(0);
});
