/** Files through the official SDK and through raw bodies, on a real Redis and a real blob store. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { attachmentKey, fileBlobKey } from '@manyhands/contract';
import { createFileStore } from '@manyhands/store';
import { until } from '@manyhands/test-kit';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GatewayFixture, startGateway, WORKSPACE } from './fixture.ts';

const LIMIT = 1024 * 1024;
let gateway: GatewayFixture;
let client: Anthropic;
beforeAll(async () => {
  gateway = await startGateway({ fileLimitBytes: LIMIT });
  client = gateway.client;
});
afterAll(() => gateway[Symbol.asyncDispose]());

const BOUNDARY = 'b0undary';
function part(headers: string, body: string): string {
  return `--${BOUNDARY}\r\n${headers}\r\n\r\n${body}\r\n`;
}
const disposition = (rest: string) => `content-disposition: form-data; ${rest}`;
const END = `--${BOUNDARY}--\r\n`;
const A_FILE = part(`${disposition('name="file"; filename="a.txt"')}\r\ncontent-type: text/plain`, 'hello');
async function post(body: string, contentType = `multipart/form-data; boundary=${BOUNDARY}`) {
  const response = await gateway.fetch('/v1/files', { method: 'POST', body, headers: { 'content-type': contentType } });
  return { status: response.status, body: (await response.json()) as { error: { type: string; message: string }; filename: string } };
}
async function blobKeys(): Promise<string[]> {
  const found: string[] = [];
  for await (const key of gateway.blobs.list('')) found.push(key);
  return found;
}
/** Records and lists; what only says that something is pending is left out. */
async function stored(): Promise<string[]> {
  return (await gateway.testRedis.keys(`mh:*file*`)).filter((key) => key !== 'mh:{files}:workspaces').sort();
}
/** An output of a session, as a worker makes it. */
async function output(sessionId: string, filename: string, bytes: Buffer) {
  const id = gateway.ids.id('file');
  await gateway.files.pending(WORKSPACE, sessionId, id);
  await gateway.blobs.put(fileBlobKey(WORKSPACE, sessionId, id), bytes);
  return gateway.files.create(WORKSPACE, {
    ...{ id, filename, mime_type: 'text/plain', size_bytes: bytes.length, expires_at_ms: null, session_id: sessionId },
    origin: { kind: 'output', path: filename, sha256: '' },
  });
}

