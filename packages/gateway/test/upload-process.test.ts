/** Large uploads against the process: its memory stays small, and a kill -9 in the middle leaves nothing but what a sweep takes. */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRedis, systemClock } from '@manyhands/base';
import { createDirectoryBlobStore } from '@manyhands/blobs';
import { createFileStore, DEFAULT_WORKSPACE_ID } from '@manyhands/store';
import { type Service, silentLogger, spawnService, startTestRedis, type TestServer, temporaryDirectory, until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ENTRY = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const KEY = 'operator-key-of-this-test';
const MIB = 1024 * 1024;
const SIZE_MIB = 200;
/** Above what the process takes at rest. */
const MEMORY_MAX_MIB = 120;
const BOUNDARY = 'b0undary';
const HEAD = Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="big.bin"\r\n\r\n`);
const TAIL = Buffer.from(`\r\n--${BOUNDARY}--\r\n`);

let redis: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  redis = await startTestRedis();
  directory = await temporaryDirectory('uploads');
});
afterAll(async () => {
  await redis[Symbol.asyncDispose]();
  await directory.remove();
});
const start = () =>
  spawnService({
    name: 'gateway',
    entry: ENTRY,
    env: { REDIS_URL: redis.url, MANYHANDS_DATA: directory.path, MANYHANDS_PORT: '0', MANYHANDS_API_KEY: KEY },
  });
function memoryMib(pid: number, what: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** Sends up to `mib` of a file of SIZE_MIB; resolves to the answer, or rejects when the connection breaks. */
function upload(gateway: Service, onSent: (mib: number) => Promise<void> = async () => {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sending = request({
      port: Number(gateway.ready['port']),
      path: '/v1/files',
      method: 'POST',
      headers: {
        authorization: `Bearer ${KEY}`,
        'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
        'content-length': HEAD.length + SIZE_MIB * MIB + TAIL.length,
      },
    });
    sending.on('error', reject);
    sending.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    void (async () => {
      sending.write(HEAD);
      for (let sent = 0; sent < SIZE_MIB; sent++) {
        if (sending.destroyed) return;
        const more = sending.write(Buffer.alloc(MIB, sent));
        if (!more) await new Promise((drained) => sending.once('drain', drained).once('close', drained));
        await onSent(sent + 1);
      }
      sending.end(TAIL);
    })();
  });
}
async function blobKeys(): Promise<string[]> {
  const found: string[] = [];
  for await (const key of createDirectoryBlobStore(path.join(directory.path, 'blobs')).list('')) found.push(key);
  return found;
}

test(`an upload of ${SIZE_MIB} MiB is stored whole in little memory`, async () => {
  await using gateway = await start();
  const before = memoryMib(gateway.pid, 'VmRSS');
  const { status, body } = await upload(gateway);
  expect(status, body).toBe(200);
  const { id, size_bytes } = JSON.parse(body) as { id: string; size_bytes: number };
  expect(size_bytes).toBe(SIZE_MIB * MIB);
  const took = memoryMib(gateway.pid, 'VmHWM') - before;
  expect(took, `took ${Math.round(took)} MiB`).toBeLessThan(MEMORY_MAX_MIB);
  const stored = await createDirectoryBlobStore(path.join(directory.path, 'blobs')).open(`${DEFAULT_WORKSPACE_ID}/files/${id}/content`);
  let at = 0;
  for await (const chunk of stored!.stream) {
    for (let i = 0; i < chunk.length; i += 65_537)
      if (chunk[i] !== (Math.floor((at + i) / MIB) & 255)) throw new Error(`wrong at ${at + i}`);
    at += chunk.length;
  }
  expect(at).toBe(size_bytes);
}, 120_000);

test('a kill -9 in the middle of an upload leaves no file, and what it left goes by itself', async () => {
  const client = createRedis(redis.url, 'patient', silentLogger, 'test');
  try {
    const before = await blobKeys();
    const dying = await start();
    const sent = upload(dying, async (mib) => {
      if (mib === SIZE_MIB / 2) await dying.kill('SIGKILL');
    });
    await expect(sent).rejects.toThrow();
    await using gateway = await start();
    const url = `http://127.0.0.1:${gateway.ready['port']}`;
    const list = async () =>
      ((await (await fetch(`${url}/v1/files`, { headers: { authorization: `Bearer ${KEY}` } })).json()) as { data: unknown[] }).data.length;
    expect(await list()).toBe(before.length);
    expect(await blobKeys()).toEqual(before);
    // What is half a file is no blob; it is there all the same until a sweep.
    const later = createFileStore(client, createDirectoryBlobStore(path.join(directory.path, 'blobs')), {
      now: () => systemClock.now() + 200_000,
    });
    const files = path.join(directory.path, 'blobs', DEFAULT_WORKSPACE_ID, 'files');
    const { readdir } = await import('node:fs/promises');
    expect(await readdir(files)).toHaveLength(before.length + 1);
    expect(await later.sweep(async () => new Set())).toBe(1);
    await until(async () => (await readdir(files)).length === before.length, { what: 'half a file is gone' });
    expect(await list()).toBe(before.length);
  } finally {
    client.disconnect();
  }
}, 120_000);
