/** The edge of the server, where anything may arrive: bytes, encodings, JSON, queries and headers that no client would send. */
import { gzipSync } from 'node:zlib';
import { createRedis } from '@manyhands/base';
import { silentLogger, until } from '@manyhands/test-kit';
import fc from 'fast-check';
import { beforeAll, describe, expect } from 'vitest';
import { expectRefusal, type Foreign, type RawAnswer, raw } from '../client.ts';
import { openSession } from '../conversation.ts';
import { watchedFetch } from '../observe.ts';
import { OPERATOR_KEY, type Stack } from '../stack.ts';
import { useStack, verifies } from '../verifies.ts';
import { type WireAnswer, wire } from '../wire.ts';

const stack = useStack({ tier: 'gateway' });
const KEY_LINE = `authorization: Bearer ${OPERATOR_KEY}\r\n`;
const HEAD = `host: x\r\n${KEY_LINE}content-type: application/json\r\n`;
const NOWHERE = '/v1/agents/agent_aaaaaaaaaaaaaaaaaaaaaa';
const LIMIT_BYTES = 32 * 1024 * 1024;
const LIMIT_MS = 60_000;
const BEHIND = Buffer.from(`\r\n\r\n${'x'.repeat(100)}`);

/** All that the installation has stored. */
async function contents(from: Stack): Promise<Record<string, string>> {
  const redis = createRedis(from.redis.url, 'patient', silentLogger, 'test');
  try {
    const found: Record<string, string> = {};
    for (const name of (await redis.keys('mh:*')).sort()) found[name] = (await redis.dumpBuffer(name))!.toString('base64');
    return found;
  } finally {
    redis.disconnect();
  }
}
/** Runs something that must leave no trace. */
async function unchanged(run: () => Promise<void>): Promise<void> {
  const before = await contents(stack());
  await run();
  expect(await contents(stack())).toEqual(before);
}
function toRaw({ status, head, body }: WireAnswer): RawAnswer {
  const headers = new Headers(
    head
      .split('\r\n')
      .slice(1)
      .map((line) => line.split(/: (.*)/s, 2) as [string, string]),
  );
  return { status, headers, text: body, body: JSON.parse(body) };
}
const requestIdOf = ({ head }: WireAnswer) => /\nrequest-id: (req_\w+)/.exec(head)?.[1];
const post = (body: string | Buffer, headers: Record<string, string> = {}) => raw(stack(), 'POST', '/v1/agents', { body, headers });

let session: string;
beforeAll(async () => {
  session = await openSession(stack());
});

