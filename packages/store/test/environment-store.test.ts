import { EnvironmentCreate, EnvironmentUpdate } from '@manyhands/contract';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { contents, OTHER_WORKSPACE, type Stores, startStores, WORKSPACE } from './fixture.ts';

let stores: Stores;
beforeAll(async () => {
  stores = await startStores();
});
afterAll(() => stores[Symbol.asyncDispose]());
beforeEach(async () => {
  await stores.redis.flushall();
});

const create = (fields: Record<string, unknown> = {}) =>
  stores.environments.create(WORKSPACE, EnvironmentCreate.parse({ name: 'env', ...fields }));
const update = (id: string, fields: Record<string, unknown>) => stores.environments.update(WORKSPACE, id, EnvironmentUpdate.parse(fields));
const none = async () => new Set<string>();
const all = async (ids: string[]) => new Set(ids);

test('an environment without a configuration is a cloud one with unrestricted networking and no packages', async () => {
  const environment = await create();
  expect(environment).toMatchObject({
    type: 'environment',
    description: null,
    config: {
      type: 'cloud',
      networking: { type: 'unrestricted' },
      packages: { type: 'packages', apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] },
    },
    metadata: {},
    scope: 'organization',
    archived_at: null,
  });
  expect(await stores.environments.get(WORKSPACE, environment.id)).toEqual(environment);
  expect(await stores.environments.get(OTHER_WORKSPACE, environment.id)).toBeNull();
});

test('two environments may have the same name', async () => {
  expect((await create()).id).not.toBe((await create()).id);
});

test('an update of limited networking keeps every flag that is left out or null', async () => {
  const limited = { type: 'limited', allowed_hosts: ['example.com'], allow_mcp_servers: true };
  const { id } = await create({ config: { type: 'cloud', networking: limited } });
  const kept = { type: 'limited', allowed_hosts: ['example.com'], allow_mcp_servers: true, allow_package_managers: true };
  const changed = await update(id, {
    config: { type: 'cloud', networking: { type: 'limited', allowed_hosts: null, allow_package_managers: true } },
  });
  expect(changed.config.networking).toEqual(kept);
  expect((await update(id, { config: { type: 'cloud', networking: null } })).config.networking).toEqual(kept);
  expect((await update(id, { config: null })).config.networking).toEqual(kept);
  expect((await update(id, { config: { type: 'cloud', networking: { type: 'unrestricted' } } })).config.networking).toEqual({
    type: 'unrestricted',
  });
  expect((await update(id, { config: { type: 'cloud', networking: { type: 'limited' } } })).config.networking).toEqual({
    type: 'limited',
    allowed_hosts: [],
    allow_mcp_servers: false,
    allow_package_managers: false,
  });
});

test('a description may be null or empty, a name stays when it is null, and metadata keys go with null or the empty text', async () => {
  const { id } = await create({ description: 'd', metadata: { a: '1', b: '2', c: '3' } });
  expect(await update(id, { description: '', name: null })).toMatchObject({ description: '', name: 'env' });
  expect(await update(id, { description: null })).toMatchObject({ description: null });
  expect((await update(id, { metadata: { a: null, b: '', d: '4' } })).metadata).toEqual({ c: '3', d: '4' });
});

test('an update that changes nothing leaves the time of change alone', async () => {
  const environment = await create({ description: 'd' });
  stores.time.nowMs += 1000;
  expect(await update(environment.id, { description: 'd', config: { type: 'cloud' } })).toEqual(environment);
  expect((await update(environment.id, { name: 'new' })).updated_at > environment.updated_at).toBe(true);
});

test('an archived environment is listed on request only and refuses changes with a reason', async () => {
  const { id } = await create();
  const archived = await stores.environments.archive(WORKSPACE, id);
  expect(await stores.environments.archive(WORKSPACE, id)).toEqual(archived);
  await expect(update(id, { name: 'x' })).rejects.toMatchObject({ status: 400, options: { errorCode: 'environment_archived' } });
  expect((await stores.environments.list(WORKSPACE, { limit: 9, includeInactive: false })).data).toEqual([]);
  expect((await stores.environments.list(WORKSPACE, { limit: 9, includeInactive: true })).data).toEqual([archived]);
});

