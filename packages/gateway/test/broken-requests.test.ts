/** What goes wrong below the routes, byte by byte: always an answer in the envelope, in order, with a request id that the log knows. */
import { connect } from 'node:net';
import { until } from '@manyhands/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contents, type GatewayFixture, startGateway } from './fixture.ts';

const BODY_ARRIVAL_MS = 300;
const logLines: string[] = [];
let gateway: GatewayFixture;
let good: string;
beforeAll(async () => {
  gateway = await startGateway({ logLines, bodyArrivalMs: BODY_ARRIVAL_MS, bodyLimitBytes: 1_000 });
  good = `host: x\r\nauthorization: Bearer ${gateway.key}\r\ncontent-type: application/json\r\n`;
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Answer {
  status: number;
  headers: string;
  requestId: string;
  body: { error: { type: string; message: string; details?: { error_code: string } }; request_id: string };
}
/** Everything that comes back until the server ends the connection, or until as many answers are there as are waited for. */
function send(bytes: string, answers = Number.POSITIVE_INFINITY): Promise<Answer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1', () => socket.write(bytes, 'latin1'));
    let text = '';
    const done = () => {
      socket.destroy();
      resolve(parse(text));
    };
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part;
      if (parse(text).length >= answers) done();
    });
    socket.on('end', done).on('error', reject);
  });
}
function parse(text: string): Answer[] {
  const [head, rest] = [text.slice(0, text.indexOf('\r\n\r\n')), text.slice(text.indexOf('\r\n\r\n') + 4)];
  const [, status] = /^HTTP\/1\.1 (\d+) /.exec(head) ?? [];
  const [, length] = /\r\ncontent-length: (\d+)/i.exec(head) ?? [];
  if (status === '100') return parse(rest);
  if (status === undefined || length === undefined || rest.length < Number(length)) return [];
  const [, requestId = ''] = /\r\nrequest-id: (req_\w+)/.exec(head) ?? [];
  const answer = { status: Number(status), headers: head, requestId, body: JSON.parse(rest.slice(0, Number(length)) || 'null') };
  return [answer, ...parse(rest.slice(Number(length)))];
}
/** The line that a request left. */
async function logged(requestId: string): Promise<Record<string, unknown>> {
  const find = () => logLines.map((line) => JSON.parse(line) as Record<string, unknown>).find((line) => line['requestId'] === requestId);
  await until(() => find() !== undefined, { what: `a line for ${requestId}`, timeoutMs: 5_000 });
  return find()!;
}

const post = (rest: string) => `POST /v1/agents HTTP/1.1\r\n${good}${rest}`;
test.each<[string, () => string, number, RegExp]>([
  ['no HTTP at all', () => 'NONSENSE\r\n\r\n', 400, /not valid HTTP/],
  ['another protocol', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400, /not valid HTTP/],
  ['HTTP/2', () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, /not valid HTTP/],
  ['an invented method', () => `FOO /v1/agents HTTP/1.1\r\n${good}\r\n`, 400, /not valid HTTP/],
  ['bytes in the path', () => `GET /v1/agents/\xff HTTP/1.1\r\n${good}\r\n`, 400, /not valid HTTP/],
  ['headers over 16 KB', () => `GET /v1/agents HTTP/1.1\r\n${good}x: ${'y'.repeat(20_000)}\r\n\r\n`, 431, /headers are too large/],
  ['a path over 16 KB', () => `GET /v1/agents?${'y'.repeat(20_000)} HTTP/1.1\r\n${good}\r\n`, 431, /headers are too large/],
  ['a path that cannot be decoded', () => `GET /v1/agents/%E0%A4%A HTTP/1.1\r\n${good}\r\n`, 404, /percent-encoding/],
  ['an id longer than any', () => `GET /v1/agents/${'x'.repeat(600)} HTTP/1.1\r\n${good}\r\n`, 404, /longer than any id/],
  ['a path that is none', () => `GET /v1/nothing HTTP/1.1\r\n${good}\r\n`, 404, /does not exist/],
  ['OPTIONS of everything', () => `OPTIONS * HTTP/1.1\r\n${good}\r\n`, 404, /does not exist/],
  ['CONNECT', () => `CONNECT x:1 HTTP/1.1\r\n${good}\r\n`, 404, /CONNECT does not exist/],
  ['no host', () => `GET /v1/agents HTTP/1.1\r\nauthorization: Bearer ${gateway.key}\r\n\r\n`, 400, /^host: /],
  ['no host and no key', () => 'GET /v1/agents HTTP/1.1\r\n\r\n', 401, /no API key/],
  ['an unknown expectation', () => post('expect: x\r\ncontent-length: 2\r\n\r\n{}'), 417, /^expect: /],
  ['a known expectation', () => post('expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}'), 400, /name: required/],
  ['a length below zero', () => post('content-length: -2\r\n\r\n{}'), 400, /not valid HTTP/],
  ['two lengths', () => post('content-length: 2\r\ncontent-length: 3\r\n\r\n{}'), 400, /not valid HTTP/],
  ['a length and chunks', () => post('content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'), 400, /not valid HTTP/],
  ['a transfer encoding that is none', () => post('transfer-encoding: gzip\r\n\r\n{}'), 400, /not valid HTTP/],
  ['a wrong chunk', () => post('transfer-encoding: chunked\r\n\r\n2\r\n{"\r\nzz\r\n'), 400, /not valid HTTP/],
  [
    'chunks over the limit',
    () => post(`transfer-encoding: chunked\r\n\r\n${`1f4\r\n${'x'.repeat(500)}\r\n`.repeat(3)}`),
    413,
    /larger than 1000 bytes/,
  ],
  ['a length over the limit', () => post('content-length: 99999999999\r\n\r\n{}'), 413, /larger than 1000 bytes/],
])('%s is answered in the envelope, logged under its id, and stores nothing', async (_name, bytes, status, message) => {
  const before = await contents(gateway);
  const [answer] = await send(bytes(), 1);
  expect(answer?.status).toBe(status);
  expect(answer?.body).toMatchObject({ type: 'error', error: { message: expect.stringMatching(message) }, request_id: answer?.requestId });
  expect(await logged(answer!.requestId)).toMatchObject({ status, ok: false });
  expect(await contents(gateway)).toEqual(before);
});