describe('a body', () => {
  verifies(
    'edge.bodies',
    () =>
      unchanged(async () => {
        const big = Buffer.alloc(LIMIT_BYTES + 1, ' ');
        const tooLarge = { status: 413, type: 'request_too_large', says: `${LIMIT_BYTES} bytes` };
        const send = (body: Buffer, more: object) =>
          watchedFetch(`${stack().url()}/v1/agents`, {
            method: 'POST',
            headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json', ...more },
            body: new Blob([body]).stream(),
            duplex: 'half',
          } as RequestInit);
        const streamed = await send(big, {});
        const text = await streamed.text();
        expectRefusal({ status: streamed.status, headers: streamed.headers, text, body: JSON.parse(text) }, tooLarge);
        // Announced and never sent: the answer does not wait for it.
        const [announced] = await wire(stack(), `POST /v1/agents HTTP/1.1\r\n${HEAD}content-length: 99999999999\r\n\r\n{`, { answers: 1 });
        expectRefusal(toRaw(announced!), tooLarge);
        const compressed = gzipSync('{"name":"a","model":"m"}');
        for (const [encoding, body] of [
          ['gzip', compressed],
          ['br', compressed],
          ['gzip, gzip', compressed],
          ['deflate', '{}'],
          ['nonsense', '{}'],
        ] as const)
          expectRefusal(await post(body, { 'content-encoding': encoding }), {
            status: 400,
            says: ['content-encoding', 'plain JSON'],
            code: 'request_body_encoding_unsupported',
          });
        expectRefusal(await post('{}', { 'content-encoding': 'identity' }), { status: 400, says: 'name: required' });
        for (const charset of ['latin1', 'utf-16', '"iso-8859-1"', 'utf-8; charset=latin1'])
          expectRefusal(await post('{}', { 'content-type': `application/json; charset=${charset}` }), {
            status: 400,
            says: 'utf-8',
            code: 'unsupported_charset',
          });
        for (const [bytes, at] of [
          [[0x7b, 0x22, 0xff, 0x22, 0x7d], 2],
          [[0x22, 0xc3, 0xa9, 0xed, 0xa0, 0x80, 0x22], 3],
          [[0x22, 0xf0, 0x9f], 1],
        ] as const)
          expectRefusal(await post(Buffer.from(bytes)), {
            status: 400,
            says: `a wrong byte at ${at}`,
            code: 'request_body_encoding_invalid',
          });
      }),
    LIMIT_MS,
  );

  verifies('edge.json', () =>
    unchanged(async () => {
      for (const [body, says] of [
        ['{"name": a}', 'unexpected "a" at line 1, column 10'],
        ['{\n  "name": "a",\n  "model": "m",\n}', 'unexpected "}" at line 4, column 1'],
        ['{"name":"a"', 'it ends too early, at line 1, column 12'],
        ['{"name":"a","model":"m"} x', 'unexpected "x" at line 1, column 26'],
        ['['.repeat(100_000), 'nested deeper'],
        [`{"name":"a","model":"m","metadata":${'{"a":'.repeat(9_999)}1${'}'.repeat(9_999)}}`, 'nested deeper'],
        [`["__proto__",${'['.repeat(50_000)}${']'.repeat(50_000)}]`, 'nested deeper'],
        [`{"name":"a","model":"m","tools":[${'1,'.repeat(300_000)}1]}`, 'values'],
        ['{"name":"a","model":"m","metadata":{"__proto__":"x"}}', '__proto__'],
        ['{"name":"a","model":"m","metadata":{"__prot\\u006f__":"x"}}', '__proto__'],
        ['{"name":"a","model":"m","constructor":{"prototype":{"x":1}}}', 'constructor: unknown field'],
        [`{"${'k'.repeat(100_000)}":1}`, 'required'],
      ] as const) {
        const answer = await post(body);
        expectRefusal(answer, { status: 400, says });
        expect(answer.text.length).toBeLessThan(6_000);
      }
      expect(({} as Foreign).x).toBeUndefined();
      expect((await raw(stack(), 'GET', '/v1/agents')).status).toBe(200);
    }),
  );
});