test('an environment that sessions refer to is not deleted; any other leaves nothing behind', async () => {
  const { id } = await create();
  for (const session of ['sesn_1', 'sesn_2']) await stores.environments.claim(WORKSPACE, id, session);
  const before = await contents(stores);
  await expect(stores.environments.delete(WORKSPACE, id, all)).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('2 sessions'),
  });
  expect(await contents(stores)).toEqual(before);
  for (const session of ['sesn_1', 'sesn_2']) await stores.environments.release(WORKSPACE, id, session);
  await stores.environments.delete(WORKSPACE, id, none);
  expect(await contents(stores)).toEqual({});
  await expect(stores.environments.delete(WORKSPACE, id, none)).rejects.toMatchObject({ status: 404 });
});

test('a session that is being created keeps its environment, one that never came does not', async () => {
  const { id } = await create();
  await stores.environments.claim(WORKSPACE, id, 'sesn_1');
  stores.time.nowMs += 59_000;
  await expect(stores.environments.delete(WORKSPACE, id, none)).rejects.toMatchObject({ status: 400 });
  stores.time.nowMs += 2_000;
  await stores.environments.delete(WORKSPACE, id, none);
  expect(await contents(stores)).toEqual({});
});

test('any number of sessions that are gone do not keep an environment, and one that is there does', async () => {
  const { id } = await create();
  const sessions = Array.from({ length: 501 }, (_, i) => `sesn_${String(i).padStart(3, '0')}`);
  for (const session of sessions) await stores.environments.claim(WORKSPACE, id, session);
  stores.time.nowMs += 61_000;
  const last = new Set(['sesn_500']);
  await expect(stores.environments.delete(WORKSPACE, id, async () => last)).rejects.toMatchObject({
    message: expect.stringContaining('session'),
  });
  expect(await stores.environments.get(WORKSPACE, id)).not.toBeNull();
  await stores.environments.delete(WORKSPACE, id, none);
  expect(await contents(stores)).toEqual({});
});

test('no session comes to an environment that is archived, deleted or was never there', async () => {
  const { id } = await create();
  await stores.environments.archive(WORKSPACE, id);
  const before = await contents(stores);
  await expect(stores.environments.claim(WORKSPACE, id, 'sesn_1')).rejects.toMatchObject({
    options: { errorCode: 'environment_archived' },
  });
  await expect(stores.environments.claim(WORKSPACE, 'env_none', 'sesn_1')).rejects.toMatchObject({ status: 404 });
  expect(await contents(stores)).toEqual(before);
});

test('of sessions and a deletion at once, either the sessions have their environment or it is gone', async () => {
  for (let round = 0; round < 20; round++) {
    const { id } = await create();
    const [deleted, ...claimed] = await Promise.allSettled([
      stores.environments.delete(WORKSPACE, id, none),
      ...Array.from({ length: 5 }, (_, i) => stores.environments.claim(WORKSPACE, id, `sesn_${i}`)),
    ]);
    const there = (await stores.environments.get(WORKSPACE, id)) !== null;
    expect(there).toBe(deleted.status === 'rejected');
    if (!there) expect(claimed.map(({ status }) => status)).toEqual(claimed.map(() => 'rejected'));
  }
});

test('a deletion looks again when the environment changed while its sessions were looked for', async () => {
  const { id } = await create();
  await stores.environments.claim(WORKSPACE, id, 'sesn_1');
  stores.time.nowMs += 61_000;
  let looks = 0;
  await stores.environments.delete(WORKSPACE, id, async () => {
    looks++;
    if (looks === 1) await update(id, { name: 'changed meanwhile' });
    return new Set();
  });
  expect(looks).toBe(2);
  expect(await stores.environments.get(WORKSPACE, id)).toBeNull();
});
