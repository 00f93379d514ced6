/** Every method of every store on a Redis Cluster, which refuses whatever touches two slots. */
import { AgentCreate, AgentUpdate, EnvironmentCreate, EnvironmentUpdate, fileBlobKey } from '@manyhands/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NewFile } from '../src/index.ts';
import { type Stores, startStores } from './fixture.ts';

/** Far enough apart for each master of three to have some. */
const WORKSPACES = ['wrkspc_one', 'wrkspc_two', 'wrkspc_three', 'wrkspc_four', 'wrkspc_default'];
const all = { limit: 100, includeInactive: true };

let stores: Stores;
beforeAll(async () => {
  stores = await startStores({ cluster: true });
});
afterAll(() => stores?.[Symbol.asyncDispose]());

test('the workspaces of these tests lie on every master', async () => {
  const slots = await Promise.all(WORKSPACES.map((workspace) => stores.redis.cluster('KEYSLOT', `mh:{${workspace}}:agents`)));
  expect(new Set(slots.map((slot) => Math.floor((Number(slot) * 3) / 16_384)))).toEqual(new Set([0, 1, 2]));
});

describe.each(WORKSPACES)('in %s', (workspace) => {
  test('agents are made, changed, listed and archived', async () => {
    const { agents } = stores;
    const created = await Promise.all(
      ['a', 'b', 'c'].map((name) => agents.create(workspace, AgentCreate.parse({ name, model: 'model-a' }))),
    );
    const [first] = created;
    const id = String(first?.id);
    await Promise.all(['1', '2', '3'].map((key) => agents.update(workspace, id, AgentUpdate.parse({ metadata: { [key]: key } }))));
    expect(await agents.get(workspace, id)).toMatchObject({ version: 4, metadata: { 1: '1', 2: '2', 3: '3' } });
    expect(await agents.get(workspace, id, 1)).toMatchObject({ version: 1, metadata: {} });
    const page = await agents.versions(workspace, id, { limit: 3 });
    expect(page.data.map(({ version }) => version)).toEqual([4, 3, 2]);
    expect((await agents.versions(workspace, id, { limit: 3, cursor: String(page.next_page) })).data).toHaveLength(1);
    expect((await agents.archive(workspace, id)).archived_at).not.toBeNull();
    expect((await agents.list(workspace, { limit: 10, includeInactive: false })).data).toHaveLength(2);
    const two = await agents.list(workspace, { ...all, limit: 2 });
    const rest = await agents.list(workspace, { ...all, limit: 2, cursor: String(two.next_page) });
    expect([...two.data, ...rest.data].map(({ name }) => name).sort()).toEqual(['a', 'b', 'c']);
  });

  test('environments are made, changed, claimed, released and deleted', async () => {
    const { environments } = stores;
    const { id } = await environments.create(workspace, EnvironmentCreate.parse({ name: 'env' }));
    expect(await environments.update(workspace, id, EnvironmentUpdate.parse({ name: 'other' }))).toMatchObject({ name: 'other' });
    await environments.claim(workspace, id, 'sesn_1');
    await environments.claim(workspace, id, 'sesn_gone');
    stores.time.nowMs += 3_600_000;
    const existing = async () => new Set(['sesn_1']);
    await expect(environments.delete(workspace, id, existing)).rejects.toMatchObject({ status: 400 });
    await environments.release(workspace, id, 'sesn_1');
    await environments.delete(workspace, id, async () => new Set());
    expect(await environments.get(workspace, id)).toBeNull();
    const other = await environments.create(workspace, EnvironmentCreate.parse({ name: 'archived' }));
    await environments.archive(workspace, other.id);
    await expect(environments.claim(workspace, other.id, 'sesn_1')).rejects.toMatchObject({ status: 400 });
    expect((await environments.list(workspace, all)).data.map(({ name }) => name)).toEqual(['archived']);
  });

  test('API keys are made, known, listed and revoked', async () => {
    const { apiKeys } = stores;
    const { key, id } = await apiKeys.create(workspace, { name: 'key' });
    expect(await apiKeys.authenticate(key)).toMatchObject({ id, workspace_id: workspace });
    expect(await apiKeys.get(workspace, id)).toMatchObject({ name: 'key' });
    expect((await apiKeys.list(workspace, all)).data).toHaveLength(1);
    await apiKeys.revoke(workspace, id);
    expect(await apiKeys.authenticate(key)).toBeNull();
  });

  test('files are stored, listed, captured, replaced and deleted', async () => {
    const { files } = stores;
    const [upload, output, newer, gone] = ['upload', 'output', 'newer', 'gone'].map((name) => `file_${name}`) as [
      string,
      string,
      string,
      string,
    ];
    await put(workspace, { id: upload, session_id: null, origin: { kind: 'upload' } });
    const uploaded = await files.get(workspace, upload);
    expect(uploaded).toMatchObject({ id: upload, filename: 'a.txt' });
    await files.announceScope(workspace, 'sesn_1');
    expect(await files.mount(workspace, uploaded!, 'sesn_1', 'file_copy')).toMatchObject({ origin: { kind: 'mount' } });
    await put(workspace, { id: output, session_id: 'sesn_1', origin: { kind: 'output', path: 'a.txt', sha256: '1' } });
    stores.time.nowMs += 1_000;
    await put(workspace, { id: newer, session_id: 'sesn_1', origin: { kind: 'output', path: 'a.txt', sha256: '2' } });
    const captured = (await files.outputs(workspace, 'sesn_1')).get('a.txt');
    expect(captured).toMatchObject({ current: { id: newer }, replaced: [{ id: output }] });
    await files.dropReplaced(workspace, captured!.replaced[0]!);
    expect(await files.getAll(workspace, [upload, output, newer])).toHaveLength(2);
    expect((await files.list(workspace, { limit: 10 })).data).toHaveLength(3);
    expect((await files.list(workspace, { limit: 1, sessionId: 'sesn_1' })).next_page).not.toBeNull();
    expect(await files.delete(workspace, newer)).toBe(true);
    expect((await files.outputs(workspace, 'sesn_1')).get('a.txt')).toMatchObject({ current: null, sha256: '2' });
    await files.deleteScope(workspace, 'sesn_1');
    expect((await files.list(workspace, { limit: 10 })).data.map(({ id }) => id)).toEqual([upload]);
    await files.pending(workspace, null, gone);
    await files.abandon(workspace, null, gone);
  });
});