describe('bytes', () => {
  verifies('edge.order', () =>
    unchanged(async () => {
      const read = `GET /v1/models HTTP/1.1\r\n${HEAD}\r\n`;
      const answers = await wire(stack(), `${read}${read}NONSENSE\r\n\r\n`);
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 400]);
      expectRefusal(toRaw(answers[2]!), { status: 400, says: 'not valid HTTP' });
      const others = await Promise.all([
        wire(stack(), 'GET / HTTP/1.1\r\nbad header\r\n\r\n'),
        wire(stack(), `GET /v1/agents HTTP/1.1\r\n${KEY_LINE}\r\n`, { answers: 1 }),
        wire(stack(), `POST /v1/agents HTTP/1.1\r\n${HEAD}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n`),
        wire(stack(), `GET /v1/agents HTTP/1.1\r\n${HEAD}x: ${'y'.repeat(20_000)}\r\n\r\n`),
        wire(stack(), `GET /v1/agents/%E0%A4%A HTTP/1.1\r\n${HEAD}\r\n`, { answers: 1 }),
        wire(stack(), `GET /v1/agents/${'x'.repeat(900)} HTTP/1.1\r\n${HEAD}\r\n`, { answers: 1 }),
        wire(stack(), `CONNECT x:1 HTTP/1.1\r\n${HEAD}\r\n`),
      ]);
      const statuses = [400, 400, 400, 431, 404, 404, 404];
      const all = [answers[2]!, ...others.map(([answer]) => answer!)];
      expect(all.slice(1).map(({ status }) => status)).toEqual(statuses);
      for (const [at, status] of statuses.entries())
        expectRefusal(toRaw(all[at + 1]!), { status, ...(status === 431 ? { type: 'invalid_request_error' } : {}) });
      const ids = all.map(requestIdOf);
      expect(new Set(ids).size).toBe(all.length);
      const output = () => stack().service('gateway').output();
      await until(() => ids.every((id) => output().includes(`"${id}"`)), { what: 'a log line for each request id', timeoutMs: 10_000 });
    }),
  );

  verifies(
    'edge.fuzz.http',
    () =>
      unchanged(async () => {
        // No damage to these makes a valid change of anything out of them.
        const requests = [
          `GET /v1/agents?limit=1&beta=true HTTP/1.1\r\n${HEAD}\r\n`,
          `GET /v1/sessions/${session}/events?order=asc&types[]=user.message HTTP/1.1\r\n${HEAD}\r\n`,
          `POST ${NOWHERE} HTTP/1.1\r\n${HEAD}content-length: 19\r\n\r\n{"description":"x"}`,
          `POST ${NOWHERE} HTTP/1.1\r\n${HEAD}transfer-encoding: chunked\r\n\r\n13\r\n{"description":"x"}\r\n0\r\n\r\n`,
        ];
        const damage = fc.record({
          at: fc.nat(),
          drop: fc.nat({ max: 6 }),
          add: fc.uint8Array({ maxLength: 6 }),
        });
        await fc.assert(
          fc.asyncProperty(fc.constantFrom(...requests), fc.array(damage, { minLength: 1, maxLength: 4 }), async (request, damages) => {
            let bytes = Buffer.from(request);
            for (const { at, drop, add } of damages) {
              const place = at % bytes.length;
              bytes = Buffer.concat([bytes.subarray(0, place), add, bytes.subarray(place + drop)]);
            }
            // What follows ends most of what still waits for more.
            const answers = await wire(stack(), Buffer.concat([bytes, BEHIND]), { answers: 1, endAfterMs: 1_000 });
            expect(answers.length).toBeGreaterThan(0);
            for (const answer of answers) expectAnswered(answer);
          }),
          { numRuns: 150 },
        );
        expect((await fetch(`${stack().url()}/healthz`)).status).toBe(200);
      }),
    LIMIT_MS,
  );
});

/** A refusal in the envelope, or a success; always with an id, never a fault of ours. */
function expectAnswered(answer: WireAnswer): void {
  expect(answer.status, answer.body).toBeLessThan(500);
  expect(requestIdOf(answer)).toBeDefined();
  if (answer.status >= 400 && answer.body !== '') expectSomeRefusal(toRaw(answer));
}
/** Any refusal of its documented shape. */
function expectSomeRefusal(answer: RawAnswer): void {
  const { type, details } = answer.body.error;
  expectRefusal(answer, { status: answer.status, type, ...(details ? { code: details.error_code } : {}) });
}