describe('an upload', () => {
  test('is stored byte for byte and told with every field', async () => {
    const bytes = randomBytes(200_000);
    const file = await client.beta.files.upload({ file: await toFile(bytes, 'data.bin', { type: 'application/x-thing' }) });
    expect(file).toMatchObject({
      ...{ type: 'file', filename: 'data.bin', mime_type: 'application/x-thing', size_bytes: 200_000 },
      ...{ downloadable: false, expires_at: null, scope: null },
    });
    expect(file.id).toMatch(/^file_\w+$/);
    expect(await gateway.blobs.get(fileBlobKey(WORKSPACE, null, file.id))).toEqual(bytes);
    expect(await client.beta.files.retrieveMetadata(file.id)).toEqual(file);
  });

  test('keeps the last component of its name, in any language, and gets one if it has none', async () => {
    const named = async (name: string, type = 'text/plain') =>
      (await client.beta.files.upload({ file: new File(['x'], name, { type }) })).filename;
    expect(await named('dir/sub/a.txt')).toBe('a.txt');
    expect(await named('C:\\dir\\b.txt')).toBe('b.txt');
    expect(await named('Überblick – 数据.csv')).toBe('Überblick – 数据.csv');
    expect(await named('..')).toBe('unnamed.txt');
    expect(await named('dir/', 'image/png')).toBe('unnamed.png');
    expect(await named('', 'application/x-thing')).toBe('unnamed');
    expect((await post(part(`${disposition('name="file"')}\r\ncontent-type: application/json`, '{}') + END)).body.filename).toBe(
      'unnamed.json',
    );
  });

  test('of no particular type gets that of its name', async () => {
    const typed = async (name: string) =>
      (await client.beta.files.upload({ file: await toFile(Buffer.from('x'), name, { type: 'application/octet-stream' }) })).mime_type;
    expect(await typed('table.csv')).toBe('text/csv');
    expect(await typed('photo.JPEG')).toBe('image/jpeg');
    expect(await typed('thing.qqq')).toBe('application/octet-stream');
  });

  test('may be empty, and as large as the limit, but no larger', async () => {
    const upload = async (size: number) => client.beta.files.upload({ file: await toFile(Buffer.alloc(size), 'f.bin') });
    expect((await upload(0)).size_bytes).toBe(0);
    expect((await upload(LIMIT)).size_bytes).toBe(LIMIT);
    const before = [await blobKeys(), await stored()];
    await expect(upload(LIMIT + 1)).rejects.toMatchObject({ status: 413, type: 'request_too_large' });
    await expect(upload(LIMIT * 4)).rejects.toMatchObject({ status: 413, type: 'request_too_large' });
    expect([await blobKeys(), await stored()]).toEqual(before);
  });

  test('without a stated length is cut off at the limit and leaves nothing', async () => {
    const before = [await blobKeys(), await stored()];
    const chunks = (function* () {
      yield Buffer.from(`--${BOUNDARY}\r\n${disposition('name="file"; filename="big"')}\r\n\r\n`);
      for (let i = 0; i < 40; i++) yield Buffer.alloc(64 * 1024);
      yield Buffer.from(`\r\n${END}`);
    })();
    const response = await fetch(`${gateway.url}/v1/files`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.key}`, 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
      body: Readable.toWeb(Readable.from(chunks)) as ReadableStream,
      duplex: 'half',
    } as RequestInit);
    expect(response.status).toBe(413);
    expect([await blobKeys(), await stored()]).toEqual(before);
  });

  test('that is not in order is a 400 that says what is wrong, and leaves nothing', async () => {
    const before = [await blobKeys(), await stored()];
    const expiry = (value: string) => part(disposition('name="expires_in_seconds"'), value);
    const cases: [string, RegExp, string?][] = [
      ['{}', /content-type: must be multipart\/form-data with a part named "file"/, 'application/json'],
      [A_FILE + END, /boundary/, 'multipart/form-data'],
      [END, /file: required/],
      [expiry('3600') + END, /file: required/],
      [A_FILE, /not valid multipart/],
      [A_FILE.slice(0, -10), /not valid multipart/],
      ['garbage', /not valid multipart/],
      ['', /required|not valid|must be multipart/],
      [A_FILE + A_FILE + END, /file: given more than once/],
      [A_FILE + part(disposition('name="purpose"'), 'x') + END, /purpose: unknown field/],
      [A_FILE + expiry('3599') + END, /expires_in_seconds: must be a whole number of seconds from 3600 to 7776000/],
      [expiry('7776001') + A_FILE + END, /expires_in_seconds/],
      [A_FILE + expiry('1e4') + END, /expires_in_seconds/],
      [A_FILE + expiry('9'.repeat(5_000)) + END, /expires_in_seconds/],
      [A_FILE + expiry('3600') + expiry('3600') + END, /expires_in_seconds: given more than once/],
      [part(`${disposition('name="file"; filename="a"')}\r\ncontent-type: nonsense`, 'x') + END, /content-type must be a media type/],
      [part(disposition(`name="file"; filename="${'a'.repeat(256)}"`), 'x') + END, /at most 255 characters/],
      [part(disposition('name="file"; filename="a\u0007b"'), 'x') + END, /control characters/],
    ];
    for (const [body, message, contentType] of cases) {
      const answer = await post(body, contentType);
      expect(answer, JSON.stringify(body.slice(0, 200))).toMatchObject({ status: 400, body: { error: { type: 'invalid_request_error' } } });
      expect(answer.body.error.message).toMatch(message);
    }
    expect(await post(A_FILE + END, 'text/plain')).toMatchObject({ status: 400 });
    expect([await blobKeys(), await stored()]).toEqual(before);
  });

  test('that was damaged on its way is refused or stored as it arrived, and a refused one leaves nothing', async () => {
    const whole = Buffer.from(part(disposition('name="expires_in_seconds"'), '3600') + A_FILE + END);
    const place = fc.nat({ max: whole.length - 1 });
    const damage = fc.oneof(
      fc.record({ cut: place }),
      fc.record({ at: place, byte: fc.nat({ max: 255 }) }),
      fc.record({ from: place, length: fc.integer({ min: 1, max: 60 }) }),
      fc.record({ at: place, insert: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
      fc.record({ from: place, length: fc.integer({ min: 1, max: 60 }), again: fc.constant(true) }),
    );
    const apply = (body: Buffer, how: Record<string, unknown>): Buffer => {
      const { cut, at, byte, insert, from, length, again } = how as Record<string, number> & { insert?: Uint8Array };
      if (cut !== undefined) return body.subarray(0, cut);
      if (insert !== undefined) return Buffer.concat([body.subarray(0, at), insert, body.subarray(at)]);
      if (byte !== undefined) return Buffer.from(body.map((value, i) => (i === at ? byte : value)));
      const end = from! + length!;
      if (again) return Buffer.concat([body.subarray(0, end), body.subarray(from)]);
      return Buffer.concat([body.subarray(0, from), body.subarray(end)]);
    };
    let state = [await blobKeys(), await stored()];
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
        const body = damages.reduce(apply, whole);
        const headers = { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` };
        const response = await gateway.fetch('/v1/files', { method: 'POST', body, headers });
        const told = (await response.json()) as { id: string; size_bytes: number } & { error: { type: string } };
        const now = [await blobKeys(), await stored()];
        if (response.status === 200) {
          const bytes = await gateway.blobs.get(fileBlobKey(WORKSPACE, null, told.id));
          expect(bytes).toHaveLength(told.size_bytes);
          expect(body.includes(bytes!)).toBe(true);
          state = now;
          return;
        }
        expect(response.status).toBe(400);
        expect(told.error.type).toBe('invalid_request_error');
        expect(now).toEqual(state);
      }),
      { numRuns: 150 },
    );
  });

  test('whose client goes away in the middle leaves nothing', async () => {
    const before = [await blobKeys(), await stored()];
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(
      `POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${gateway.key}\r\ncontent-length: 500000\r\n` +
        `content-type: multipart/form-data; boundary=${BOUNDARY}\r\n\r\n--${BOUNDARY}\r\n${disposition('name="file"; filename="f"')}\r\n\r\n`,
    );
    socket.write(Buffer.alloc(200_000));
    await until(async () => (await stored()).length > before[1]!.length, { what: 'the upload is under way' });
    socket.destroy();
    await until(async () => JSON.stringify([await blobKeys(), await stored()]) === JSON.stringify(before), { what: 'nothing is left' });
  });

  test('of another workspace does not exist', async () => {
    const file = await client.beta.files.upload({ file: new File(['x'], 'a.txt') });
    const other = gateway.sdk(await gateway.makeKey('wrkspc_foreign', ['api']));
    await expect(other.beta.files.retrieveMetadata(file.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(other.beta.files.download(file.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(other.beta.files.delete(file.id)).rejects.toThrow(Anthropic.NotFoundError);
    expect((await other.beta.files.list({ ids: [file.id] })).data).toEqual([]);
    expect((await other.beta.files.list()).data).toEqual([]);
    for (const id of ['file_unknown', 'nonsense']) await expect(client.beta.files.delete(id)).rejects.toThrow(Anthropic.NotFoundError);
  });
});

describe('content', () => {
  test('of an upload is not told, that of an output is, byte for byte', async () => {
    const file = await client.beta.files.upload({ file: new File(['x'], 'a.txt') });
    await expect(client.beta.files.download(file.id)).rejects.toMatchObject({ status: 400, errorCode: 'file_not_downloadable' });
    const { id } = await gateway.session();
    const bytes = randomBytes(300_000);
    const made = await output(id, 'größe "x".txt', bytes);
    const response = await client.beta.files.download(made.id);
    expect(Buffer.from(await response.arrayBuffer())).toEqual(bytes);
    expect(response.headers.get('content-type')).toBe('text/plain');
    expect(response.headers.get('content-length')).toBe('300000');
    expect(response.headers.get('content-disposition')).toContain(`filename*=UTF-8''gr%C3%B6%C3%9Fe%20%22x%22.txt`);
    expect(await client.beta.files.retrieveMetadata(made.id)).toMatchObject({ downloadable: true, scope: { type: 'session', id } });
  });
});

describe('lists', () => {
  test('are newest first, in pages; by ids in one page; by scope only what is in it', async () => {
    const own = gateway.sdk(await gateway.makeKey('wrkspc_lists', ['api']));
    const made: string[] = [];
    for (let i = 0; i < 5; i++) made.push((await own.beta.files.upload({ file: new File(['x'], `f${i}`) })).id);
    const listed: string[] = [];
    for await (const { id } of own.beta.files.list({ limit: 2 })) listed.push(id);
    expect([...listed].sort()).toEqual([...made].sort());
    const times = (await own.beta.files.list({ limit: 100 })).data.map(({ created_at }) => created_at);
    expect(times).toEqual(times.toSorted().toReversed());
    const page = await own.beta.files.list({ ids: [made[3]!, 'file_unknown', made[1]!, made[3]!, '../x'] });
    expect(page.data.map(({ id }) => id)).toEqual([made[3], made[1]]);
    expect(page.next_page).toBeNull();
    const many = Array.from({ length: 101 }, (_, i) => `file_${i}`);
    await expect(own.beta.files.list({ ids: many })).rejects.toMatchObject({ status: 400 });
    expect((await own.beta.files.list({ ids: [...many.slice(1), ...many.slice(1)] })).data).toEqual([]);
    await expect(own.beta.files.list({ ids: made, limit: 5 })).rejects.toThrow(/limit: not together with ids/);
    await expect(own.beta.files.list({ page: 'nonsense' })).rejects.toThrow(/page/);

    const { id } = await gateway.session();
    const other = await gateway.session();
    const outputs = [await output(id, 'a', Buffer.from('a')), await output(id, 'b', Buffer.from('b'))];
    await output(other.id, 'c', Buffer.from('c'));
    const scoped = await client.beta.files.list({ scope_id: id });
    expect(scoped.data.map((file) => file.id).sort()).toEqual(outputs.map((file) => file.id).sort());
    expect((await client.beta.files.list({ scope_id: 'sesn_unknown' })).data).toEqual([]);
    expect((await client.beta.files.list({ scope_id: 'nonsense' })).data).toEqual([]);
    await expect(client.beta.files.list({ scope_id: id, page: (await own.beta.files.list({ limit: 1 })).next_page! })).rejects.toThrow(
      /page/,
    );
  });
});

describe('the end of a file', () => {
  test('by deletion is at once and whole', async () => {
    const file = await client.beta.files.upload({ file: new File(['x'], 'a.txt'), expires_in_seconds: 3600 });
    expect(await client.beta.files.delete(file.id)).toEqual({ id: file.id, type: 'file_deleted' });
    await expect(client.beta.files.retrieveMetadata(file.id)).rejects.toThrow(Anthropic.NotFoundError);
    await expect(client.beta.files.delete(file.id)).rejects.toThrow(Anthropic.NotFoundError);
    expect((await blobKeys()).filter((key) => key.includes(file.id))).toEqual([]);
    for (const key of await stored()) expect(String(await gateway.testRedis.dumpBuffer(key)), key).not.toContain(file.id);
  });

  test('by expiry is told as such, and a sweep takes its bytes, later its record', async () => {
    const before = Date.now();
    const file = await client.beta.files.upload({ file: new File(['x'], 'a.txt'), expires_in_seconds: 3600 });
    expect(Math.abs(Date.parse(file.expires_at ?? '') - before - 3_600_000)).toBeLessThan(60_000);
    const at = (ms: number) => createFileStore(gateway.testRedis, gateway.blobs, { now: () => Date.now() + ms });
    await gateway.files.sweep(gateway.sessionLog.existing);
    expect((await blobKeys()).filter((key) => key.includes(file.id))).toHaveLength(1);
    // As the gateway sees it when the hour is over.
    const record = JSON.parse((await gateway.testRedis.get(`mh:{${WORKSPACE}}:file:${file.id}`)) ?? '');
    await gateway.testRedis.set(`mh:{${WORKSPACE}}:file:${file.id}`, JSON.stringify({ ...record, expires_at_ms: Date.now() - 1 }));
    await expect(client.beta.files.download(file.id)).rejects.toMatchObject({ status: 404, errorCode: 'file_expired' });
    await at(3_601_000).sweep(gateway.sessionLog.existing);
    expect((await blobKeys()).filter((key) => key.includes(file.id))).toEqual([]);
    await expect(client.beta.files.download(file.id)).rejects.toMatchObject({ status: 404, errorCode: 'file_expired' });
    await at(31 * 86_400_000).sweep(gateway.sessionLog.existing);
    await expect(client.beta.files.retrieveMetadata(file.id)).rejects.toThrow(Anthropic.NotFoundError);
  });

  test('that never came to be leaves bytes that a sweep takes, but none that somebody still writes', async () => {
    const at = (ms: number) => createFileStore(gateway.testRedis, gateway.blobs, { now: () => Date.now() + ms });
    const left = gateway.ids.id('file');
    await gateway.files.pending(WORKSPACE, null, left);
    await gateway.blobs.put(fileBlobKey(WORKSPACE, null, left), Buffer.from('x'));
    await at(60_000).sweep(gateway.sessionLog.existing);
    expect((await blobKeys()).filter((key) => key.includes(left))).toHaveLength(1);
    await at(200_000).sweep(gateway.sessionLog.existing);
    expect((await blobKeys()).filter((key) => key.includes(left))).toEqual([]);
    const file = { id: left, filename: 'a', mime_type: 'a/b', size_bytes: 1, expires_at_ms: null, session_id: null };
    await expect(gateway.files.create(WORKSPACE, { ...file, origin: { kind: 'upload' } })).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('that the first message of a session referred to goes when the session never came to be', async () => {
    const session = gateway.ids.id('session');
    await gateway.files.announceScope(WORKSPACE, session);
    await gateway.blobs.put(attachmentKey(WORKSPACE, session, gateway.ids.id('file')), Buffer.from('x'));
    const left = async () => (await blobKeys()).filter((key) => key.includes(session));
    const at = (ms: number) => createFileStore(gateway.testRedis, gateway.blobs, { now: () => Date.now() + ms });
    await at(60_000).sweep(gateway.sessionLog.existing);
    expect(await left()).toHaveLength(1);
    await at(700_000).sweep(gateway.sessionLog.existing);
    expect(await left()).toEqual([]);
  });
});
