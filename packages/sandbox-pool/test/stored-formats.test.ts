/** What a pool keeps in files: each names its format, those of 0.1.0 are read, those of a newer version are refused and left alone (I16). */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createMetrics, randomIds, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { silentLogger, type TemporaryDirectory, temporaryDirectory } from '@manyhands/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { INTENT_FILE, readIntent } from '../src/drivers/bubblewrap/holder-record.ts';
import { CONTAINER_FILE, readRecord } from '../src/drivers/docker/container-record.ts';
import { MOUNTS_FILE } from '../src/files/mounts.ts';
import { createPoolMetrics, noEgress, openPoolDirectory, openSandboxPool, type SandboxDriver, sandboxDirectory } from '../src/index.ts';
import { openEndedLeases } from '../src/records/ended-leases.ts';
import { LEASE_FILE, readLease } from '../src/records/lease-record.ts';
import { assertFormatsKnown } from '../src/records/stored-formats.ts';
import { POLICY_FILE } from '../src/service/egress-policy.ts';

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/0.1.0/${name}`, import.meta.url));
const json = async (file: string) => JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;

let temporary: TemporaryDirectory;
let poolRoot: string;
beforeEach(async () => {
  temporary = await temporaryDirectory('formats');
  poolRoot = path.join(temporary.path, 'sandboxes');
  await mkdir(poolRoot);
});
afterEach(() => temporary.remove());

/** Everything that 0.1.0 may have left in a pool's directory. */
async function leave010() {
  const directory = sandboxDirectory(poolRoot, 'sbx_8sVq2KdMnWcT9xRb4YpLhJ');
  await mkdir(directory.driver, { recursive: true });
  await mkdir(path.join(poolRoot, '.ended'));
  const files = {
    pool: path.join(poolRoot, 'pool.json'),
    ended: path.join(poolRoot, '.ended', 'sesn_0111LxYpVqR8bTnWcKdM2h.json'),
    lease: directory.leaseFile,
    mounts: path.join(directory.root, 'mounts.json'),
    policy: directory.policyFile,
    intent: path.join(directory.driver, 'intent.json'),
    container: path.join(directory.driver, 'container.json'),
  };
  for (const [name, file] of Object.entries(files)) await copyFile(fixture(`${name}.json`), file);
  return { directory, files };
}

describe('files of 0.1.0, which name no format,', () => {
  test('are read as they were meant', async () => {
    const { directory, files } = await leave010();
    await assertFormatsKnown(poolRoot);
    expect(await readLease(directory)).toEqual(await json(fixture('lease.json')));
    expect(await MOUNTS_FILE.read(files.mounts)).toEqual(await json(fixture('mounts.json')));
    expect(await POLICY_FILE.read(files.policy)).toEqual(await json(fixture('policy.json')));
    expect(await readIntent(directory)).toEqual(await json(fixture('intent.json')));
    expect(await readRecord(directory)).toEqual(await json(fixture('container.json')));
    expect(await (await openEndedLeases(poolRoot, systemClock)).lastGeneration('sesn_0111LxYpVqR8bTnWcKdM2h')).toBe(3);
    expect(await openPoolDirectory(poolRoot, randomIds)).toEqual({ poolId: 'pool_7gQ2mZ4vKcT9xWbN5rJhYd' });
  });

  test('have a format once this version has written them', async () => {
    const { directory, files } = await leave010();
    await openPoolDirectory(poolRoot, randomIds);
    await (await openEndedLeases(poolRoot, systemClock)).note('sesn_0111LxYpVqR8bTnWcKdM2h', 4);
    const rewritten = [
      [LEASE_FILE, files.lease],
      [MOUNTS_FILE, files.mounts],
      [POLICY_FILE, files.policy],
      [INTENT_FILE, files.intent],
      [CONTAINER_FILE, files.container],
    ] as const;
    for (const [kind, file] of rewritten) await kind.replace(file, (await kind.read(file)) as never);
    for (const file of Object.values(files)) expect(await json(file), file).toMatchObject({ format: 1 });
    expect(await readLease(directory)).toMatchObject({ session_id: 'sesn_0111LxYpVqR8bTnWcKdM2h' });
  });
});

describe('a file of a newer format', () => {
  test.each(['pool', 'ended', 'lease', 'mounts', 'policy', 'intent', 'container'] as const)(
    'is refused with its name and the remedy: %s',
    async (name) => {
      const { files } = await leave010();
      // Its shape is nothing that this version knows.
      await writeFile(files[name], '{"format":2,"anything":"else"}');
      await expect(assertFormatsKnown(poolRoot)).rejects.toMatchObject({
        code: 'newer_format',
        message: expect.stringMatching(new RegExp(`^the file ${files[name]} has format 2, this program knows 1: start a newer version`)),
      });
      for (const format of ['0', '"1"', 'null', '-1', '1.5']) {
        await writeFile(files[name], `{"format":${format}}`);
        await expect(assertFormatsKnown(poolRoot), format).rejects.toMatchObject({ code: 'newer_format' });
      }
    },
  );

  test('keeps the pool from being opened, and nothing is adopted, removed or changed', async () => {
    const { directory, files } = await leave010();
    const newer = '{"format":2,"lease":"in another shape"}';
    await writeFile(files.lease, newer);
    const other = sandboxDirectory(poolRoot, 'sbx_otherotherother');
    await mkdir(other.root);
    const before = await readdir(poolRoot);
    const touched: string[] = [];
    const driver = new Proxy({} as SandboxDriver, { get: (_, name) => async () => void touched.push(String(name)) });
    const opening = openSandboxPool({
      ...{ poolRoot, poolId: 'pool_a', driver, egress: noEgress, ids: randomIds, clock: systemClock, log: silentLogger },
      metrics: createPoolMetrics(createMetrics('sandbox-pool')),
      blobs: createDirectoryBlobStore(path.join(temporary.path, 'blobs')),
      limits: { memoryBytes: 1, pids: 1, fileBytes: 1, tmpBytes: 1 },
      ...{ warm: 1, max: 4, concurrency: 2, graceMs: 0, leaseTtlMs: 0 },
    });
    await expect(opening).rejects.toMatchObject({ code: 'newer_format' });
    expect(touched).toEqual([]);
    expect(await readdir(poolRoot)).toEqual(before);
    expect(await readFile(files.lease, 'utf8')).toBe(newer);
    expect(existsSync(directory.driver)).toBe(true);
    // The pool's own file is refused before it is written.
    await writeFile(files.pool, newer);
    await expect(openPoolDirectory(poolRoot, randomIds)).rejects.toMatchObject({ code: 'newer_format' });
    expect(await readFile(files.pool, 'utf8')).toBe(newer);
  });
});