describe('the stream route', () => {
  verifies(
    'edge.fuzz.stream',
    () =>
      unchanged(async () => {
        const event = `sevt_${'0'.repeat(10)}${'a'.repeat(22)}`;
        const name = fc.oneof(
          fc.constantFrom('after', 'event_deltas[]', 'event_deltas', 'beta', 'limit', '__proto__', 'constructor', 'after[]', ''),
          fc.string({ unit: 'binary', maxLength: 12 }),
        );
        const value = fc.oneof(
          fc.constantFrom('', 'agent.message', 'agent.thinking', 'null', event, 'sevt_', '-1', 'x'.repeat(3_000)),
          fc.string({ unit: 'binary', maxLength: 30 }),
        );
        // Each part encoded as clients do, as they should not, or not at all.
        const coded = (text: string, how: number) =>
          how === 0
            ? encodeURIComponent(Buffer.from(text).toString())
            : how === 1
              ? text.replaceAll(/[^!-~]|#/g, '%ff')
              : text.replaceAll(/[^!-~]/g, '%');
        const part = fc.tuple(name, value, fc.nat({ max: 2 })).map(([n, v, how]) => `${coded(n, how)}=${coded(v, how)}`);
        const header = fc.oneof(
          value.map((text) => `last-event-id: ${text.replaceAll(/[^\t -~\u00a0-\u00ff]/g, '')}\r\n`),
          fc.constantFrom(
            'accept: text/plain\r\n',
            'range: bytes=0-1\r\n',
            'connection: upgrade\r\nupgrade: x\r\n',
            'if-none-match: *\r\n',
          ),
        );
        await fc.assert(
          fc.asyncProperty(fc.array(part, { maxLength: 4 }), fc.array(header, { maxLength: 2 }), async (parts, headers) => {
            const query = parts.length === 0 ? '' : `?${parts.join('&')}`;
            const request = `GET /v1/sessions/${session}/events/stream${query} HTTP/1.1\r\n${HEAD}${headers.join('')}\r\n`;
            const [answer] = await wire(stack(), Buffer.from(request, 'latin1'), { answers: 1 });
            expect([200, 400], `${query} ${answer?.body}`).toContain(answer?.status);
            if (answer?.status === 400) expectAnswered(answer);
            else expect(answer?.head).toMatch(/content-type: text\/event-stream/);
          }),
          { numRuns: 150 },
        );
      }),
    LIMIT_MS,
  );
});

const inJson = fc
  .constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '\\u', 'null', '-', '1e999', '"__proto__":', '\n')
  .map((text) => Buffer.from(text));
describe('JSON', () => {
  verifies(
    'edge.fuzz.json',
    () =>
      unchanged(async () => {
        const bodies = [
          { name: 'a', description: null, system: 'é\u0000\ud83d\ude00', metadata: { k: 'v', gone: null } },
          {
            model: { id: 'm', effort: { type: 'low' } },
            tools: [{ type: 'agent_toolset_20260401', configs: [{ name: 'bash', enabled: true }] }],
          },
          {
            tools: [
              { type: 'custom', name: 't', description: 'd', input_schema: { type: 'object', properties: { a: { type: 'string' } } } },
            ],
          },
        ].map((body) => Buffer.from(JSON.stringify(body)));
        const damage = fc.record({ at: fc.nat(), drop: fc.nat({ max: 3 }), add: fc.oneof(fc.uint8Array({ maxLength: 3 }), inJson) });
        await fc.assert(
          fc.asyncProperty(fc.constantFrom(...bodies), fc.array(damage, { minLength: 1, maxLength: 3 }), async (body, damages) => {
            let bytes = body;
            for (const { at, drop, add } of damages) {
              const place = at % (bytes.length + 1);
              bytes = Buffer.concat([bytes.subarray(0, place), add, bytes.subarray(place + drop)]);
            }
            const answer = await raw(stack(), 'POST', NOWHERE, { body: bytes });
            // There is no such agent, so even what is still valid changes nothing.
            expect([400, 404], answer.text).toContain(answer.status);
            expectSomeRefusal(answer);
            if (answer.status === 404) JSON.parse(bytes.toString());
          }),
          { numRuns: 200 },
        );
      }),
    LIMIT_MS,
  );
});

describe('a server that was not asked to limit', () => {
  verifies('limits.rate.off', async () => {
    const answers: RawAnswer[] = [];
    for (let round = 0; round < 20; round++)
      answers.push(...(await Promise.all(Array.from({ length: 20 }, () => raw(stack(), 'POST', NOWHERE, { body: {} })))));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]));
    expect(answers.filter(({ headers }) => headers.has('anthropic-ratelimit-requests-limit'))).toEqual([]);
  });
});