test('a body that does not arrive is told by its code, may be sent again, and ends the connection', async () => {
  const [slow, ...more] = await send(post('content-length: 100\r\n\r\n{"name":'));
  expect(more).toEqual([]);
  expect(slow).toMatchObject({
    status: 400,
    body: { error: { type: 'invalid_request_error', details: { error_code: 'request_body_timeout' } } },
  });
  expect(slow?.headers).toMatch(/\r\nx-should-retry: true/);
  expect(slow?.headers).toMatch(/\r\nconnection: close/i);
  expect(await logged(slow!.requestId)).toMatchObject({ op: 'POST /v1/agents', status: 400 });
});

test('the time for a body is none for an answer: a stream stays open behind it', async () => {
  const session = await gateway.session();
  const stream = await gateway.fetch(`/v1/sessions/${session.id}/events/stream`);
  const reader = stream.body!.getReader();
  // Takes as long as a body may.
  expect(await send(post('content-length: 100\r\n\r\n{'))).toHaveLength(1);
  await gateway.send(session.id, 'still there');
  expect(Buffer.from((await reader.read()).value!).toString()).toContain('still there');
  await reader.cancel();
});

test('the rest of a body that was refused is not waited for for ever', async () => {
  const answers = await send('POST /v1/agents HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"name":');
  expect(answers.map(({ status }) => status)).toEqual([401]);
});

test('what breaks behind a request is told behind its answer', async () => {
  const body = '{"name":"a","model":"m"}';
  const answers = await send(post(`content-length: ${body.length}\r\n\r\n${body}NONSENSE\r\n\r\n`));
  expect(answers.map(({ status }) => status)).toEqual([200, 400]);
  expect(new Set(answers.map(({ requestId }) => requestId)).size).toBe(2);
});

test('a body with more bytes than it announced is read as announced, and the rest is no request', async () => {
  const answers = await send(post('content-length: 2\r\n\r\n{}{"name":"a","model":"m"}'));
  expect(answers.map(({ status }) => status)).toEqual([400, 400]);
  expect(answers[0]?.body.error.message).toMatch(/name: required/);
});

test('a connection goes on behind a refusal', async () => {
  const read = `GET /v1/models HTTP/1.1\r\n${good}\r\n`;
  const wrong = `GET /v1/models?x=1 HTTP/1.1\r\n${good}\r\n`;
  expect((await send(`${read}${wrong}${read}`, 3)).map(({ status }) => status)).toEqual([200, 400, 200]);
});

test('a client that leaves in the middle of a body is logged as a request that was not completed', async () => {
  const before = logLines.length;
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.write(post('content-length: 100\r\n\r\n{"na'), () => resolve()));
  await until(async () => (await gateway.fetch('/v1/models')).ok, { what: 'what was sent is there' });
  socket.resetAndDestroy();
  const aborted = () => logLines.slice(before).find((line) => line.includes('"complete":false'));
  await until(() => aborted() !== undefined, { what: 'the line of the aborted request' });
  expect(JSON.parse(aborted()!)).toMatchObject({
    op: 'POST /v1/agents',
    ok: false,
    status: 499,
    requestId: expect.stringMatching(/^req_/),
  });
});

test('health checks answer to HEAD, nothing else does', async () => {
  for (const path of ['/healthz', '/readyz']) {
    const answer = await fetch(gateway.url + path, { method: 'HEAD' });
    expect([answer.status, await answer.text()]).toEqual([200, '']);
  }
  const answer = await gateway.fetch('/v1/agents', { method: 'HEAD' });
  expect([answer.status, await answer.text(), answer.headers.get('request-id')]).toEqual([404, '', expect.stringMatching(/^req_/)]);
});

test('a message that quotes what was sent stays short', async () => {
  const answer = await send(post(`content-length: 907\r\n\r\n{"${'k'.repeat(900)}":1}`), 1);
  expect(answer[0]?.status).toBe(400);
  const long = await gateway.fetch(`/v1/agents?${'k'.repeat(10_000)}=1`);
  expect((await long.text()).length).toBeLessThan(5_000);
});