test('what expired, what was left over and what belongs to no session is swept in every workspace', async () => {
  const { files, blobs } = stores;
  for (const workspace of WORKSPACES) {
    await put(workspace, { id: 'file_expiring', session_id: null, origin: { kind: 'upload' }, expires_at_ms: stores.time.nowMs + 1_000 });
    await files.pending(workspace, null, 'file_left');
    await blobs.put(fileBlobKey(workspace, null, 'file_left'), Buffer.from('left'));
    await files.announceScope(workspace, 'sesn_none');
    await put(workspace, { id: 'file_scoped', session_id: 'sesn_none', origin: { kind: 'mount' } });
  }
  stores.time.nowMs += 40 * 86_400_000;
  expect(await files.sweep(async () => new Set())).toBeGreaterThanOrEqual(3 * WORKSPACES.length);
  for (const workspace of WORKSPACES) {
    expect(await files.getAll(workspace, ['file_expiring', 'file_left', 'file_scoped'])).toEqual([]);
    expect(await blobs.get(fileBlobKey(workspace, null, 'file_left'))).toBeNull();
  }
});

test('an operator key is installed once by any number of processes', async () => {
  const outcomes = await Promise.all(Array.from({ length: 5 }, () => stores.apiKeys.installOperatorKey('chosen-by-the-operator')));
  expect(outcomes).toContain('installed');
  expect(await stores.apiKeys.installOperatorKey('chosen-by-the-operator')).toBe('present');
  expect(await stores.apiKeys.authenticate('chosen-by-the-operator')).toMatchObject({ scopes: ['api', 'operator'] });
});

async function put(workspace: string, file: Pick<NewFile, 'id' | 'session_id' | 'origin'> & Partial<NewFile>): Promise<void> {
  await stores.files.pending(workspace, file.session_id, file.id);
  await stores.blobs.put(fileBlobKey(workspace, file.session_id, file.id), Buffer.from('hello'));
  await stores.files.create(workspace, { filename: 'a.txt', mime_type: 'text/plain', size_bytes: 5, expires_at_ms: null, ...file });
}
