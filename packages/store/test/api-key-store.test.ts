import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { DEFAULT_WORKSPACE_ID } from '../src/index.ts';
import { contents, OTHER_WORKSPACE, type Stores, startStores, WORKSPACE } from './fixture.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());
beforeEach(async () => {
  await stores.redis.flushall();
});

test('a key shows its text once, and only its hash is stored', async () => {
  const { key, ...shown } = await stores.apiKeys.create(WORKSPACE, { name: 'laptop' });
  expect(key).toMatch(/^mh-[A-Za-z0-9]{40}$/);
  expect(shown).toMatchObject({
    type: 'api_key',
    name: 'laptop',
    workspace_id: WORKSPACE,
    scopes: ['api'],
    hint: key.slice(-4),
    revoked_at: null,
  });
  expect(await stores.apiKeys.get(WORKSPACE, shown.id)).toEqual(shown);
  expect((await stores.apiKeys.list(WORKSPACE, { limit: 5, includeInactive: false })).data).toEqual([shown]);
  expect(JSON.stringify(await contents(stores))).not.toContain(key);
});

test('a key is known by its text, in its workspace, with its scopes, until it is revoked', async () => {
  const { key, id } = await stores.apiKeys.create(WORKSPACE, { name: 'k', scopes: ['api', 'operator', 'api'] });
  expect(await stores.apiKeys.authenticate(key)).toEqual({ id, workspace_id: WORKSPACE, scopes: ['api', 'operator'] });
  expect(await stores.apiKeys.authenticate(`${key}x`)).toBeNull();
  expect(await stores.apiKeys.authenticate('')).toBeNull();
  await expect(stores.apiKeys.revoke(OTHER_WORKSPACE, id)).rejects.toMatchObject({ status: 404 });
  const revoked = await stores.apiKeys.revoke(WORKSPACE, id);
  expect(revoked.revoked_at).not.toBeNull();
  expect(await stores.apiKeys.revoke(WORKSPACE, id)).toEqual(revoked);
  expect(await stores.apiKeys.authenticate(key)).toBeNull();
  expect((await stores.apiKeys.list(WORKSPACE, { limit: 5, includeInactive: false })).data).toEqual([]);
  expect((await stores.apiKeys.list(WORKSPACE, { limit: 5, includeInactive: true })).data).toEqual([revoked]);
});

test('a revoked key does not work although its pointer survived a crash', async () => {
  const { key, id } = await stores.apiKeys.create(WORKSPACE, { name: 'k' });
  const [pointer] = await stores.redis.keys('mh:keyhash:*');
  const target = await stores.redis.get(pointer ?? '');
  await stores.apiKeys.revoke(WORKSPACE, id);
  await stores.redis.set(pointer ?? '', target ?? '');
  expect(await stores.apiKeys.authenticate(key)).toBeNull();
});

test('a chosen operator key is installed once by any number of processes and stays revoked once revoked', async () => {
  const text = 'chosen-by-the-operator';
  const outcomes = await Promise.all(Array.from({ length: 5 }, () => stores.apiKeys.installOperatorKey(text)));
  expect(outcomes).toContain('installed');
  expect((await stores.apiKeys.list(DEFAULT_WORKSPACE_ID, { limit: 9, includeInactive: true })).data).toHaveLength(1);
  expect(await stores.apiKeys.installOperatorKey(text)).toBe('present');
  const identity = await stores.apiKeys.authenticate(text);
  expect(identity).toMatchObject({ workspace_id: DEFAULT_WORKSPACE_ID, scopes: ['api', 'operator'] });
  await stores.apiKeys.revoke(DEFAULT_WORKSPACE_ID, identity?.id ?? '');
  expect(await stores.apiKeys.installOperatorKey(text)).toBe('revoked');
  expect(await stores.apiKeys.authenticate(text)).toBeNull();
});

test('a chosen key that no header could carry is a configuration error', async () => {
  for (const text of ['short', 'with spaces in it', 'ünïcödé-key']) {
    await expect(stores.apiKeys.installOperatorKey(text)).rejects.toMatchObject({
      code: 'configuration',
      message: expect.stringContaining('MANYHANDS_API_KEY'),
    });
  }
  expect(await contents(stores)).toEqual({});
});
