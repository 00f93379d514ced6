/** What other versions wrote: records of 0.1.0 are read as they are, newer ones are refused, and clients see nothing of either. */
import { FORMAT, openInstallation, systemClock } from '@manyhands/base';
import type { BlobStore } from '@manyhands/blobs';
import { AgentCreate, EnvironmentCreate } from '@manyhands/contract';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createFileStore, DEFAULT_WORKSPACE_ID, type FileStore } from '../src/index.ts';
import { contents, type Stores, startStores, WORKSPACE } from './fixture.ts';

let stores: Stores;
let files: FileStore;
beforeAll(async () => {
  stores = await startStores();
  // Bytes are not of interest here.
  files = createFileStore(stores.redis, {} as BlobStore, systemClock);
});
afterAll(() => stores[Symbol.asyncDispose]());
beforeEach(async () => {
  await stores.redis.flushall();
});

const page = { limit: 10, includeInactive: true };
const nobody = async () => new Set<string>();

/** One record of each kind with its key, ways to read it, and ways to change it. */
const kinds = {
  async agent() {
    const { id } = await stores.agents.create(WORKSPACE, AgentCreate.parse({ name: 'a', model: 'm' }));
    return {
      key: `mh:{${WORKSPACE}}:agent:${id}`,
      name: `the stored agent ${id}`,
      reads: [() => stores.agents.get(WORKSPACE, id), () => stores.agents.list(WORKSPACE, page)],
      changes: [() => stores.agents.update(WORKSPACE, id, { name: 'b' }), () => stores.agents.archive(WORKSPACE, id)],
    };
  },
  async environment() {
    const { id } = await stores.environments.create(WORKSPACE, EnvironmentCreate.parse({ name: 'e' }));
    return {
      key: `mh:{${WORKSPACE}}:env:${id}`,
      name: `the stored environment ${id}`,
      reads: [() => stores.environments.get(WORKSPACE, id), () => stores.environments.list(WORKSPACE, page)],
      changes: [
        () => stores.environments.claim(WORKSPACE, id, 'sesn_one'),
        () => stores.environments.update(WORKSPACE, id, { name: 'f' }),
        () => stores.environments.archive(WORKSPACE, id),
        () => stores.environments.delete(WORKSPACE, id, nobody),
      ],
    };
  },
  async 'API key'() {
    const { id, key } = await stores.apiKeys.create(WORKSPACE, { name: 'k' });
    return {
      key: `mh:{${WORKSPACE}}:apikey:${id}`,
      name: `the stored API key ${id}`,
      reads: [
        () => stores.apiKeys.get(WORKSPACE, id),
        () => stores.apiKeys.list(WORKSPACE, page),
        async () => ({ ...(await stores.apiKeys.authenticate(key)) }),
      ],
      changes: [() => stores.apiKeys.revoke(WORKSPACE, id)],
    };
  },
  async file() {
    await files.pending(WORKSPACE, null, 'file_one');
    await files.create(WORKSPACE, {
      ...{ id: 'file_one', filename: 'f', mime_type: 'text/plain', size_bytes: 1 },
      ...{ expires_at_ms: null, session_id: null, origin: { kind: 'upload' } },
    });
    return {
      key: `mh:{${WORKSPACE}}:file:file_one`,
      name: 'the stored file file_one',
      reads: [() => files.get(WORKSPACE, 'file_one'), () => files.list(WORKSPACE, { limit: 10 })],
      changes: [() => files.delete(WORKSPACE, 'file_one')],
    };
  },
} as const;

describe.each(Object.entries(kinds))('a stored %s', (_kind, make) => {
  const stored = async (key: string) => JSON.parse((await stores.redis.get(key)) ?? '') as Record<string, unknown>;
  const rewrite = async (key: string, change: Record<string, unknown>) =>
    stores.redis.set(key, JSON.stringify({ ...(await stored(key)), ...change }));

  test('names its format, and nobody who reads it sees that', async () => {
    const { key, reads } = await make();
    expect(await stored(key)).toMatchObject({ format: 1 });
    for (const read of reads) expect(JSON.stringify(await read())).not.toContain('"format"');
  });

  test('of 0.1.0, which names none, is read as it is', async () => {
    const { key, reads } = await make();
    const before = await Promise.all(reads.map((read) => read()));
    await rewrite(key, { format: undefined });
    expect(await stored(key)).not.toHaveProperty('format');
    expect(await Promise.all(reads.map((read) => read()))).toEqual(before);
  });

  test('of a newer format is refused by name, number and remedy, wherever it is read or changed, and stays as it is', async () => {
    const { key, name, reads, changes } = await make();
    await rewrite(key, { format: 2 });
    const before = await contents(stores);
    for (const use of [...reads, ...changes])
      await expect(use()).rejects.toMatchObject({
        code: 'newer_format',
        message: `${name} has format 2, this program knows 1: start a newer version, or restore a backup`,
      });
    expect(await contents(stores)).toEqual(before);
  });
});

test('an agent of 0.1.0 gets its format with its next version, and all its versions are read', async () => {
  const { id } = await stores.agents.create(WORKSPACE, AgentCreate.parse({ name: 'first', model: 'm' }));
  const key = `mh:{${WORKSPACE}}:agent:${id}`;
  for (const [read, write] of [
    [await stores.redis.get(key), (text: string) => stores.redis.set(key, text)],
    [await stores.redis.hget(`${key}:versions`, '1'), (text: string) => stores.redis.hset(`${key}:versions`, '1', text)],
  ] as const) {
    const { format, ...old } = JSON.parse(read ?? '') as Record<string, unknown>;
    expect(format).toBe(1);
    await write(JSON.stringify(old));
  }
  await stores.agents.update(WORKSPACE, id, { name: 'second' });
  expect(JSON.parse((await stores.redis.get(key)) ?? '')).toMatchObject({ format: 1, version: 2 });
  const { data } = await stores.agents.versions(WORKSPACE, id, { limit: 5 });
  expect(data.map(({ version, name }) => [version, name])).toEqual([
    [2, 'second'],
    [1, 'first'],
  ]);
  expect(JSON.stringify(data)).not.toContain('"format"');
});

test('a version of an agent that is of a newer format is refused by its number, and the others are read', async () => {
  const { id } = await stores.agents.create(WORKSPACE, AgentCreate.parse({ name: 'first', model: 'm' }));
  await stores.agents.update(WORKSPACE, id, { name: 'second' });
  await stores.redis.hset(`mh:{${WORKSPACE}}:agent:${id}:versions`, '1', JSON.stringify({ format: 7 }));
  const refusal = { code: 'newer_format', message: expect.stringContaining(`version 1 of the stored agent ${id} has format 7`) };
  await expect(stores.agents.get(WORKSPACE, id, 1)).rejects.toMatchObject(refusal);
  await expect(stores.agents.versions(WORKSPACE, id, { limit: 5 })).rejects.toMatchObject(refusal);
  expect(await stores.agents.get(WORKSPACE, id)).toMatchObject({ version: 2 });
});

test('an installation in which somebody has an API key and nobody has named the format is known to be of 0.1.0', async () => {
  await stores.apiKeys.installOperatorKey('chosen-by-the-operator');
  expect((await stores.apiKeys.list(DEFAULT_WORKSPACE_ID, page)).data).toHaveLength(1);
  const from: number[] = [];
  await openInstallation(stores.redis, { upgrade: async (_redis, format) => void from.push(format) });
  expect([from, await stores.redis.get('mh:format')]).toEqual([[1], String(FORMAT)]);
});
